"""Does the effect of a source differ between settings (encoders, models, languages) by more than noise explains?

For each pair, its gains in K settings, each with the standard error and the degrees of freedom of its own verdict
(`verdicts.py`: seed noise and example error). The test is Welch's for unequal variances (Welch 1951,
doi 10.1093/biomet/38.3-4.330; James 1951 is its second-order relative): Cochran's Q over K - 1, corrected for variances
that are themselves estimates, against F. With two settings it is the Welch-Satterthwaite t-test of the difference.

Errors of different settings are taken as independent. Where they share seeds or test examples their errors may
correlate; a positive correlation cancels in a difference, so that the test calls too few pairs, not too many.

`variance_parts` splits the variance of gains between pairs into three: common to all settings, pair x setting, and
noise. Settings and pairs are fixed: the intervals are about these pairs in these settings, and only noise is random.
`benchmarks/interaction_simulation.py` has the false-positive rates, the power and the coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.verdicts import benjamini_hochberg
from empslurm.errors import UsageError

LEVEL = 0.05
POWER = 0.8
NEGLIGIBLE = 1e-10  # a variance below this share of the pair's largest counts as this share
ROUNDING = 1e-12  # of gains near 1: those that differ by less are equal
FEWEST_PAIRS = 3  # for variance parts
SEARCHED = 1e6  # the largest noncentrality, in units of the degrees of freedom


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """One test per pair; shapes (n_pairs,). NaN where fewer than two settings can be compared, or none has noise."""

    n_settings: NDArray[np.int64]  # compared
    statistic: NDArray[np.float64]  # Welch's F
    freedom: NDArray[np.float64]  # of its numerator: settings - 1
    error_freedom: NDArray[np.float64]  # of its denominator
    p_value: NDArray[np.float64]
    p_bh: NDArray[np.float64]  # Benjamini-Hochberg over all tested pairs
    spread: NDArray[np.float64]  # largest gain - smallest gain
    highest: NDArray[np.int64]  # setting of the largest gain; -1 without a gain
    lowest: NDArray[np.int64]
    margin: NDArray[np.float64]  # half the 95 % interval of `spread`; NaN with other than two settings
    detectable: NDArray[np.float64]  # with two settings: a difference seen with probability .8 at .05, uncorrected

    @property
    def n_tested(self) -> int:
        """Size of the family of `p_bh`."""
        return int(np.isfinite(self.p_value).sum())


def interactions(gains: NDArray[np.float64], errors: NDArray[np.float64], freedom: NDArray[np.float64]) -> Interactions:
    """Test each pair over its settings. All shapes (n_pairs, n_settings); a setting counts where all three are known.

    `errors`: standard errors of the gains; `freedom`: their degrees of freedom.
    """
    from scipy.stats import f as fisher
    from scipy.stats import t as student

    if not gains.shape == errors.shape == freedom.shape or gains.ndim != 2:
        raise UsageError(
            f"gains, errors and freedom must have one shape (pairs, settings), but have {gains.shape}, {errors.shape} "
            f"and {freedom.shape}; give one of each per pair and setting"
        )
    there = np.isfinite(gains) & np.isfinite(errors) & ~np.isnan(freedom)
    n = there.sum(1)
    variance = np.where(there, errors**2, 0.0)
    largest = variance.max(1, initial=0.0)
    tested = (n >= 2) & (largest > ROUNDING**2)
    variance = np.where(there, np.maximum(variance, NEGLIGIBLE * largest[:, None]), np.inf)
    variance[~tested] = np.inf
    statistic, error_freedom = _welch(np.where(there, gains, 0.0), variance, np.where(there, freedom, 1.0), n, tested)
    between = np.where(tested, n - 1.0, np.nan)
    p_value = np.where(tested, fisher.sf(statistic, between, error_freedom), np.nan)
    spread, highest, lowest = _spread(gains, there, n)
    two = tested & (n == 2)
    error = np.where(two, np.sqrt(np.where(np.isfinite(variance), variance, 0.0).sum(1)), np.nan)
    margin = student.ppf(1 - LEVEL / 2, error_freedom) * error
    return Interactions(
        n_settings=n,
        statistic=statistic,
        freedom=between,
        error_freedom=error_freedom,
        p_value=p_value,
        p_bh=benjamini_hochberg(p_value),
        spread=spread,
        highest=highest,
        lowest=lowest,
        margin=margin,
        detectable=margin + student.ppf(POWER, error_freedom) * error,
    )


def _welch(
    gains: NDArray[np.float64],
    variance: NDArray[np.float64],
    freedom: NDArray[np.float64],
    n: NDArray[np.int64],
    tested: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Welch's F and the degrees of freedom of its denominator; settings with an infinite variance have no weight."""
    weight = 1 / variance
    total = np.where(tested, weight.sum(1), 1.0)[:, None]
    mean = (weight * gains).sum(1, keepdims=True) / total
    apart = np.where(np.abs(gains - mean) < ROUNDING, 0.0, gains - mean)
    k = np.where(tested, n, 2).astype(np.float64)
    doubt = (np.where(weight > 0, (1 - weight / total) ** 2, 0.0) / freedom).sum(1)
    statistic = (weight * apart**2).sum(1) / (k - 1) / (1 + 2 * (k - 2) / (k**2 - 1) * doubt)
    with np.errstate(divide="ignore"):
        error_freedom = (k**2 - 1) / (3 * doubt)
    return np.where(tested, statistic, np.nan), np.where(tested, error_freedom, np.nan)


def _spread(
    gains: NDArray[np.float64], there: NDArray[np.bool_], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    highest = np.where(there, gains, -np.inf).argmax(1)
    lowest = np.where(there, gains, np.inf).argmin(1)
    rows = np.arange(len(gains))
    spread = np.where(n >= 2, gains[rows, highest] - gains[rows, lowest], np.nan)
    return spread, np.where(n >= 2, highest, -1), np.where(n >= 2, lowest, -1)


@dataclass(frozen=True, kw_only=True)
class TargetErrors:
    """The errors of one target's pairs. Within a setting they are correlated by a shared baseline and test examples."""

    pairs: NDArray[np.int64]  # (n_own,) rows of the gains
    covariance: NDArray[np.float64]  # (n_settings, n_own, n_own) of the errors within each setting
    degrees_of_freedom: NDArray[np.float64]  # (n_settings,) of these covariances


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the variance of gains between pairs, in the squared unit of the gains."""

    variance: float  # at least 0
    low: float  # 95 % interval; NaN for noise
    high: float


@dataclass(frozen=True, kw_only=True)
class VarianceParts:
    """The mean over settings of the variance of gains between pairs, split into three parts.

    `common` is the variance of the pairs' mean gains over settings. `by_setting` is how far pairs depart from that mean
    within each setting, beyond what moves all pairs of a setting alike. `noise` is seed noise and example error.
    """

    n_pairs: int
    n_settings: int
    common: Part
    by_setting: Part
    noise: Part

    @property
    def share(self) -> tuple[float, float, float]:
        """Common / (common + by setting): estimate and a 95 % interval, which is wide rather than narrow.

        The ends combine the ends of both intervals, whose errors are nearly independent.
        """

        def of(common: float, other: float) -> float:
            return common / (common + other) if common + other > 0 else float("nan")

        low = 0.0 if self.common.low == 0 else of(self.common.low, self.by_setting.high)
        high = 1.0 if self.by_setting.low == 0 else of(self.common.high, self.by_setting.low)
        return of(self.common.variance, self.by_setting.variance), low, high


def variance_parts(gains: NDArray[np.float64], targets: Sequence[TargetErrors]) -> VarianceParts | None:
    """Split the variance of `gains` (n_pairs, n_settings; none missing) by the method of moments.

    `targets`: the errors of all gains, each pair once. None with fewer than three pairs or two settings,
    or without noise. Intervals invert the noncentral F of each sum of squares, with Satterthwaite's degrees of freedom
    (Satterthwaite 1946, doi 10.2307/3002019): given the truth of these pairs, only the noise is random.
    """
    n_pairs, n_settings = gains.shape
    if n_pairs < FEWEST_PAIRS or n_settings < 2:
        return None
    noise, freedom, crossed = _noise_of(targets, n_pairs)
    if not noise.mean() > ROUNDING**2:
        return None
    centred = gains - gains.mean(0)
    means = centred.mean(1)
    own = noise.mean()  # of one gain, after the mean of its setting
    common = _part(
        float((means**2).sum()), float(noise.sum() / n_settings**2), crossed.sum() / n_settings**4, freedom, 1
    )
    centring = np.eye(n_settings) - 1 / n_settings
    rest = centred - means[:, None]
    by_setting = _part(
        float((rest**2).sum()),
        float(own * (n_settings - 1)),
        float((centring**2 * crossed).sum()),
        freedom,
        n_settings,
    )
    degrees = n_pairs - 1
    return VarianceParts(
        n_pairs=n_pairs,
        n_settings=n_settings,
        common=_divided(common, degrees),
        by_setting=_divided(by_setting, degrees),
        noise=Part(variance=float(own) / degrees, low=float("nan"), high=float("nan")),
    )


def _noise_of(targets: Sequence[TargetErrors], n_pairs: int) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Traces of C S_k and of C S_j C S_k, and the degrees of freedom of the sum of the first.

    S_k: covariance of all errors in setting k; C subtracts the mean over pairs. Shapes (n_settings,) and (n_settings,
    n_settings).
    """
    noise, crossed, sums, squares = (np.zeros(()) for _ in range(4))
    for target in targets:
        covariance = target.covariance
        rows = covariance.sum(2)
        own = np.trace(covariance, axis1=1, axis2=2) - rows.sum(1) / n_pairs
        noise, sums = noise + own, sums + rows.sum(1)
        squares = squares + (own**2 / target.degrees_of_freedom).sum()
        crossed = crossed + np.einsum("jab,kba->jk", covariance, covariance) - 2 / n_pairs * rows @ rows.T
    crossed = crossed + np.outer(sums, sums) / n_pairs**2
    return noise, float(noise.sum() ** 2 / squares) if squares > 0 else float("inf"), crossed


def _part(observed: float, expected: float, squares: float, freedom: float, n_settings: int) -> Part:
    """The sum of squares that is not noise, over `n_settings`.

    `observed`: the sum of squares; `expected`: its expectation from noise alone, estimated with `freedom` degrees of
    freedom; `squares`: the trace of the squared covariance of the noise in it.
    """
    own = expected**2 / squares  # Satterthwaite's degrees of freedom
    ratio = observed / expected
    low, high = (_noncentrality(ratio, own, freedom, level) for level in (1 - LEVEL / 2, LEVEL / 2))
    scale = expected / own / n_settings
    return Part(variance=max(0.0, observed - expected) / n_settings, low=low * scale, high=high * scale)


def _noncentrality(ratio: float, own: float, freedom: float, level: float) -> float:
    """The noncentrality at which a noncentral F has `ratio` as its quantile `level`; 0 where none is small enough."""
    from scipy.optimize import brentq
    from scipy.stats import ncf, ncx2

    def beyond(noncentrality: float) -> float:
        if np.isinf(freedom):
            return float(ncx2.cdf(ratio * own, own, noncentrality)) - level
        return float(ncf.cdf(ratio, own, freedom, noncentrality)) - level

    if beyond(1e-9) <= 0:
        return 0.0
    upper = own * max(1.0, ratio)
    while beyond(upper) > 0 and upper < SEARCHED * own * max(1.0, ratio):
        upper *= 2
    return float(brentq(beyond, 1e-9, upper)) if beyond(upper) <= 0 else float("inf")


def _divided(part: Part, by: int) -> Part:
    return Part(variance=part.variance / by, low=part.low / by, high=part.high / by)


def concordance(ranks: NDArray[np.float64]) -> float:
    """Kendall's W of `ranks` (n_judges, n_items), corrected for ties; NaN with fewer than two of either.

    1: all judges rank alike; 0: no agreement. Kendall and Babington Smith (1939), doi 10.1214/aoms/1177732186.
    """
    judges, items = ranks.shape
    if judges < 2 or items < 2:
        return float("nan")
    sums = ranks.sum(0)
    ties = sum(float((counts**3 - counts).sum()) for row in ranks for counts in [np.unique(row, return_counts=True)[1]])
    most = judges**2 * (items**3 - items) - judges * ties
    return float(12 * ((sums - sums.mean()) ** 2).sum() / most) if most > 0 else float("nan")
