"""The targets section: each target's sources as a forest plot with difference, interval and verdict, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from empslurm.metrics import METRICS
from empslurm.report.contents import MOST_PAIRS, GroupContents, View
from empslurm.report.formats import shown
from empslurm.report.significance import PairResult, TargetResult
from empslurm.report.tables import title_of
from empslurm.report.wording import MARKS
from empslurm.tasks import Registry

MOST_ROWS = 1_500  # of all forest plots of a page, shared by the groups
FEWEST_ROWS = 6  # of one target's
MOST_TARGETS = 150
OPEN = 3  # targets that are open at first; all are where there are at most `FEW`
FEW = 6
MARGIN = 3.0  # percent of a strip's width left free at each end


def targets(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: a plot per target and data fraction; None without verdicts."""
    if not group.views:
        return None
    return {"fractions": [_fraction(group, view) for view in group.views]}


def _fraction(group: GroupContents, view: View) -> Mapping[str, Any]:
    significance, registry = view.significance, group.analyses.gathered.registry
    by_target: dict[str, list[PairResult]] = {}
    for pair in significance.pairs:
        by_target.setdefault(pair.verdict.target, []).append(pair)
    results = sorted(
        (result for result in significance.results if result.target in by_target),
        key=lambda result: _interest(by_target[result.target]),
    )
    shown_targets = results[:MOST_TARGETS]
    most = max(FEWEST_ROWS, MOST_ROWS * group.most_pairs // MOST_PAIRS // max(1, len(shown_targets)))
    plots = [
        _target(result, by_target[result.target], view, registry, most, is_open=len(results) <= FEW or at < OPEN)
        for at, result in enumerate(shown_targets)
    ]
    left = len(results) - len(shown_targets)
    title = "" if len(group.views) == 1 else view.block.title
    return {
        "title": title,
        "caption": "Difference from the target alone, in the target's metric, with its 95 % interval before correction "
        "for many pairs; verdicts are after correction. The line marks no change; each target has its own scale."
        + (" For an error, lower is better." if any(METRICS[r.metric].sign < 0 for r in results) else ""),
        "view": view.index,
        "targets": plots,
        "more": f"{left:,} more targets are in the table of all pairs." if left else "",
    }


def _interest(pairs: Sequence[PairResult]) -> tuple[float, ...]:
    """Sort key: first targets with help, then with harm, then by the largest gain."""
    verdicts = {pair.verdict.verdict for pair in pairs}
    gains = [pair.improvement.gain for pair in pairs if np.isfinite(pair.improvement.gain)]
    return ("helps" not in verdicts, "harms" not in verdicts, -max(gains, default=-np.inf))


def _target(
    result: TargetResult, pairs: Sequence[PairResult], view: View, registry: Registry, most: int, *, is_open: bool
) -> Mapping[str, Any]:
    """One target's plot, on its own scale."""
    ordered = sorted(pairs, key=lambda pair: -pair.improvement.gain if np.isfinite(pair.improvement.gain) else np.inf)
    first = max(ordered, key=lambda pair: pair.verdict.verdict == "helps")  # of these the largest gain
    kept = ordered if len(ordered) <= most else [*ordered[: most - most // 2], *ordered[-(most // 2) :]]
    values = [value for pair in kept for value in (pair.verdict.low, pair.verdict.high, pair.verdict.difference)]
    finite = [value for value in values if np.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(MARGIN + (100 - 2 * MARGIN) * (value - low) / span, 1)

    rows = [_row(pair, view, registry, at) for pair in kept if (pair.verdict.source, pair.verdict.target) in view.rows]
    metric, comparison = METRICS[result.metric], result.comparison
    n_seeds, n_collapsed = comparison.n_seeds[0], comparison.n_collapsed[0]
    alone = f"alone {shown(comparison.baseline, 3, short=True)} {metric.title}"
    alone += f", {n_seeds} {'seed' if n_seeds == 1 else 'seeds'}"
    alone += f" ({n_collapsed} more did not learn)" if n_collapsed else ""
    detectable = comparison.smallest_detectable[np.isfinite(comparison.smallest_detectable)]
    if len(detectable):
        alone += f"; detects differences of {shown(float(np.median(detectable)), 3, short=True)}"
    return {
        "title": title_of(result.target, registry),
        "verdict": first.verdict.verdict,
        "best": _best(first, registry),
        "alone": alone,
        "is_open": is_open,
        "zero": at(0.0),
        "rows": rows,
        "more": f"{len(ordered) - len(rows):,} more between these are in the table of all pairs."
        if len(rows) < len(ordered)
        else "",
    }


def _best(pair: PairResult, registry: Registry) -> str:
    """The target's best source, in a few words."""
    verdict = pair.verdict
    if not np.isfinite(verdict.difference):
        return f"cannot be judged yet: {verdict.reason or 'no difference is defined'}"
    words = f"{title_of(verdict.source, registry)} {shown(verdict.difference, 3, short=True, signed=True)}"
    if verdict.verdict == "helps":
        return f"{MARKS['helps']} {words}"
    return f"largest gain {words}, {verdict.verdict}" if pair.improvement.gain > 0 else "no source gains"


def _row(pair: PairResult, view: View, registry: Registry, at: Any) -> Mapping[str, Any]:
    verdict = pair.verdict
    known = np.isfinite(verdict.low) and np.isfinite(verdict.high)
    numbers = shown(verdict.difference, 3, short=True, signed=True)
    if known:
        ends = (shown(end, 3, short=True, signed=True) for end in (verdict.low, verdict.high))
        numbers += " [{}, {}]".format(*ends)
    return {
        "source": title_of(verdict.source, registry),
        "verdict": verdict.verdict,
        "row": view.rows[verdict.source, verdict.target],
        "at": at(verdict.difference) if np.isfinite(verdict.difference) else None,
        "left": at(verdict.low) if known else None,
        "width": round(at(verdict.high) - at(verdict.low), 1) if known else None,
        "numbers": numbers,
        "said": f"{MARKS[verdict.verdict]} {verdict.verdict}",
    }
