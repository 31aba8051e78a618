"""How good a way to choose sources is: whole targets, or whole sources, left out of finished grids.

Of each target, a way gives every source a value (more is better), made without this target's gains (or without this
source's). Its quality on the target is

- Kendall's tau-b with the measured gains,
- NDCG with the measured gains above the worst one as relevance (Järvelin and Kekäläinen 2002),
- regret at k: how far the best of its first k sources stays behind the best of all, in percent of the best (Poth et al.
  2021, arXiv 2104.08247, section 5.1): 100 x |best of all - best of the first k| / |best of all|, of scores.

Sources of equal value are taken in random order. Means over targets have intervals from resampling targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis import source_prediction
from empslurm.analysis.source_prediction import Pairs, Prior, standardised

REGRETS = (1, 3, 5)
MEASURES = ("tau", "ndcg", *(f"regret_{k}" for k in REGRETS))
N_RESAMPLES = 2_000
N_TIES = 100  # random orders of sources of equal value
LEVEL = 0.05

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One way to choose. Arrays follow MEASURES."""

    way: str
    by_target: NDArray[np.float64]  # (n_targets, n_measures); NaN where undefined
    mean: NDArray[np.float64]
    low: NDArray[np.float64]  # 95 % interval
    high: NDArray[np.float64]


def of_target(values: Values, scores: Values, baseline: float, sign: int, rng: np.random.Generator) -> Values:
    """MEASURES of one target. `scores` of the sources' transfers; `sign` is -1 where less is better."""
    known = np.isfinite(scores)
    values, gains = np.where(np.isfinite(values), values, -np.inf)[known], sign * (scores - baseline)[known]
    if len(gains) < 2:
        return np.full(len(MEASURES), np.nan)
    ties = len(np.unique(values)) < len(values)
    orders = [np.lexsort((rng.random(len(values)), -values)) for _ in range(N_TIES if ties else 1)]
    best = np.abs(gains.max() + sign * baseline)
    measured = [[_ndcg(gains[order]), *_regrets(gains[order], best)] for order in orders]
    return np.array([_tau(values, gains), *np.mean(measured, 0)])


def _tau(values: Values, gains: Values) -> float:
    """Kendall's tau-b; 0 for values that do not differ, as of a random order."""
    from scipy.stats import kendalltau

    if len(np.unique(gains)) < 2:
        return float("nan")
    if len(np.unique(values)) < 2:
        return 0.0
    return float(kendalltau(values, gains).statistic)


def _ndcg(gains: Values) -> float:
    """Of gains in the order of choice."""
    relevance = gains - gains.min()
    discount = 1 / np.log2(np.arange(len(gains)) + 2)
    ideal = float(np.sort(relevance)[::-1] @ discount)
    return float(relevance @ discount) / ideal if ideal > 0 else float("nan")


def _regrets(gains: Values, best: float) -> list[float]:
    behind = gains.max() - np.maximum.accumulate(gains)
    return [100 * float(behind[min(k, len(gains)) - 1]) / best if best > 0 else float("nan") for k in REGRETS]


def quality(way: str, by_target: Sequence[Values], rng: np.random.Generator) -> Quality:
    """Means over targets, with intervals from resampling targets."""
    rows = np.array(by_target).reshape(-1, len(MEASURES))
    drawn = rng.integers(len(rows), size=(N_RESAMPLES, len(rows))) if len(rows) else np.empty((0, 0), np.int64)
    means = _mean(rows[drawn]) if len(rows) else np.full((1, len(MEASURES)), np.nan)
    low, high = _interval(means)
    return Quality(way=way, by_target=rows, mean=_mean(rows[None])[0], low=low, high=high)


def difference(one: Quality, other: Quality, rng: np.random.Generator) -> tuple[Values, Values, Values]:
    """Mean of `one` less that of `other` with a 95 % interval, over the targets that both have; arrays as MEASURES."""
    paired = quality("", list(one.by_target - other.by_target), rng)
    return paired.mean, paired.low, paired.high


def _mean(rows: Values) -> Values:
    """Means over the last axis but one, of what is defined."""
    known = np.isfinite(rows)
    n = known.sum(-2)
    return np.asarray(np.where(n > 0, np.where(known, rows, 0.0).sum(-2) / np.maximum(n, 1), np.nan))


def _interval(means: Values) -> tuple[Values, Values]:
    low, high = np.full(len(MEASURES), np.nan), np.full(len(MEASURES), np.nan)
    for at in range(len(MEASURES)):
        known = means[:, at][np.isfinite(means[:, at])]
        if len(known):
            low[at], high[at] = np.quantile(known, [LEVEL / 2, 1 - LEVEL / 2])
    return low, high


# ---- ways to choose --------------------------------------------------------------------------------------------------


def popularity(others: Sequence[Pairs], n_sources: int) -> Values:
    """A source's mean gain over other targets, less each target's mean gain; NaN for a source without any."""
    total, n = np.zeros(n_sources), np.zeros(n_sources)
    for own in others:
        seen = np.isfinite(own.gains)
        if seen.any():
            np.add.at(total, own.sources[seen], own.gains[seen] - own.gains[seen].mean())
            np.add.at(n, own.sources[seen], 1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


@dataclass(frozen=True, kw_only=True)
class History:
    """Finished grids: what is known of every pair."""

    targets: tuple[Pairs, ...]
    n_sources: int
    features: tuple[str, ...]
    helpful: NDArray[np.bool_]  # (n_features,)
    prior: Prior


def _by_model(others: Sequence[Pairs], own: Pairs, history: History) -> Values:
    fitted = source_prediction.fit(others, history.n_sources, history.helpful, history.prior)
    return source_prediction.expected(fitted, own)


def _by_popularity(others: Sequence[Pairs], own: Pairs, history: History) -> Values:
    return popularity(others, history.n_sources)[own.sources]


def _by_feature(at: int) -> Callable[[Sequence[Pairs], Pairs, History], Values]:
    return lambda others, own, history: standardised(own.features, own.known)[:, at]


def _by_chance(others: Sequence[Pairs], own: Pairs, history: History) -> Values:
    return np.zeros(len(own.sources))


MODEL, POPULARITY, RANDOM = "model", "popularity", "random order"


def ways(history: History) -> Mapping[str, Callable[[Sequence[Pairs], Pairs, History], Values]]:
    """Every way to choose, by name: the model, and the rivals that are always shown beside it."""
    single = {name: _by_feature(at) for at, name in enumerate(history.features)}
    return {MODEL: _by_model, POPULARITY: _by_popularity, **single, RANDOM: _by_chance}


def targets_left_out(history: History) -> dict[str, list[Values]]:
    """Way -> for each target the values of its sources, made without the target."""
    found: dict[str, list[Values]] = {name: [] for name in ways(history)}
    for at, own in enumerate(history.targets):
        others = [*history.targets[:at], *history.targets[at + 1 :]]
        for name, way in ways(history).items():
            found[name].append(way(others, own, history))
    return found


def sources_left_out(history: History) -> dict[str, list[Values]]:
    """As `targets_left_out`, but each source's value is made without this source: a new source has no popularity."""
    chosen = {name: way for name, way in ways(history).items() if name != POPULARITY}
    found = {name: [np.full(len(own.sources), np.nan) for own in history.targets] for name in chosen}
    for source in range(history.n_sources):
        without = [_without(own, source) for own in history.targets]
        fitted = source_prediction.fit(without, history.n_sources, history.helpful, history.prior)
        for at, own in enumerate(history.targets):
            here = np.flatnonzero(own.sources == source)
            for name, way in chosen.items() if len(here) else ():
                of_all = source_prediction.expected(fitted, own) if name == MODEL else way((), own, history)
                found[name][at][here] = of_all[here]
    return found


def _without(own: Pairs, source: int) -> Pairs:
    """A target with the gain of one source taken away."""
    return replace(own, gains=np.where(own.sources == source, np.nan, own.gains))
