"""Every analysis that a group of gathered results allows, and for the others what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.collapse import CollapseDifference, collapse_differences
from empslurm.analysis.features import pair_features
from empslurm.analysis.importance import FEWEST_PAIRS
from empslurm.analysis.importance_checks import Audit, audit
from empslurm.analysis.improvement import improvement_matrix
from empslurm.analysis.themes import MeanEffect, ThemeCell, mean_effect, theme_table
from empslurm.errors import UsageError
from empslurm.gather import Gathered, Group
from empslurm.reference import Rating
from empslurm.report import significance, task_facts
from empslurm.report.embeddings import DataSimilarity, FusedSimilarity, data_similarity, fused_similarity, square
from empslurm.report.scores import ScoreTable, score_tables, scored
from empslurm.report.seeds import Next, next_seeds
from empslurm.report.significance import PairResult, TargetResult, pair_results, target_results
from empslurm.report.sources import Ranked, has_baseline, ranked, without_baseline
from empslurm.report.wording import plain_missing

SHOWN_TARGETS = 5
N_NULL = 99  # permutations of the tasks in the audit: the smallest p is .01
SEED = 20240  # of splits and permutations: a table does not change from one gather to the next


@dataclass(frozen=True, kw_only=True)
class ThemePanels:
    """Figure 3 at one data fraction, by one test."""

    test: str  # "the default verdict" or "the paper's test"
    fraction: float
    gains: tuple[ThemeCell, ...]  # improvement; with limited data: not harmed
    harms: tuple[ThemeCell, ...]
    n_pairs: int


@dataclass(frozen=True, kw_only=True)
class Significance:
    """Verdicts of all pairs at one data fraction."""

    fraction: float
    baseline_fraction: float  # of the baselines compared with
    results: tuple[TargetResult, ...]
    pairs: tuple[PairResult, ...]
    control: tuple[PairResult, ...]  # limited data: the same amount of data without a transfer
    effects: tuple[MeanEffect, ...]  # mean difference by source theme
    collapse: tuple[CollapseDifference, ...] = ()  # of the pairs of targets with any run that did not learn
    margin: float | None = None  # the difference that is as good as none; None: not asked for
    next: tuple[Next, ...] = ()  # per target, the seeds that would show a wanted difference

    @property
    def same_cell(self) -> tuple[int, int]:
        """Pairs of seeds of one cell that the paper's test calls different, and all such pairs."""
        return (
            sum(result.same_cell[0] for result in self.results),
            sum(result.same_cell[1] for result in self.results),
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    """One group with its analyses; what could not be computed stands in `lacking`, by name, with the reason."""

    gathered: Gathered
    group: Group
    tables: tuple[ScoreTable, ...]
    significance: tuple[Significance, ...]
    themes: tuple[ThemePanels, ...]
    audit: Audit | None
    data_similarity: DataSimilarity | None
    task_similarity: tuple[FusedSimilarity, ...]
    ratings: tuple[Rating, ...]
    ranked: tuple[Ranked, ...]  # the sources of each target, where no target has a baseline
    lacking: Mapping[str, str]

    @property
    def of_paper(self) -> bool:
        """Whether its tasks are the paper's: only then do the paper's names and numbers say something."""
        return task_facts.is_of_the_paper(self.tasks, whole=self.gathered.origin == "results")

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the tables' order."""
        found = {task for table in self.tables for task in (*table.sources, *table.targets)}
        known = [task for task in self.gathered.registry.tasks if task in found]
        return (*known, *sorted(found - set(known)))


def study(
    gathered: Gathered, group: Group, *, ratings: Sequence[Rating], grouped: bool = True, margin: float | None = None
) -> Study:
    """Run everything on one group. `margin`: see `verdicts.decide`."""
    lacking: dict[str, str] = {}
    given = gathered.origin == "results"
    tables = score_tables(gathered, group)
    order = tuple(dict.fromkeys(task for table in tables for task in (*table.sources, *table.targets)))
    order = tuple(task for task in gathered.registry.tasks if task in order) + tuple(
        sorted(set(order) - set(gathered.registry.tasks))
    )
    tested = _significance(tables, group, lacking, grouped, margin)
    _without_baselines(tables, lacking)
    alike = data_similarity(group.runs, order)
    fused = fused_similarity(group.runs, order)
    if alike is None:
        lacking["Figure 9"] = "dataset embeddings: no embed cells have a result (the paper prints no values)"
    if not fused:
        lacking["Figure 10"] = "task embeddings: no fisher cells have a result (the paper prints no values)"
    return Study(
        gathered=gathered,
        group=group,
        tables=tables,
        significance=tested,
        themes=_themes(tested, lacking),
        audit=_audit(gathered, tables, order, ratings, alike, fused, lacking),
        data_similarity=alike,
        task_similarity=fused,
        ratings=tuple(ratings),
        ranked=() if tested else ranked(tables, grouped=grouped, margin=margin),
        lacking=lacking if task_facts.is_of_the_paper(order, whole=given) else plain_missing(lacking, given=given),
    )


BASELINE = "a baseline's row has a blank source, or its target as the source"


def _without_baselines(tables: Sequence[ScoreTable], lacking: dict[str, str]) -> None:
    """Say which targets can have no verdict, and which source may be their baseline under a name."""
    unjudged = _without_full_baseline(tables)
    if unjudged:
        lacking["full-data baselines"] = f"{_few(unjudged)} have none: no verdict on their runs with less data"
    absent = without_baseline(tables)
    if not absent:
        return
    n_targets = sum(len(table.targets) for table in tables if table.fraction == 1.0)
    if len(absent) < n_targets:
        lacking["baselines"] = f"{len(absent)} of {n_targets} targets have none ({_few(absent)}), so no verdict either"
        return
    lacking.pop("verdicts", None)  # which this explains
    everywhere = [source for source in _sources_of_all(tables) if source not in absent]
    hint = f"; is `{everywhere[0]}` the baseline? then leave its source blank" if len(everywhere) == 1 else ""
    lacking["baselines"] = f"no target has a baseline, so no source can be said to help or to harm: {BASELINE}{hint}"


def _few(names: Sequence[str]) -> str:
    """Some names for a sentence, which may be of hundreds."""
    return ", ".join(names[:SHOWN_TARGETS]) + (", ..." if len(names) > SHOWN_TARGETS else "")


def _without_full_baseline(tables: Sequence[ScoreTable]) -> list[str]:
    """Targets with runs on a part of the data, where others have full-data baselines and they have none."""
    whole = [table for table in tables if table.fraction == 1.0]
    full = {target for table in whole for target in table.targets if has_baseline(table, target)}
    part = {target for table in tables if table.fraction != 1.0 for target in table.targets}
    return sorted(part - full) if whole else []


def _sources_of_all(tables: Sequence[ScoreTable]) -> list[str]:
    """Sources that stand in the column of every target."""
    columns = [set(table.columns[target]) for table in tables if table.fraction == 1.0 for target in table.targets]
    return sorted(set.intersection(*columns)) if columns else []


def _significance(
    tables: Sequence[ScoreTable], group: Group, lacking: dict[str, str], grouped: bool, margin: float | None
) -> tuple[Significance, ...]:
    fractions = sorted({table.fraction for table in tables}, reverse=True)
    full = {table.metric: table for table in tables if table.fraction == 1.0}
    made = []
    for fraction in fractions:
        own = [table for table in tables if table.fraction == fraction]
        results: list[TargetResult] = []
        for table in own:
            against = None if fraction == 1.0 else full.get(table.metric)
            if fraction == 1.0 or against is not None or not full:
                results += target_results(table, baselines=against, grouped=grouped)
        transfers = [one for one in significance.without_control(results) if one.comparison.sources]
        if transfers:
            compared = {"fraction": fraction, "baseline_fraction": 1.0 if full else fraction}
            made.append(
                Significance(
                    **compared,
                    results=tuple(transfers),
                    pairs=pair_results(transfers, margin),
                    control=pair_results(significance.only_control(results), margin),
                    margin=margin,
                    effects=_effects(transfers),
                    collapse=collapse_differences([one.comparison for one in transfers]),
                    next=next_seeds(transfers, scored(group), **compared, margin=margin),
                )
            )
    if not made:
        lacking["verdicts"] = "no target has both a baseline and a transfer"
    doubts = sorted({result.doubt for one in made for result in one.results if result.doubt})
    if doubts:
        lacking["the paper's test"] = "; ".join(doubts)
    if made and all(pair.verdict.verdict == "undecided" for one in made for pair in one.pairs):
        reasons = sorted({pair.verdict.reason for one in made for pair in one.pairs})
        lacking["verdicts"] = "every pair is undecided: " + "; ".join(reasons)
    if not any(fraction != 1.0 for fraction in fractions):
        lacking["limited data (Figure 3, bottom)"] = "no cells with a part of the training data"
    return tuple(made)


def _effects(results: Sequence[TargetResult]) -> tuple[MeanEffect, ...]:
    """Mean difference by source theme, with the covariance of shared baselines and examples."""
    themes = task_facts.themes()
    sources = [source for result in results for source in result.comparison.sources]
    if not set(sources) <= set(themes) or any(
        not np.isfinite(result.comparison.covariance).any() for result in results
    ):
        return ()
    gains = [result.comparison.difference * result.comparison.sign for result in results]
    differences = np.concatenate(gains)
    covariance = _block_diagonal([result.comparison.covariance for result in results])
    made = []
    for theme in ("direct", "abstract", "adjacent"):
        own = np.array([themes[source] == theme for source in sources])
        if own.any():
            made.append(mean_effect(theme, differences[own], covariance[np.ix_(own, own)]))
    return tuple(made)


def _block_diagonal(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*blocks))


def _themes(tested: Sequence[Significance], lacking: dict[str, str]) -> tuple[ThemePanels, ...]:
    themes = task_facts.themes()
    made = []
    for one in tested:
        known = [pair for pair in one.pairs if {pair.verdict.source, pair.verdict.target} <= set(themes)]
        for name, verdicts in (
            ("the default verdict", [pair.verdict.verdict for pair in known]),
            ("the paper's test", [pair.paper_outcome or "undecided" for pair in known]),
        ):
            if not known or all(verdict == "undecided" for verdict in verdicts):
                continue
            pairs = [(pair.verdict.source, pair.verdict.target) for pair in known]
            made.append(
                ThemePanels(
                    test=name,
                    fraction=one.fraction,
                    gains=theme_table(pairs, verdicts, themes, "helps" if one.fraction == 1.0 else "not harmed"),
                    harms=theme_table(pairs, verdicts, themes, "harms"),
                    n_pairs=len(pairs),
                )
            )
    if not made:
        lacking["Figure 3"] = "neither verdicts nor the paper's test on any pair of tasks with themes"
    return tuple(made)


def outcome(tables: Sequence[ScoreTable], order: Sequence[str], seed: int | None = None) -> NDArray[np.float64]:
    """Percent improvement of every ordered pair of tasks, of the seeds' means or of one seed; NaN where missing."""
    made = np.full((len(order), len(order)), np.nan)
    place_of = {task: at for at, task in enumerate(order)}
    for table in tables:
        if table.fraction != 1.0:
            continue
        matrix = improvement_matrix(_values(table, seed), order, higher_is_better=table.higher_is_better)
        made[:, [place_of[target] for target in matrix.targets]] = matrix.percent
    return made


def _values(table: ScoreTable, seed: int | None) -> dict[tuple[str, str], float]:
    """Scores by place, of one seed or the means over seeds."""
    if seed is None:
        return {place: score.value for place, score in table.scores.items()}
    there = ((place, score) for place, score in table.scores.items() if seed in score.seeds)
    return {place: score.values[score.seeds.index(seed)] for place, score in there}


def _audit(
    gathered: Gathered,
    tables: Sequence[ScoreTable],
    order: tuple[str, ...],
    ratings: Sequence[Rating],
    alike: DataSimilarity | None,
    fused: Sequence[FusedSimilarity],
    lacking: dict[str, str],
) -> Audit | None:
    if not order:
        return None
    percent = outcome(tables, order)
    n_pairs = int(np.isfinite(percent).sum())
    if n_pairs < 2 * FEWEST_PAIRS:
        lacking["Figure 2 and Table 6"] = (
            f"importances must have at least {2 * FEWEST_PAIRS} pairs with an outcome, but there are {n_pairs}"
        )
        return None
    known = task_facts.task_facts(order, gathered.registry, ratings)
    given = {
        "dataset_similarity": None if alike is None else square(alike.cosine, alike.tasks, order),
        "task_similarity": square(fused[0].similarity.fused, fused[0].similarity.tasks, order) if fused else None,
    }
    seeds = sorted({seed for table in tables for score in table.scores.values() for seed in score.seeds})
    by_seed = np.stack([outcome(tables, order, seed) for seed in seeds]) if len(seeds) > 1 else None
    try:
        pairs, ends = (pair_features(known, **given, encoding=encoding) for encoding in ("pair", "ends"))
        made = audit(
            pairs,
            percent,
            rng=np.random.default_rng(SEED),
            other_encodings=(ends,),
            seed_outcomes=by_seed,
            n_null=N_NULL,
        )
    except UsageError as error:
        lacking["Figure 2 and Table 6"] = str(error)
        return None
    if by_seed is None:
        lacking["the seed ceiling"] = "one seed only: the share of seed noise in the improvements is unknown"
    if pairs.missing:
        lacking["features"] = f"left out of the importances, since not every task has them: {', '.join(pairs.missing)}"
    return made
