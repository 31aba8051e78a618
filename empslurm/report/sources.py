"""The sources of each target compared with the best of them, where no target has a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from empslurm.analysis.verdicts import Verdict, decide
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.significance import compare_with


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One target's sources, the best first."""

    target: str
    metric: str
    best: Score
    verdicts: tuple[Verdict, ...]  # of the others against the best


def without_baseline(tables: Sequence[ScoreTable]) -> tuple[str, ...]:
    """Targets with a scored transfer but without a scored baseline."""
    return tuple(
        target
        for table in tables
        if table.fraction == 1.0
        for target in table.targets
        if not has_baseline(table, target) and any(score.seeds for score in table.columns[target].values())
    )


def has_baseline(table: ScoreTable, target: str) -> bool:
    """Whether a target has a baseline with a score."""
    own = table.columns[target].get(target)
    return own is not None and bool(own.seeds)


def ranked(tables: Sequence[ScoreTable], *, grouped: bool = True, margin: float | None = None) -> tuple[Ranked, ...]:
    """Compare the sources of every target without a baseline that has two sources with a defined score."""
    best_scores, comparisons = [], []
    for table in tables:
        if table.fraction != 1.0:
            continue
        sign = 1 if table.higher_is_better else -1
        for target in table.targets:
            own = [score for score in table.columns[target].values() if score.seeds and np.isfinite(score.value)]
            if has_baseline(table, target) or len(own) < 2:
                continue
            own.sort(key=lambda score: -sign * score.value)
            best, others = own[0], {score.source: score for score in own[1:]}
            best_scores.append((target, table.metric, best))
            comparisons.append(compare_with(table, target, best, others, grouped=grouped)[0])
    verdicts = iter(decide(comparisons, margin))  # in the order of the comparisons
    return tuple(
        Ranked(target=target, metric=metric, best=best, verdicts=tuple(islice(verdicts, len(comparison.sources))))
        for (target, metric, best), comparison in zip(best_scores, comparisons, strict=True)
    )
