"""Tables that compare the baselines with chance, one per metric and data fraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from empslurm.metrics import METRICS
from empslurm.report.baselines import Baseline, baselines
from empslurm.report.formats import MISSING, Entry, Table, flat, number, text, whole
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.tables import part_of_data, title_of
from empslurm.tasks import Registry


def judge(analyses: Analyses) -> Finding:
    """Compare the baselines with chance; empty where no predictions are known."""
    return Finding(result=baselines(analyses.tables, grouped=analyses.grouped))


def tables(analyses: Analyses) -> list[Table]:
    """One table per score table that has baselines with predictions."""
    shown = (_table(table, analyses.baselines, analyses.gathered.registry) for table in analyses.tables)
    return [table for table in shown if table is not None]


def _table(table: ScoreTable, judged: Sequence[Baseline], registry: Registry) -> Table | None:
    own = [baseline for baseline in judged if (baseline.metric, baseline.fraction) == (table.metric, table.fraction)]
    if not own:
        return None
    rows = [
        _row(title_of(baseline.target, registry), baseline, table.scores[baseline.target, baseline.target])
        for baseline in own
    ]
    return flat(
        name=f"baselines-{table.metric}{'' if table.fraction == 1.0 else f'-f{table.fraction * 100:g}'}",
        title=f"Baselines against chance ({METRICS[table.metric].title}{part_of_data(table)})",
        caption="Means over seeds, with 95 % bootstrap intervals over the test examples. "
        f"Chance: {METRICS[table.metric].chance.words}.",
        details="Above chance: the 95 % interval of the difference from chance, on the same resamples, is above 0 (for "
        "an error, below 0); tested for the mean and for each seed separately.",
        columns={
            "target": "target",
            "baseline": "baseline",
            "low_high": "95 % interval",
            "chance": "chance",
            "above_chance": "above chance",
            "seeds_above": "seeds above",
            "n_examples": "test examples",
        },
        rows=rows,
    )


def _row(title: str, baseline: Baseline, score: Score) -> tuple[Entry, ...]:
    defined = np.isfinite(baseline.low)
    above, n_seeds = "yes" if baseline.above else "no", len(score.seeds)
    for seeds, what in ((score.not_learnt, "did not learn"), (score.worse, "worse than one answer to all")):
        if seeds:
            above += f"; {len(seeds)} of {n_seeds} seeds ({', '.join(map(str, seeds))}) {what}"
    return (
        text(title),
        number(baseline.score),
        text(f"{baseline.low:.3f} to {baseline.high:.3f}" if defined else MISSING),
        number(baseline.chance),
        text(above),
        text(f"{baseline.n_above} of {n_seeds}"),
        whole(baseline.n_examples),
    )
