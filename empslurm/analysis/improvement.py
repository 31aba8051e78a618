"""How much a source improves a target: in percent of the baseline, as in the paper, and as a plain difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.verdicts import Comparison

NOT_POSITIVE = "the baseline is not positive: a percentage of it means nothing"
UNDEFINED = "a score is undefined"


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """One pair. Scores and differences are in the metric's unit; `percent` and its ends in percent of the baseline."""

    baseline: float  # mean over seeds
    transfer: float
    difference: float  # transfer - baseline
    gain: float  # the difference, or its negative where the metric is an error
    percent: float  # 100 x gain / baseline (of an error, a decrease is a gain); NaN with a flag where undefined
    low: float  # 95 % interval of `percent`; NaN without a variance, infinite where the baseline may be 0
    high: float
    flag: str = ""


@dataclass(frozen=True, kw_only=True)
class ImprovementMatrix:
    """Figures 6 and 7: sources as rows, targets as columns; NaN where a score is missing, and on the diagonal."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    scores: NDArray[np.float64]  # (n_sources, n_targets); the diagonal holds the baselines
    percent: NDArray[np.float64]  # (n_sources, n_targets)
    difference: NDArray[np.float64]  # (n_sources, n_targets)


def improvement(
    baseline: float,
    transfer: float,
    *,
    baseline_variance: float = float("nan"),
    transfer_variance: float = float("nan"),
    covariance: float = 0.0,
    degrees_of_freedom: float = float("inf"),
    higher_is_better: bool = True,
) -> Improvement:
    """Percent improvement of two seed means with Fieller's interval of their ratio.

    The variances and the covariance are those of the two means (a standard error squared, not the spread over seeds),
    so the interval excludes 0 exactly when the t interval of the difference does. Fieller (1954), "Some problems
    in interval estimation", J. R. Stat. Soc. B 16.
    """
    difference = transfer - baseline
    if not np.isfinite(difference):
        percent, low, high, flag = float("nan"), float("nan"), float("nan"), UNDEFINED
    elif baseline <= 0:
        percent, low, high, flag = float("nan"), float("nan"), float("nan"), NOT_POSITIVE
    else:
        percent, flag = 100 * difference / baseline, ""
        low, high = _fieller(baseline, transfer, baseline_variance, transfer_variance, covariance, degrees_of_freedom)
    if not higher_is_better:
        percent, low, high = -percent, -high, -low
    gain = difference if higher_is_better else -difference
    return Improvement(
        baseline=baseline,
        transfer=transfer,
        difference=difference,
        gain=gain,
        percent=percent,
        low=low,
        high=high,
        flag=flag,
    )


def improvements(comparison: Comparison) -> tuple[Improvement, ...]:
    """Percent improvement of every source of a target, with the variances that the default verdict uses."""
    variance = comparison.mean_covariance
    return tuple(
        improvement(
            comparison.baseline,
            float(comparison.transfer[at]),
            baseline_variance=float(variance[0, 0]),
            transfer_variance=float(variance[1 + at, 1 + at]),
            covariance=float(variance[0, 1 + at]),
            degrees_of_freedom=float(comparison.degrees_of_freedom[at]),
            higher_is_better=comparison.higher_is_better,
        )
        for at in range(len(comparison.sources))
    )


def _fieller(
    baseline: float,
    transfer: float,
    baseline_variance: float,
    transfer_variance: float,
    covariance: float,
    degrees_of_freedom: float,
) -> tuple[float, float]:
    """Ends of the interval of 100 x (transfer / baseline - 1): the ratios q with |transfer - q baseline| <= t se."""
    from scipy.special import stdtrit  # scipy.stats.t.ppf without its slow checks: tables have many pairs

    square = float(stdtrit(degrees_of_freedom, 0.975)) ** 2
    a = baseline**2 - square * baseline_variance
    b = baseline * transfer - square * covariance
    c = transfer**2 - square * transfer_variance
    if np.isnan([a, b, c]).any():
        return float("nan"), float("nan")
    if a <= 0:  # the baseline itself may be 0
        return float("-inf"), float("inf")
    root = np.sqrt(max(0.0, b**2 - a * c))
    return 100 * ((b - root) / a - 1), 100 * ((b + root) / a - 1)


def improvement_matrix(
    scores: Mapping[tuple[str, str], float], order: Sequence[str], *, higher_is_better: bool = True
) -> ImprovementMatrix:
    """The matrix of Figures 6 and 7 from scores of one metric by (source, target); a baseline is (target, target).

    `order`: task ids; all become rows, and the targets with any score become columns.
    """
    scored = {target for _, target in scores}
    targets = tuple(task for task in order if task in scored)
    column = {target: at for at, target in enumerate(targets)}
    table = np.array([[scores.get((source, target), float("nan")) for target in targets] for source in order])
    table = table.reshape(len(order), len(targets))
    baselines = np.array([scores.get((target, target), float("nan")) for target in targets])
    difference = table - baselines
    for row, source in enumerate(order):
        if source in column:
            difference[row, column[source]] = float("nan")
    gain = difference if higher_is_better else -difference
    percent = 100 * gain / np.where(baselines > 0, baselines, float("nan"))
    return ImprovementMatrix(
        sources=tuple(order), targets=targets, scores=table, percent=percent, difference=difference
    )
