"""Importances of the tasks' features for the gain of transfer (Figure 2, Table 6), for each estimator, with checks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.features import RATINGS, TaskFacts, pair_features
from empslurm.analysis.importance import ESTIMATORS, FEWEST_PAIRS, Settings
from empslurm.analysis.importance_checks import check
from empslurm.analysis.improvement import improvement_matrix
from empslurm.errors import UsageError
from empslurm.report import task_facts
from empslurm.report.embeddings import square
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.scores import ScoreTable
from empslurm.report.wording import some

N_NULL = 99  # permutations of the tasks in the checks: the smallest p is .01
SEED = 20240  # of splits and permutations: a table must not change from one gather to the next
NAME = "Figure 2 and Table 6"


def importances(analyses: Analyses) -> Finding:
    """Importances and their checks per estimator, or the reason why there are none."""
    order = analyses.tasks
    if not order:
        return Finding(result=())
    percent = outcome(analyses.tables, order)
    n_pairs = int(np.isfinite(percent).sum())
    if n_pairs < 2 * FEWEST_PAIRS:
        few = f"importances must have at least {2 * FEWEST_PAIRS} pairs with an outcome, but there are {n_pairs}"
        return Finding(result=(), lacking={NAME: few})
    known = task_facts.task_facts(order, analyses.gathered.registry, analyses.ratings)
    unrated = _unrated(known)
    similarities = _similarities(analyses)
    seeds = sorted({seed for table in analyses.tables for score in table.scores.values() for seed in score.seeds})
    by_seed = np.stack([outcome(analyses.tables, order, seed) for seed in seeds]) if len(seeds) > 1 else None
    try:
        pairs, ends = (pair_features(known, **similarities, encoding=encoding) for encoding in ("pair", "ends"))
        checked = tuple(
            check(
                pairs,
                percent,
                rng=np.random.default_rng(SEED),
                settings=Settings(estimator=estimator, encoding=pairs.encoding),
                other_encodings=(ends,),
                seed_outcomes=by_seed,
                n_null=N_NULL,
            )
            for estimator in ESTIMATORS
        )
    except UsageError as error:
        return Finding(result=(), lacking={NAME: f"{error}{unrated}"})
    lacking = {}
    if by_seed is None:
        lacking["the seed ceiling"] = "only one seed: the share of seed noise in the improvements is unknown"
    if pairs.missing:
        lacking["features"] = f"left out of the importances: not every task has {', '.join(pairs.missing)}"
        lacking["features"] += unrated
    return Finding(result=checked, lacking=lacking)


def _unrated(known: Sequence[TaskFacts]) -> str:
    """Which tasks lack a rating where others have all of them, as the end of a sentence."""
    lacking = [task.task for task in known if any(math.isnan(getattr(task, name)) for name in RATINGS)]
    return f"; not rated on all criteria: {some(lacking)}" if 0 < len(lacking) < len(known) else ""


def _similarities(analyses: Analyses) -> dict[str, NDArray[np.float64] | None]:
    """The two similarities of tasks as features; None where a task lacks one."""
    order, data, fused = analyses.tasks, analyses.data_similarity, analyses.task_similarity
    return {
        "dataset_similarity": None if data is None else square(data.cosine, data.tasks, order),
        "task_similarity": square(fused[0].similarity.fused, fused[0].similarity.tasks, order) if fused else None,
    }


def outcome(tables: Sequence[ScoreTable], order: Sequence[str], seed: int | None = None) -> NDArray[np.float64]:
    """Percent improvement, (n_tasks, n_tasks), source by target: of seed means or of one seed; NaN: missing."""
    percent = np.full((len(order), len(order)), np.nan)
    column_of = {task: column for column, task in enumerate(order)}
    for table in tables:
        if table.fraction != 1.0:
            continue
        matrix = improvement_matrix(_values(table, seed), order, higher_is_better=table.higher_is_better)
        percent[:, [column_of[target] for target in matrix.targets]] = matrix.percent
    return percent


def _values(table: ScoreTable, seed: int | None) -> dict[tuple[str, str], float]:
    """Scores by (source, target), of one seed or the means over seeds."""
    if seed is None:
        return {pair: score.value for pair, score in table.scores.items()}
    there = ((pair, score) for pair, score in table.scores.items() if seed in score.seeds)
    return {pair: score.values[score.seeds.index(seed)] for pair, score in there}
