"""Where no target has a baseline: the sources of each target compared with the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from empslurm.analysis.verdicts import Verdict, decide
from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, flat, number, text
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.significance import compare_with
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

# A verdict -> what it is called beside the best, of which nobody knows whether it helps.
BESIDE = {"helps": "better", "harms": "worse"}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One target's sources, the best first."""

    target: str
    metric: str
    best: Score
    verdicts: tuple[Verdict, ...]  # of the others against the best


def without_baseline(tables: Sequence[ScoreTable]) -> tuple[str, ...]:
    """Targets that have transfers with a score and no baseline with one."""
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
    """Every target without a baseline that has two sources with a defined score."""
    made, comparisons = [], []
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
            made.append((target, table.metric, best))
            comparisons.append(compare_with(table, target, best, others, grouped=grouped)[0])
    verdicts = iter(decide(comparisons, margin))  # in the order of the comparisons
    return tuple(
        Ranked(target=target, metric=metric, best=best, verdicts=tuple(islice(verdicts, len(comparison.sources))))
        for (target, metric, best), comparison in zip(made, comparisons, strict=True)
    )


def sources_table(found: Sequence[Ranked], registry: Registry) -> Table:
    """The ranking, a row per target and source."""
    rows: list[tuple[Entry, ...]] = []
    for one in found:
        target, metric = title_of(one.target, registry), METRICS[one.metric].title
        best = (text(title_of(one.best.source, registry)), number(one.best.value), text(None), text(None), text(None))
        rows.append((text(target), *best, text(None), text("best"), text(str(len(one.best.seeds))), text(metric)))
        rows += [
            (
                text(target),
                text(title_of(verdict.source, registry)),
                number(verdict.transfer),
                number(verdict.difference, signed=True),
                number(verdict.low, signed=True),
                number(verdict.high, signed=True),
                number(verdict.p_bh),
                text(BESIDE.get(verdict.verdict, verdict.verdict)),
                text(str(verdict.n_seeds_transfer)),
                text(metric),
            )
            for verdict in one.verdicts
        ]
    return flat(
        name="sources",
        title="Which source is best, where no target has a baseline",
        caption="Each source against the best of its target: differences of seed means with 95 % intervals, "
        "Benjamini-Hochberg over all rows at .05. The best was chosen by the same scores, so its lead is flattered; "
        "and nothing here says whether any source is better than none.",
        columns={
            "target": "target",
            "source": "source",
            "score": "score",
            "difference": "difference to the best",
            "low": "low",
            "high": "high",
            "p_bh": "p (BH)",
            "verdict": "beside the best",
            "n_seeds": "seeds",
            "metric": "metric",
        },
        rows=rows,
        n_labels=2,
    )
