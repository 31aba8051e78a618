"""The overview of one group: every source by every target, as numbers that the figure and the page both draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from empslurm.metrics import METRICS
from empslurm.report.formats import largest, shown
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.significance import PairResult
from empslurm.report.tables import title_of
from empslurm.report.verdict_tables import part_name

MOST = 60  # sources, or targets: with more, no reader finds a row by eye
STEPS = 5  # shades of a change on each side of 0
PERCENT = "% of the baseline"


@dataclass(frozen=True, kw_only=True)
class OverviewCell:
    """One pair, in the overview's unit. Positive is better, also where the metric is an error; NaN: unknown."""

    change: float
    low: float  # 95 % interval of the change, before correction for many pairs
    high: float
    verdict: str  # one of `analysis.verdicts.OUTCOMES`
    text: str  # the change as printed
    step: int  # shade of the change: change / reach, from -5 to 5

    @property
    def evident(self) -> bool:
        """Whether the interval is known and excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def faded(self) -> bool:
        """Whether the interval is known and covers 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Sources as rows, targets as columns, both in the order of the tables and counted from 0."""

    name: str  # of its files
    title: str
    fraction: float  # of the targets' data
    source_ids: tuple[str, ...]
    target_ids: tuple[str, ...]
    sources: tuple[str, ...]  # titles
    targets: tuple[str, ...]
    metrics: tuple[str, ...]  # per target, as printed
    baselines: tuple[str, ...]  # per target, as printed
    unit: str  # in words, such as "macro F1" or "% of the baseline"
    percent: bool  # whether changes are in percent of the baseline
    reach: float  # the change with the darkest colour, which larger changes have too
    cells: Mapping[tuple[int, int], OverviewCell]  # (row, column); absent: no such pair, or the diagonal
    cut: str  # a sentence on what is left out; "" where everything is shown

    def is_diagonal(self, row: int, column: int) -> bool:
        """Whether source and target are the same task: that cell shows the baseline."""
        return self.source_ids[row] == self.target_ids[column]

    @property
    def clipped(self) -> bool:
        """Whether any change is larger than `reach`."""
        return any(abs(cell.change) > self.reach for cell in self.cells.values())


def overview(significance: Significance, analyses: Analyses, most: int = MOST) -> Overview:
    """All pairs of one data fraction; of more than `most` sources or targets, those with the largest changes.

    Changes are differences in the targets' metrics; where any of these is an error, in percent of the baseline.
    """
    registry = analyses.gathered.registry
    results = {result.target: result for result in significance.results}
    percent = any(not METRICS[result.metric].higher_is_better for result in results.values())
    changes = {(pair.verdict.source, pair.verdict.target): _change(pair, percent) for pair in significance.pairs}
    all_sources = [task for task in analyses.tasks if any(source == task for source, _ in changes)]
    all_targets = [task for task in analyses.tasks if any(target == task for _, target in changes)]
    sources, targets = _kept(changes, all_sources, all_targets, most)
    pairs = {
        (sources.index(pair.verdict.source), targets.index(pair.verdict.target)): pair
        for pair in significance.pairs
        if pair.verdict.source in sources and pair.verdict.target in targets
    }
    reach = _reach([_change(pair, percent) for pair in pairs.values()])
    return Overview(
        name=f"overview{part_name(significance.fraction)}",
        title=_title(significance),
        fraction=significance.fraction,
        source_ids=tuple(sources),
        target_ids=tuple(targets),
        sources=tuple(title_of(task, registry) for task in sources),
        targets=tuple(title_of(task, registry) for task in targets),
        metrics=tuple(METRICS[results[task].metric].title for task in targets),
        baselines=tuple(shown(results[task].comparison.baseline, 2, short=True) for task in targets),
        unit=PERCENT if percent else _unit([METRICS[result.metric].title for result in results.values()]),
        percent=percent,
        reach=reach,
        cells={at: _cell(pair, percent, reach) for at, pair in sorted(pairs.items())},
        cut=_cut((len(sources), len(all_sources)), (len(targets), len(all_targets))),
    )


def _title(significance: Significance) -> str:
    if significance.fraction == 1.0:
        return "Change over the baseline"
    against = "full-data baseline" if significance.baseline_fraction == 1.0 else "baseline with the same amount"
    return f"Change over the {against}, with {significance.fraction * 100:g} % of the target's data"


def _unit(titles: list[str]) -> str:
    """The targets' metrics, where they are at most two."""
    names = list(dict.fromkeys(titles))
    return " or ".join(names) if len(names) <= 2 else "the target's metric"


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A pair's change and its 95 % interval, in the overview's unit."""

    change: float
    low: float
    high: float

    @property
    def evident(self) -> bool:
        return self.low > 0 or self.high < 0


def _change(pair: PairResult, percent: bool) -> _Change:
    """A pair's change; percentages already have the sign where positive is better."""
    if percent:
        improvement = pair.improvement
        return _Change(change=improvement.percent, low=improvement.low, high=improvement.high)
    return _Change(change=pair.verdict.difference, low=pair.verdict.low, high=pair.verdict.high)


def _kept(
    changes: Mapping[tuple[str, str], _Change], sources: list[str], targets: list[str], most: int
) -> tuple[list[str], list[str]]:
    """The sources and targets with the largest changes, in the tables' order."""
    if max(len(sources), len(targets)) <= most:
        return sources, targets
    sizes = np.full((len(sources), len(targets)), -1.0)
    for (source, target), change in changes.items():
        if np.isfinite(change.change):
            sizes[sources.index(source), targets.index(target)] = abs(change.change)
    rows, columns = largest(sizes.max(1), most), largest(sizes.max(0), most)
    return [sources[row] for row in rows], [targets[column] for column in columns]


def _reach(changes: list[_Change]) -> float:
    """The largest change whose interval excludes 0, so that noise does not set the scale; else the largest of all."""
    finite = [change for change in changes if np.isfinite(change.change)]
    evident = [change for change in finite if change.evident]
    return max((abs(change.change) for change in evident or finite), default=0.0) or 1.0


def _cell(pair: PairResult, percent: bool, reach: float) -> OverviewCell:
    change = _change(pair, percent)
    return OverviewCell(
        change=change.change,
        low=change.low,
        high=change.high,
        verdict=pair.verdict.verdict,
        text=shown(change.change, 1 if percent else 3, short=not percent, signed=True),
        step=_step(change.change, reach),
    )


def _step(change: float, reach: float) -> int:
    if not np.isfinite(change):
        return 0
    return int(np.clip(round(STEPS * change / reach), -STEPS, STEPS))


def _cut(sources: tuple[int, int], targets: tuple[int, int]) -> str:
    """The sentence on what is left out. `sources`, `targets`: (number shown, number of all)."""
    parts = [
        f"{kept:,} of {n:,} {what}" for (kept, n), what in ((sources, "sources"), (targets, "targets")) if kept < n
    ]
    return f"{' and '.join(parts)} are shown, those with the largest changes." if parts else ""
