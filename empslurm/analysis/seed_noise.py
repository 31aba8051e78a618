"""How much a target's scores vary with the seed: a variance per cell, shrunk towards the target's other cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-12  # of scores near 1: runs that differ by less are equal
LENT = 0.5  # degrees of freedom
FEW_SOURCES = 3  # with fewer, a common effect of equal seeds cannot be distinguished from chance


@dataclass(frozen=True, kw_only=True)
class Moderated:
    """Variances that are shrunk towards a common value; shapes (n_cells,)."""

    variance: NDArray[np.float64]
    degrees_of_freedom: NDArray[np.float64]
    centre: float  # the variance that they are shrunk towards
    prior_degrees_of_freedom: float  # the weight of `centre`; 0: no shrinkage, infinite: one variance for all


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Variance components of one target's layout of cells and seeds."""

    variance: NDArray[np.float64]  # (n_cells,) noise variance of a single run, the baseline's first
    degrees_of_freedom: NDArray[np.float64]  # (n_cells,) of `variance`
    total_degrees_of_freedom: float
    prior_degrees_of_freedom: float
    seed_variance: float  # of the common effect of equal seeds: `seed_spread` minus `seed_share`, at least 0
    seed_degrees_of_freedom: float
    seed_spread: float  # variance of the fitted seed effects; 0 where there are none
    seed_share: float  # the part of it that noise alone would cause
    centre: float  # the variance that the transfers' variances are shrunk towards
    own_variance: float  # the baseline's variance from its own runs alone; NaN with fewer than two
    own_degrees_of_freedom: float
    transfer_variance: float  # mean of the transfers' variances from their own runs, by degrees of freedom; or NaN
    transfer_degrees_of_freedom: float

    def of(self, cells: NDArray[np.int64]) -> SeedNoise:
        """The noise of some of the cells, still shrunk towards all of them."""
        return replace(self, variance=self.variance[cells], degrees_of_freedom=self.degrees_of_freedom[cells])


def seed_noise(scores: NDArray[np.float64]) -> SeedNoise:
    """Fit cell means and seed effects to `scores` (n_cells, n_seeds; NaN where missing) and shrink the variances.

    A seed that only one cell has says nothing about a common seed effect: it counts as that cell's noise. With fewer
    than three sources, no seed effects are fitted, as in Welch's test. The same holds where fitting them would leave a
    cell with two runs without any variance, its own or shrunk.
    """
    there = ~np.isnan(scores)
    shared = np.flatnonzero(there.sum(0) >= 2) if len(scores) > FEW_SOURCES else np.empty(0, dtype=np.int64)
    moderated = _moderated(scores, there, shared)
    if not np.isfinite(moderated.variance[there.sum(1) >= 2]).all():
        moderated = _moderated(scores, there, shared[:0])
    return moderated


def _moderated(scores: NDArray[np.float64], there: NDArray[np.bool_], shared: NDArray[np.int64]) -> SeedNoise:
    """The fit with effects of the `shared` seeds; NaN for cells whose variance it cannot estimate."""
    fit = _fit(scores, there, shared)
    squares, freedom = fit.squares, fit.freedom
    transfers = moderate(squares[1:], freedom[1:])
    own, own_freedom = _baseline(squares[0], freedom[0], transfers, float(freedom[1:].sum()))
    common = np.append(fit.seeds, -fit.seeds.sum())  # a single 0 where no seed effects are fitted
    spread = float(common.var(ddof=1)) if len(common) > 1 else 0.0
    share = transfers.centre / (float(there.sum(0)[shared].mean()) if len(shared) else 1.0)
    return SeedNoise(
        variance=np.append(own, transfers.variance),
        degrees_of_freedom=np.append(own_freedom, transfers.degrees_of_freedom),
        total_degrees_of_freedom=float(freedom.sum()),
        prior_degrees_of_freedom=transfers.prior_degrees_of_freedom,
        seed_variance=max(0.0, spread - share) if spread > 0 else 0.0,
        seed_degrees_of_freedom=max(1.0, len(common) - 1.0),
        seed_spread=spread,
        seed_share=share,
        centre=transfers.centre,
        own_variance=float(squares[0] / freedom[0]) if freedom[0] > 0 else float("nan"),
        own_degrees_of_freedom=float(freedom[0]),
        transfer_variance=float(squares[1:].sum() / freedom[1:].sum()) if freedom[1:].sum() > 0 else float("nan"),
        transfer_degrees_of_freedom=float(freedom[1:].sum()),
    )


class _Fit(NamedTuple):
    """Cell means and seed effects, fitted by least squares."""

    squares: NDArray[np.float64]  # (n_cells,) of the residuals
    freedom: NDArray[np.float64]  # (n_cells,) degrees of freedom of `squares`
    seeds: NDArray[np.float64]  # (n_shared - 1,) effects; the effect of the last shared seed is minus their sum


def _fit(scores: NDArray[np.float64], there: NDArray[np.bool_], shared: NDArray[np.int64]) -> _Fit:
    cells, seeds = np.nonzero(there)
    n_cells = len(scores)
    design = np.hstack([np.eye(n_cells)[cells], _seed_columns(shared, seeds)])
    inverse = np.linalg.pinv(design)
    observed = scores[cells, seeds]
    effects = inverse @ observed
    residuals = observed - design @ effects
    residuals[np.abs(residuals) < ROUNDING] = 0.0
    free = 1.0 - np.einsum("ij,ji->i", design, inverse)  # residual degrees of freedom of each score
    free[free < 1e-9] = 0.0  # rounding: the fit hits such a score exactly
    return _Fit(
        squares=np.bincount(cells, residuals**2, n_cells).astype(np.float64),
        freedom=np.bincount(cells, free, n_cells).astype(np.float64),
        seeds=effects[n_cells:],
    )


def _baseline(squares: float, freedom: float, transfers: Moderated, limit: float) -> tuple[float, float]:
    """The baseline's variance and its degrees of freedom: its own or the shrunk one, whichever is larger.

    The transfers lend it at most half a degree of freedom, because it is another kind of model and every comparison
    uses it. With all degrees of freedom of a shrunk variance, p-values near .001 were two to five times too frequent.
    """
    if freedom <= 0:
        return float("nan"), 0.0
    own, prior = squares / freedom, min(transfers.prior_degrees_of_freedom, limit)
    if not prior > 0 or own >= transfers.centre:
        return own, freedom
    return (prior * transfers.centre + squares) / (prior + freedom), freedom + min(prior, LENT)


def _seed_columns(shared: NDArray[np.int64], seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum-to-zero columns of the shared seeds' effects, shape (n_scores, n_shared - 1); other seeds have none."""
    if len(shared) < 2:
        return np.zeros((len(seeds), 0))
    codes = np.vstack([np.eye(len(shared) - 1), -np.ones(len(shared) - 1)])
    columns = np.zeros((len(seeds), len(shared) - 1))
    for code, seed in zip(codes, shared, strict=True):
        columns[seeds == seed] = code
    return columns


def moderate(squares: NDArray[np.float64], freedom: NDArray[np.float64]) -> Moderated:
    """Empirical-Bayes variances (moderated variances: Smyth 2004, section 6.2).

    `squares`: sums of squared residuals; `freedom`: their degrees of freedom, shapes (n_cells,). The scatter of the
    logarithms of the variances beyond chance estimates how much the true variances differ; the less they differ, the
    more each is shrunk. Few cells with few runs cannot show that their variances are equal, so the scatter is taken to
    be one standard error larger; without that, p-values near .001 are too frequent where variances do differ.
    No variance gets more degrees of freedom than all cells have together.
    """
    from scipy.special import digamma, polygamma

    total, known = float(freedom.sum()), freedom > 0
    raw = np.divide(squares, freedom, out=np.full(len(freedom), np.nan), where=known)
    pooled = float(squares.sum()) / total if total > 0 else float("nan")
    if known.sum() < 2:
        return Moderated(variance=raw, degrees_of_freedom=freedom, centre=pooled, prior_degrees_of_freedom=0.0)
    excess = -1.0
    if pooled > 0:
        half = freedom[known] / 2
        floor = 1e-5 * float(np.median(raw[squares > 0]))  # the logarithm of a zero variance would be infinite
        logs = np.log(np.maximum(raw[known], floor)) - digamma(half) + np.log(half)
        chance, fourth = float(polygamma(1, half).mean()), float(polygamma(3, half).mean())
        error = float(np.sqrt(2 * chance**2 / (len(logs) - 1) + fourth / len(logs)))  # of the logarithms' variance
        excess = max(0.0, float(logs.var(ddof=1)) - chance) + error
    if excess <= 0:
        same = np.full(len(freedom), pooled)
        everything = np.full(len(freedom), total)
        return Moderated(
            variance=same, degrees_of_freedom=everything, centre=pooled, prior_degrees_of_freedom=float("inf")
        )
    prior = 2 * _trigamma_inverse(excess)
    centre = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))
    return Moderated(
        variance=(prior * centre + squares) / (prior + freedom),
        degrees_of_freedom=np.minimum(prior + freedom, total),
        centre=centre,
        prior_degrees_of_freedom=prior,
    )


def _trigamma_inverse(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        step = float(polygamma(1, x) * (1 - polygamma(1, x) / value) / polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
