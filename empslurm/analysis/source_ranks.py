"""Sources ranked by how much they help, with an interval of each source's mean gain and of its rank.

Sources need not have the same targets, and a task is never its own source. So gains are modelled as

    gain[source, target] = effect of the target + effect of the source + error

fitted by least squares over the existing pairs. A source's mean gain is its fitted gain, averaged over all targets that
can be compared.

Ranks are those of Mogstad, Romano, Shaikh and Wilhelm (2024, doi 10.1093/restud/rdad006): from simultaneous 95 %
intervals of all differences between sources, the best rank that a source can have is 1 + the number of sources shown
to help more, the worst is n - the number shown to help less. All these intervals together contain all true ranks with
probability .95.

The errors of one target are correlated (they share a baseline and test examples) and are estimated with few degrees of
freedom. A difference between sources sums over targets, so its degrees of freedom are Satterthwaite's over targets; all
differences use the smallest. `tests/analysis/test_source_ranks.py` simulates the coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import UsageError

LEVEL = 0.05
N_DRAWS = 10_000  # of the largest standardised difference
MOST_DRAWN = 50_000_000  # draws x differences: with very many sources there are fewer draws
FEWEST_DRAWS = 1_000
CHUNK = 250  # draws at once
NOTHING = 1e-12  # a difference or variance that is rounding error, in units of the largest


@dataclass(frozen=True, kw_only=True)
class TargetGains:
    """The gains of one target's sources; positive is better."""

    sources: NDArray[np.int64]  # (n_own,) each at most once
    gains: NDArray[np.float64]  # (n_own,)
    covariance: NDArray[np.float64]  # (n_own, n_own) of the gains; NaN where unknown
    degrees_of_freedom: float  # of that covariance


@dataclass(frozen=True, kw_only=True)
class RankedSources:
    """All sources ranked; arrays have shape (n_sources,)."""

    effect: NDArray[np.float64]  # mean gain over all comparable targets; NaN without any gain
    low: NDArray[np.float64]  # 95 % interval of one source's mean gain; NaN where unknown
    high: NDArray[np.float64]
    best: NDArray[np.int64]  # best possible rank (1: first), from simultaneous 95 % intervals
    worst: NDArray[np.int64]
    n_targets: NDArray[np.int64]
    known: bool  # whether errors are known; if not, no source is distinguished from another
    connected: bool  # whether all sources can be compared through shared targets

    @property
    def place(self) -> NDArray[np.int64]:
        """1 + the number of sources shown to help more; equal places are ties."""
        return self.best


def rank_sources(targets: Sequence[TargetGains], n_sources: int, rng: np.random.Generator) -> RankedSources:
    """Mean gains and ranks of sources 0 to n_sources - 1.

    All errors and intervals are unknown where any covariance is NaN. Sources that share no target, not even through
    others, are never distinguished from one another.
    """
    _check(targets, n_sources)
    there = [target for target in targets if len(target.sources)]
    n_targets = np.bincount(
        np.concatenate([target.sources for target in there] or [np.empty(0, np.int64)]), minlength=n_sources
    )
    part = _parts(there, n_sources)
    fit = _fit(there, n_sources, part)
    effect = np.where(n_targets > 0, fit.effect, np.nan)
    known = bool(there) and all(np.isfinite(target.covariance).all() for target in there)
    connected = len({*part[n_targets > 0].tolist()}) < 2
    low = high = np.full(n_sources, np.nan)
    best, worst = np.ones(n_sources, np.int64), np.full(n_sources, n_sources, np.int64)
    if known:
        low, high = _intervals(fit, effect)
        comparable = (part[:, None] == part) & (n_targets > 0) & (n_targets > 0)[:, None]
        more = _shown_to_help_more(fit, effect, comparable, rng)  # [a, b]: b more than a
        best, worst = 1 + more.sum(1), n_sources - more.sum(0)
    return RankedSources(
        effect=effect, low=low, high=high, best=best, worst=worst, n_targets=n_targets, known=known, connected=connected
    )


def _check(targets: Sequence[TargetGains], n_sources: int) -> None:
    for number, target in enumerate(targets):
        n = len(target.sources)
        shapes = (target.gains.shape, target.covariance.shape)
        if shapes != ((n,), (n, n)):
            raise UsageError(
                f"gains and covariance of target {number} must have shapes {(n,)} and {(n, n)}, but have {shapes[0]} "
                f"and {shapes[1]}; give one gain per source"
            )
        if n and not (target.sources.min() >= 0 and target.sources.max() < n_sources):
            raise UsageError(
                f"sources of target {number} must be in 0 to {n_sources - 1}, but are {target.sources.tolist()}; "
                "number the sources from 0"
            )


def _parts(targets: Sequence[TargetGains], n_sources: int) -> NDArray[np.int64]:
    """A number per source, equal for sources that are connected through targets: (n_sources,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    none = np.empty(0, np.int64)
    first = np.concatenate([np.repeat(target.sources[:1], len(target.sources)) for target in targets] or [none])
    other = np.concatenate([target.sources for target in targets] or [none])
    links = coo_matrix((np.ones(len(other)), (first, other)), shape=(n_sources, n_sources))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Mean gains with their errors; degrees of freedom are Satterthwaite's over targets."""

    effect: NDArray[np.float64]  # (n_sources,)
    covariance: NDArray[np.float64]  # (n_sources, n_sources)
    difference_variance: NDArray[np.float64]  # (n_sources, n_sources) of every two sources
    difference_freedom: NDArray[np.float64]  # (n_sources, n_sources)
    freedom: float  # the smallest of all targets


def _fit(targets: Sequence[TargetGains], n_sources: int, part: NDArray[np.int64]) -> _Fit:
    """Least squares without target effects: centre the gains of each target, then solve the sources' normal equations.

    A mean gain is the source's effect plus the mean effect of the targets of its connected part.
    """
    shape = (n_sources, n_sources)
    normal = np.zeros(shape)
    for target in targets:
        n = len(target.sources)
        normal[np.ix_(target.sources, target.sources)] += np.eye(n) - 1 / n
    parts_of_targets = np.array([part[target.sources[0]] for target in targets], dtype=np.int64)
    n_alike = np.bincount(parts_of_targets, minlength=n_sources)
    # Mean over a part's targets of (mean gain - mean effect of the target's sources).
    level = np.zeros(shape)
    for target, group in zip(targets, parts_of_targets, strict=True):
        level[np.ix_(part == group, target.sources)] -= 1 / (len(target.sources) * n_alike[group])
    of_effects = (np.eye(n_sources) + level) @ np.linalg.pinv(normal, hermitian=True)
    effect, covariance = np.zeros(n_sources), np.zeros(shape)
    total, squares = np.zeros(shape), np.zeros(shape)
    for target, group in zip(targets, parts_of_targets, strict=True):
        n = len(target.sources)
        weights = of_effects[:, target.sources] @ (np.eye(n) - 1 / n)
        weights[part == group] += 1 / (n * n_alike[group])
        effect += weights @ target.gains
        own = weights @ target.covariance @ weights.T
        variance = np.diag(own)
        differences = np.maximum(variance[:, None] + variance - 2 * own, 0.0)
        covariance, total = covariance + own, total + differences
        squares += differences**2 / target.degrees_of_freedom
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(squares > 0, total**2 / squares, np.inf)
    return _Fit(
        effect=effect,
        covariance=covariance,
        difference_variance=total,
        difference_freedom=freedom,
        freedom=min((target.degrees_of_freedom for target in targets), default=float("nan")),
    )


def _intervals(fit: _Fit, effect: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of each mean gain separately, with the smallest degrees of freedom of all targets.

    A baseline enters all gains of its target, and its variance is the most uncertain: with Satterthwaite's degrees of
    freedom over eight targets, intervals contained the true mean in only .89 of cases where variances differ.
    """
    from scipy.special import stdtrit

    margin = stdtrit(fit.freedom, 1 - LEVEL / 2) * np.sqrt(np.maximum(np.diag(fit.covariance), 0.0))
    return effect - margin, effect + margin


def _shown_to_help_more(
    fit: _Fit, effect: NDArray[np.float64], comparable: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """[a, b]: source b is shown to help more than source a; shape (n_sources, n_sources)."""
    first, second = np.nonzero(np.triu(comparable, 1))
    shown = np.zeros(comparable.shape, dtype=bool)
    if not len(first):
        return shown
    gain, variance = effect[second] - effect[first], fit.difference_variance[first, second]
    rounding = NOTHING * max(1.0, float(np.nanmax(np.abs(effect))))
    gain[np.abs(gain) < rounding] = 0.0
    error = np.sqrt(np.where(variance > rounding**2, variance, 0.0))
    uncertain, critical = error > 0, 0.0
    if uncertain.any():
        pairs = first[uncertain], second[uncertain]
        freedom = float(fit.difference_freedom[pairs].min())
        critical = _critical(fit.covariance, pairs, error[uncertain], freedom, rng)
    apart = np.abs(gain) > critical * error  # with an error of 0 every difference is shown
    shown[first, second] = apart & (gain > 0)
    shown[second, first] = apart & (gain < 0)
    return shown


def _critical(
    covariance: NDArray[np.float64],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    error: NDArray[np.float64],
    freedom: float,
    rng: np.random.Generator,
) -> float:
    """The value that the largest |difference| / error exceeds with probability .05 under a multivariate t."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    n_draws = int(np.clip(MOST_DRAWN // len(error), FEWEST_DRAWS, N_DRAWS))
    largest = np.empty(n_draws)
    for start in range(0, n_draws, CHUNK):
        n = min(CHUNK, n_draws - start)
        effects = rng.standard_normal((n, len(root))) @ root.T
        scale = np.sqrt(rng.chisquare(freedom, n) / freedom) if np.isfinite(freedom) else np.ones(n)
        ratios = np.abs(effects[:, pairs[0]] - effects[:, pairs[1]]) / error
        largest[start : start + n] = ratios.max(1) / scale
    return float(np.quantile(largest, 1 - LEVEL))
