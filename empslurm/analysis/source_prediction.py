"""How much a source will help a target that was not tried with it, from finished grids and features of pairs.

    gain[source, target] = mean + popularity[source] + level[target] + slopes . features[source, target] + rest + noise

Everything but the noise is Gaussian with a variance of its own, which maximises the likelihood of all measured gains
(empirical Bayes), with a weak prior. So the popularity of a source is its mean gain, shrunk by its noise; slopes are a
ridge regression on features that are standardised within each target. `noise` is the covariance of a target's measured
gains (`verdicts.py`); where it is unknown (one seed), it is part of `rest`. In `helpful` features more is better; their
slopes share a mean, so that they count before any grid is finished.

Gains are positive where the source helps. `calibrated` widens or narrows the intervals so that, with whole targets
left out, nine in ten measured gains lie in them (split conformal prediction with the standard deviation as the scale:
Lei et al. 2018, doi 10.1080/01621459.2017.1307116).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.9
HALF_WIDTH = 1.6448536269514722  # of a normal interval of that level, in standard deviations
N_DRAWS = 10_000
FEWEST_TARGETS = 3  # with fewer, no variance can be estimated
FEWEST_CALIBRATED = FEWEST_TARGETS + 1  # with fewer, a fit without one target could not estimate them either
MANY_TARGETS = 9  # with fewer, even the largest error seen may be too small for a 90 % interval
MEAN, COMMON = 0, 1  # columns: the mean, and the common part of the helpful features' slopes
MEAN_VARIANCE = 1.0  # scores lie between -1 and 1
TINY = 1e-12  # added to variances, so that every covariance has an inverse
LEAST_SHARE = 0.1  # of the mean square of gains, that is not noise: where the search for the variances begins
DOUBT = 2.0  # standard deviation of the logarithm of a variance, around an equal share of all variance


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The sources of one target."""

    sources: NDArray[np.int64]  # (n_own,) each at most once
    features: NDArray[np.float64]  # (n_own, n_features); NaN where unknown
    gains: NDArray[np.float64]  # (n_own,) NaN where not measured
    noise: NDArray[np.float64]  # (n_own, n_own) covariance of the measured gains; NaN where unknown
    known: NDArray[np.bool_] | None = None  # (n_own,) sources that features are standardised over; None: all


@dataclass(frozen=True, kw_only=True)
class Variances:
    """How far gains vary, for each reason."""

    popularity: float
    level: float
    slope: float  # of one standard deviation of a feature
    common: float  # of the slopes' common part
    rest: float


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is assumed before any grid is finished."""

    variances: Variances
    common: float  # expected gain per standard deviation of every helpful feature
    noise: float  # variance of a measured gain


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What finished grids say. Effects are in units of their prior standard deviation."""

    n_sources: int
    helpful: NDArray[np.bool_]  # (n_features,)
    variances: Variances
    common: float
    effects: NDArray[np.float64]  # (n_effects,) posterior mean
    covariance: NDArray[np.float64]  # (n_effects, n_effects)
    noise: float  # typical variance of a measured gain; 0 where `rest` holds it
    n_targets: int
    width: float = 1.0  # of the intervals, in units of the model's


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The gains of one target's sources; arrays have shape (n_own,) unless said otherwise."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]  # 90 % interval of the gain that runs would measure
    high: NDArray[np.float64]
    best: NDArray[np.float64]  # probability of being among the k best
    popularity: NDArray[
        np.float64
    ]  # part of the mean; with `measured` and `parts` they add up to it but for a constant
    parts: NDArray[np.float64]  # (n_own, n_features)
    measured: NDArray[np.float64]  # what the target's own runs changed


def standardised(features: NDArray[np.float64], over: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Each column of (n_own, n_features) with mean 0 and deviation 1; 0 where unknown, or where it does not vary.

    `over`: (n_own,) rows whose mean and deviation count, if they are at least two; None: all.
    """
    known = np.isfinite(features)
    counts = known if over is None or over.sum() < 2 else known & over[:, None]
    n = np.maximum(counts.sum(0), 1)
    centred = np.where(known, features - np.where(counts, features, 0.0).sum(0) / n, 0.0)
    spread = np.sqrt((np.where(counts, centred, 0.0) ** 2).sum(0) / n)
    scale = np.abs(np.where(counts, features, 0.0)).max(0, initial=0.0)
    varies = spread > 1e-9 * np.maximum(scale, np.finfo(float).tiny)
    return np.asarray(np.where(varies, centred / np.where(varies, spread, 1.0), 0.0))


def fit(targets: Sequence[Pairs], n_sources: int, helpful: NDArray[np.bool_], prior: Prior) -> Fit:
    """Estimate the variances, then the effects.

    With fewer than `FEWEST_TARGETS` the variances are the prior's, larger in proportion where the known gains are.
    """
    problem = _Problem(targets, n_sources, helpful, prior)
    noise = problem.typical_noise()
    variances = problem.estimate() if problem.n_targets >= FEWEST_TARGETS else problem.assumed()
    effects, covariance = problem.effects(variances)
    return Fit(
        n_sources=n_sources,
        helpful=helpful,
        variances=variances,
        common=prior.common,
        effects=effects,
        covariance=covariance,
        noise=prior.noise if noise is None else noise,
        n_targets=problem.n_targets,
    )


def calibrated(targets: Sequence[Pairs], n_sources: int, helpful: NDArray[np.bool_], prior: Prior) -> Fit:
    """As `fit`, with intervals as wide as targets that are left out need.

    With few targets no quantile of theirs is sure enough: then the intervals are never narrower than the model's own.
    With fewer than `FEWEST_CALIBRATED` they are the model's own.
    """
    whole = fit(targets, n_sources, helpful, prior)
    if whole.n_targets < FEWEST_CALIBRATED:
        return whole
    surprise = []
    for at, own in enumerate(targets):
        measured = np.isfinite(own.gains)
        if measured.any():
            others = fit([*targets[:at], *targets[at + 1 :]], n_sources, helpful, prior)
            mean, covariance = _of_target(others, _unmeasured(own))
            spread = np.sqrt(np.diag(covariance) + others.noise)
            surprise.append(np.abs(own.gains - mean)[measured] / spread[measured])
    least = 1.0 if len(surprise) < MANY_TARGETS else 0.0
    return replace(whole, width=max(_quantile(surprise) / HALF_WIDTH, least))


def _quantile(surprise: Sequence[NDArray[np.float64]]) -> float:
    """How large a surprise nine in ten are below; each target weighs the same."""
    values = np.concatenate(surprise)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in surprise]) / len(surprise)
    order = values.argsort()
    reached = np.cumsum(weights[order])
    at = int(np.searchsorted(reached, LEVEL))
    return float(values[order[min(at, len(values) - 1)]])


def expected(fitted: Fit, own: Pairs) -> NDArray[np.float64]:
    """(n_own,) expected gains of a target that the fit does not have, without its own measured gains."""
    return _of_target(fitted, _unmeasured(own))[0]


def predict(fitted: Fit, own: Pairs, k: int, rng: np.random.Generator) -> Prediction:
    """Predict the gains of one target, from a fit without it; its own measured gains are used as well."""
    prior_mean, prior_covariance = _of_target(fitted, _unmeasured(own))
    # Where no history says how noisy a run is, `rest` holds that noise: then a run may be all noise.
    typical = fitted.noise if fitted.noise > 0 else fitted.variances.rest
    mean, covariance = _conditioned(prior_mean, prior_covariance, own, typical)
    spread = fitted.width * HALF_WIDTH * np.sqrt(np.maximum(np.diag(covariance), 0.0) + fitted.noise)
    draws = rng.multivariate_normal(mean, fitted.width**2 * covariance, size=N_DRAWS, method="eigh")
    places = (-draws).argsort(1).argsort(1)
    columns, scales = _columns(own, fitted.n_sources, fitted.helpful), _scales(fitted.variances, fitted)
    slopes = scales[2 + fitted.n_sources :] * fitted.effects[2 + fitted.n_sources :]
    common = scales[COMMON] * fitted.effects[COMMON] + fitted.common
    popular = slice(2, 2 + fitted.n_sources)
    return Prediction(
        mean=mean,
        low=mean - spread,
        high=mean + spread,
        best=(places < k).mean(0),
        popularity=columns[:, popular] @ (scales[popular] * fitted.effects[popular]),
        parts=standardised(own.features, own.known) * (slopes + np.where(fitted.helpful, common, 0.0)),
        measured=mean - prior_mean,
    )


def _unmeasured(own: Pairs) -> Pairs:
    return replace(own, gains=np.full(len(own.sources), np.nan))


def _columns(own: Pairs, n_sources: int, helpful: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n_own, 2 + n_sources + n_features): mean, sum of the helpful features, popularities, slopes."""
    features = standardised(own.features, own.known)
    popularity = np.zeros((len(own.sources), n_sources))
    popularity[np.arange(len(own.sources)), own.sources] = 1.0
    ones, common = np.ones((len(own.sources), 1)), features[:, helpful].sum(1, keepdims=True)
    return np.hstack([ones, common, popularity, features])


def _scales(variances: Variances, of: Fit | _Problem) -> NDArray[np.float64]:
    """Prior standard deviation of each effect."""
    squares = [MEAN_VARIANCE, variances.common]
    squares += [variances.popularity] * of.n_sources + [variances.slope] * len(of.helpful)
    return np.sqrt(squares)


def _of_target(fitted: Fit, own: Pairs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the true gains of a target that the fit does not have."""
    columns = _columns(own, fitted.n_sources, fitted.helpful)
    scaled = columns * _scales(fitted.variances, fitted)
    mean = scaled @ fitted.effects + fitted.common * columns[:, COMMON]
    covariance = scaled @ fitted.covariance @ scaled.T + fitted.variances.level
    return mean, covariance + fitted.variances.rest * np.eye(len(mean))


def _conditioned(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], own: Pairs, typical: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the true gains, given those that were measured. `typical`: noise where it is unknown."""
    seen = np.flatnonzero(np.isfinite(own.gains))
    if not len(seen):
        return mean, covariance
    noise = own.noise[np.ix_(seen, seen)]
    noise = np.where(np.isfinite(noise), noise, typical * np.eye(len(seen)))
    within = covariance[np.ix_(seen, seen)] + noise + TINY * np.eye(len(seen))
    weight = np.linalg.solve(within, covariance[seen]).T  # (n_own, n_seen)
    return mean + weight @ (own.gains[seen] - mean[seen]), covariance - weight @ covariance[seen]


class _Problem:
    """The likelihood of the variances, with all effects integrated out.

    Arrays have a row per target with a measured gain, padded to the most gains of one target: what is padded has no
    effects, no gain and a variance of 1, and so adds nothing.
    """

    def __init__(self, targets: Sequence[Pairs], n_sources: int, helpful: NDArray[np.bool_], prior: Prior) -> None:
        self.n_sources, self.helpful, self.prior = n_sources, helpful, prior
        seen = [np.flatnonzero(np.isfinite(own.gains)) for own in targets]
        there = [(own, rows) for own, rows in zip(targets, seen, strict=True) if len(rows)]
        shape = (len(there), max((len(rows) for _, rows in there), default=0))
        self.gains, self.there = np.zeros(shape), np.zeros(shape)  # gains are less the prior's mean
        self.columns = np.zeros((*shape, 2 + n_sources + len(helpful)))
        self.noise = np.zeros((*shape, shape[1]))
        for at, (own, rows) in enumerate(there):
            n = len(rows)
            columns = _columns(own, n_sources, helpful)[rows]
            self.columns[at, :n] = columns
            self.gains[at, :n] = own.gains[rows] - prior.common * columns[:, COMMON]
            self.noise[at, :n, :n] = np.nan_to_num(own.noise[np.ix_(rows, rows)])
            self.there[at, :n] = 1.0

    @property
    def n_targets(self) -> int:
        return len(self.gains)

    def typical_noise(self) -> float | None:
        """The median variance of a measured gain; None without one."""
        known = self.noise.diagonal(axis1=1, axis2=2)[self.there > 0]
        return float(np.median(known)) if len(known) else None

    def assumed(self) -> Variances:
        """The prior's variances, in proportion to the mean square of the known gains where that is larger."""
        prior = self.prior.variances
        if not self.n_targets:
            return prior
        square = float((self.gains**2).sum() / self.there.sum()) - (self.typical_noise() or 0.0)
        factor = max(1.0, square / (prior.popularity + prior.level + prior.rest))
        return Variances(**{name: factor * value for name, value in asdict(prior).items()})

    def estimate(self) -> Variances:
        """The variances of the highest likelihood, with weak doubt about each."""
        from scipy.optimize import minimize

        n, n_helpful = max(len(self.helpful), 1), max(int(self.helpful.sum()), 1)
        square = float((self.gains**2).sum() / self.there.sum())
        share = max(square - (self.typical_noise() or 0.0), LEAST_SHARE * square, 1e-8) / 5
        equal = Variances(popularity=share, level=share, slope=share / n, common=share / n_helpful**2, rest=share)
        expected = np.log(np.array(list(asdict(equal).values())))

        def of(logs: NDArray[np.float64]) -> Variances:
            return Variances(**dict(zip(asdict(equal), np.exp(logs).tolist(), strict=True)))

        def loss(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            doubt = (logs - expected) / DOUBT
            likelihood, slope = self.log_likelihood(of(logs))
            return float((doubt**2).sum()) / 2 - likelihood, doubt / DOUBT - slope

        bounds = [(log - 14, log + 6) for log in expected]
        return of(minimize(loss, expected, jac=True, method="L-BFGS-B", bounds=bounds).x)

    def log_likelihood(self, variances: Variances) -> tuple[float, NDArray[np.float64]]:
        """Of all measured gains, but for a constant; and its slope in the logarithm of each variance."""
        known = self._given(variances)
        determinants = known.log_determinant + np.linalg.slogdet(known.precision)[1]
        weighted = known.solved[..., -1] - known.solved[..., :-1] @ known.mean  # inverse covariance times gains
        value = -(determinants + float((self.gains * weighted).sum())) / 2
        # The diagonal, and the sum, of each target's block of the inverse covariance.
        inverse = np.linalg.inv(known.within) - known.solved[..., :-1] @ known.covariance @ np.swapaxes(
            known.solved[..., :-1], 1, 2
        )
        diagonal = (inverse.diagonal(axis1=1, axis2=2) * self.there).sum()
        sums = np.einsum("tij,ti,tj->t", inverse, self.there, self.there).sum()
        moved = known.mean**2 + known.covariance.diagonal() - 1
        slope = {
            "popularity": moved[2 : 2 + self.n_sources].sum(),
            "level": variances.level * ((((weighted * self.there).sum(1)) ** 2).sum() - sums),
            "slope": moved[2 + self.n_sources :].sum(),
            "common": moved[COMMON],
            "rest": variances.rest * (((weighted * self.there) ** 2).sum() - diagonal),
        }
        return value, np.array([slope[name] for name in asdict(variances)]) / 2

    def effects(self, variances: Variances) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Posterior mean and covariance of the effects, in units of their prior standard deviations."""
        known = self._given(variances)
        return known.mean, known.covariance

    def _given(self, variances: Variances) -> _Given:
        there = self.there
        within = self.noise + variances.level * there[:, :, None] * there[:, None, :]
        within = within + np.eye(there.shape[1]) * (1 - there + (variances.rest + TINY) * there)[:, None, :]
        columns = self.columns * _scales(variances, self)
        solved = np.linalg.solve(within, np.concatenate([columns, self.gains[..., None]], axis=2))
        precision = np.eye(columns.shape[2]) + np.einsum("tij,tik->jk", columns, solved[..., :-1])
        covariance = np.linalg.inv(precision)
        return _Given(
            within=within,
            columns=columns,
            solved=solved,
            precision=precision,
            covariance=covariance,
            mean=covariance @ np.einsum("tij,ti->j", columns, solved[..., -1]),
            log_determinant=float(np.linalg.slogdet(within)[1].sum()),
        )


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What the measured gains say of the effects, given the variances."""

    within: NDArray[np.float64]  # (n_targets, n, n) covariance of each target's gains, given the effects
    columns: NDArray[np.float64]  # (n_targets, n, n_effects) of effects with variance 1
    solved: NDArray[np.float64]  # (n_targets, n, n_effects + 1): the inverse of `within` times columns and gains
    precision: NDArray[np.float64]  # (n_effects, n_effects) of the effects
    covariance: NDArray[np.float64]
    mean: NDArray[np.float64]  # (n_effects,)
    log_determinant: float  # of all `within`
