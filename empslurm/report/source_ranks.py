"""Which sources help most over all targets at one data fraction: mean gains, and ranks with their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.source_ranks import RankedSources, TargetGains, rank_sources
from empslurm.analysis.verdicts import Comparison
from empslurm.metrics import METRICS
from empslurm.report.significance import PairResult, TargetResult, stream

PERCENT = "percent"
MOST_SOURCES = 300  # with more, computing the errors of all differences takes too long
TOO_MANY = f"more than {MOST_SOURCES} sources: too many for intervals"
APART = "some sources share no target, not even through others, so they are not compared"


@dataclass(frozen=True, kw_only=True)
class SourceRank:
    """One source over its targets. Positive gains are better; the unit is that of its `SourceRanks`."""

    source: str
    effect: float  # fitted mean gain over all targets; NaN without any gain
    low: float  # 95 % interval of the mean gain; NaN where unknown
    high: float
    place: int  # 1 + the number of sources shown to help more; equal places are ties
    best: int  # simultaneous 95 % interval of the rank
    worst: int
    n_targets: int  # targets behind the mean gain
    n_helps: int  # verdicts
    n_harms: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low))


@dataclass(frozen=True, kw_only=True)
class SourceRanks:
    """The sources at one data fraction, by place, then by mean gain."""

    fraction: float
    unit: str  # `percent` of the target's baseline, or `metric`: each target's metric, where higher is better
    metrics: tuple[str, ...]  # of the targets
    sources: tuple[SourceRank, ...]
    n_left_out: int  # pairs with a score that the mean gains leave out
    reason: str  # why intervals are unknown, or a limit of the ranks; else ""


def source_ranks(
    results: Sequence[TargetResult], pairs: Sequence[PairResult], *, fraction: float
) -> SourceRanks | None:
    """Rank sources by how much they help; None with fewer than two sources with a gain.

    Where some pairs can be judged, the others are left out; where none can, mean gains use all scores.
    """
    names = tuple(dict.fromkeys(source for result in results for source in result.comparison.sources))
    metrics = tuple(dict.fromkeys(result.metric for result in results))
    percent = any(not METRICS[metric].higher_is_better for metric in metrics)
    decided = _decided(results)
    index = {name: at for at, name in enumerate(names)}
    targets = [_gains(result.comparison, index, percent=percent, decided=decided) for result in results]
    there = sorted({int(at) for target in targets for at in target.sources})
    if len(there) < len(names):  # a source without any gain has no rank
        names = tuple(names[at] for at in there)
        index = {name: at for at, name in enumerate(names)}
        targets = [_gains(result.comparison, index, percent=percent, decided=decided) for result in results]
    reason = "" if decided else "; ".join(dict.fromkeys(_reasons(results)))
    if len(names) > MOST_SOURCES:
        targets, reason = [_without_errors(target) for target in targets], reason or TOO_MANY
    ranked = rank_sources(targets, len(names), stream("source ranks", fraction, *names))
    if int((ranked.n_targets > 0).sum()) < 2:
        return None
    n_scored = sum(int(np.isfinite(result.comparison.difference).sum()) for result in results)
    n_left_out = n_scored - int(ranked.n_targets.sum())
    return SourceRanks(
        fraction=fraction,
        unit=PERCENT if percent else "metric",
        metrics=metrics,
        sources=_rows(names, ranked, pairs),
        n_left_out=n_left_out,
        reason=reason or _doubt(ranked, results, n_left_out),
    )


def counted(results: Sequence[TargetResult], all_results: Sequence[TargetResult]) -> set[str]:
    """The sources with a gain in `results` that counts when all are ranked together by `source_ranks`."""
    percent = any(not METRICS[result.metric].higher_is_better for result in all_results)
    decided = _decided(all_results)
    return {
        source
        for result in results
        for source, counts in zip(
            result.comparison.sources, _counts(result.comparison, percent=percent, decided=decided), strict=True
        )
        if counts
    }


def _decided(results: Sequence[TargetResult]) -> bool:
    """Whether any pair can be judged."""
    return any(reason == "" for result in results for reason in result.comparison.reasons)


def _reasons(results: Sequence[TargetResult]) -> list[str]:
    return [reason for result in results for reason in result.comparison.reasons if reason]


def _doubt(ranked: RankedSources, results: Sequence[TargetResult], n_left_out: int) -> str:
    said = [] if ranked.connected else [APART]
    if n_left_out:
        why = "; ".join(dict.fromkeys(_reasons(results))) or "their baselines are not positive"
        said.append(f"{n_left_out} {'pair is' if n_left_out == 1 else 'pairs are'} left out: {why}")
    return "; ".join(said)


def _gains(comparison: Comparison, index: dict[str, int], *, percent: bool, decided: bool) -> TargetGains:
    """A target's gains with their covariance; in percent by the delta method, only for baselines above 0."""
    named = np.array([source in index for source in comparison.sources], dtype=bool)
    own = np.flatnonzero(_counts(comparison, percent=percent, decided=decided) & named)
    gains = comparison.sign * comparison.difference[own]
    covariance = comparison.covariance[np.ix_(own, own)]
    if percent:
        cells = np.append(0, 1 + own)
        ratio = comparison.transfer[own] / comparison.baseline
        slope = np.hstack([-ratio[:, None], np.eye(len(own))]) * 100 / comparison.baseline
        gains = 100 * gains / comparison.baseline
        of_means = slope @ comparison.mean_covariance[np.ix_(cells, cells)] @ slope.T
        covariance = np.where(np.isfinite(covariance), of_means, np.nan)
    freedom = comparison.degrees_of_freedom[own]
    return TargetGains(
        sources=np.array([index[comparison.sources[at]] for at in own], dtype=np.int64),
        gains=gains,
        covariance=covariance,
        degrees_of_freedom=float(freedom.min()) if len(own) else float("nan"),
    )


def _counts(comparison: Comparison, *, percent: bool, decided: bool) -> NDArray[np.bool_]:
    """Whether each source's gain counts: known, judged where any pair is, and of a positive baseline for percent."""
    counts: NDArray[np.bool_] = np.isfinite(comparison.difference)
    if decided:
        counts &= np.array([reason == "" for reason in comparison.reasons], dtype=bool)
    return counts & (comparison.baseline > 0) if percent else counts


def _without_errors(target: TargetGains) -> TargetGains:
    return TargetGains(
        sources=target.sources,
        gains=target.gains,
        covariance=np.full(target.covariance.shape, np.nan),
        degrees_of_freedom=float("nan"),
    )


def _rows(names: Sequence[str], ranked: RankedSources, pairs: Sequence[PairResult]) -> tuple[SourceRank, ...]:
    verdicts = Counter((pair.verdict.source, pair.verdict.verdict) for pair in pairs)
    rows = [
        SourceRank(
            source=name,
            effect=float(ranked.effect[at]),
            low=float(ranked.low[at]),
            high=float(ranked.high[at]),
            place=int(ranked.place[at]),
            best=int(ranked.best[at]),
            worst=int(ranked.worst[at]),
            n_targets=int(ranked.n_targets[at]),
            n_helps=verdicts[name, "helps"],
            n_harms=verdicts[name, "harms"],
        )
        for at, name in enumerate(names)
    ]
    return tuple(sorted(rows, key=lambda row: (row.place, -row.effect if np.isfinite(row.effect) else np.inf)))
