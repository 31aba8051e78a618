"""How likely a pair is to get a decided verdict (helps or harms), by its numbers of runs: before they are made.

Of a pair with results, the estimate is known, and more runs move it by what its variance loses. Of other pairs, true
differences are assumed to be normal, as large beside the noise of a run as those of the pairs with results. Verdicts
are those of `verdicts`, with its degrees of freedom; Benjamini-Hochberg is a level that the share of decided pairs
lowers. `benchmarks/budget.py` shows what choosing runs by these chances is worth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from empslurm.analysis.seed_noise import FEW_SOURCES, LENT
from empslurm.analysis.verdicts import KNOWN, LEVEL, MISSING, ONE_SEED, Comparison

LEAST_RUNS = 2  # of each arm, for a verdict
# Until results say more. In units of a run's noise: the standard deviation of true differences, the variance of the
# example error of a difference, and that of the common effect of equal seeds. And the share of pairs that are decided,
# for Benjamini-Hochberg. They count as much as `PAIRS` pairs with results.
EFFECT, EXAMPLES, SEED, DECIDED, PAIRS = 2.0, 0.5, 1.0, 0.2, 5


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What finished results say of one target's pairs."""

    comparison: Comparison
    decided: frozenset[str]  # sources with a verdict that is not inconclusive


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is assumed of pairs without results; in units of the noise of a run."""

    effect: float = EFFECT  # standard deviation of true differences
    examples: float = EXAMPLES  # variance of a difference over test sets
    seed: float = SEED  # variance of the common effect of equal seeds
    decided: float = DECIDED  # share of pairs with a decided verdict


def prior_of(known: Iterable[Standing]) -> Prior:
    """The assumptions, moved towards what the pairs with results say."""
    rows = [row for standing in known for row in _ratios(standing)]
    usual = (EFFECT**2, EXAMPLES, SEED, DECIDED)
    effect, examples, seed, decided = (
        (sum(values) + PAIRS * value) / (len(values) + PAIRS)
        for value, values in zip(usual, zip(*rows, strict=True) if rows else ((),) * len(usual), strict=True)
    )
    return Prior(effect=math.sqrt(max(effect, 0.1)), examples=examples, seed=seed, decided=max(decided, 0.05))


def _ratios(standing: Standing) -> Iterator[tuple[float, float, float, float]]:
    """Of each pair that was tested: squared effect, example error, seed effect, and 1 where it is decided, else 0."""
    comparison = standing.comparison
    variance = comparison.noise.centre
    for at, source in enumerate(comparison.sources):
        if comparison.reasons[at] == "" and variance > 0:
            gap = float(comparison.difference[at] ** 2 - comparison.standard_error[at] ** 2)
            others = float(comparison.example_variance[at]), comparison.noise.seed_variance
            values = [min(value / variance, 100.0) for value in (gap, *others)]
            yield values[0], values[1], values[2], float(source in standing.decided)


@lru_cache(maxsize=4096)
def _quantile(freedom: float, level: float) -> float:
    """The two-sided quantile of Student's t. `freedom`: rounded by the caller, so that few are computed."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - level / 2))


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """Variance components of one pair; of the difference, in any unit."""

    baseline: float  # of a run
    transfer: float
    seed: float  # of the common effect of equal seeds
    examples: float
    n_sources: int

    def error(self, n_transfer: int, n_baseline: int) -> tuple[float, float]:
        """Variance of the difference and its degrees of freedom; both arms share as many seeds as they can."""
        base, own = self.baseline / n_baseline, self.transfer / n_transfer
        common = self.seed * abs(1 / n_transfer - 1 / n_baseline)
        seeds_only = base + own + common
        if seeds_only <= 0:
            return self.examples, 1e3
        fitted = 1 - 1 / (1 + self.n_sources) if self.n_sources >= FEW_SOURCES else 1.0
        free_base = fitted * (n_baseline - 1) + LENT
        free = max(0.5, fitted * (n_transfer - 1) * self.n_sources)
        spread = base**2 / free_base + own**2 / free + common**2 / max(1, n_transfer - 1)
        limit = free + fitted * (n_baseline - 1)
        total = seeds_only + self.examples
        return total, min(seeds_only**2 / spread, limit) * (total / seeds_only) ** KNOWN

    def least(self, n_transfer: int, n_baseline: int, level: float) -> tuple[float, float]:
        """Variance of the difference, and the smallest estimated difference that is decided.

        The verdict estimates the variance, too: the threshold is that of the median estimate (Wilson and Hilferty).
        """
        variance, freedom = self.error(n_transfer, n_baseline)
        rounded = float(f"{max(freedom, 0.5):.2g}")
        usual = max(0.05, 1 - 2 / (9 * rounded)) ** 1.5
        return variance, _quantile(rounded, level) * usual * math.sqrt(variance)


def _above(least: float, mean: float, deviation: float) -> float:
    """Probability that a normal variable is further than `least` from 0."""
    if deviation <= 0:
        return float(abs(mean) > least)
    far = math.sqrt(2) * deviation
    return 0.5 * (math.erfc((least - mean) / far) + math.erfc((least + mean) / far))


class Pair:
    """How likely one pair is to have a decided verdict, by its numbers of runs."""

    def __init__(self, source: str, standing: Standing | None, n_sources: int, prior: Prior) -> None:
        self.prior, self.level = prior, LEVEL * prior.decided
        self.estimate: float | None = None  # of the difference; None: not known yet
        self.settled = standing is not None and source in standing.decided
        self.hopeless = False  # a run has no score, or too few learnt: more runs are no way to a verdict
        noise = _Noise(baseline=1.0, transfer=1.0, seed=prior.seed, examples=prior.examples, n_sources=n_sources)
        comparison = standing.comparison if standing is not None else None
        if comparison is not None and source in comparison.sources:
            at = comparison.sources.index(source)
            variance = [float(comparison.noise.variance[row]) for row in (0, 1 + at)]
            if comparison.reasons[at] == "" and comparison.standard_error[at] > 0 and all(map(math.isfinite, variance)):
                noise = _Noise(
                    baseline=variance[0],
                    transfer=variance[1],
                    seed=comparison.noise.seed_variance,
                    examples=float(comparison.example_variance[at]),
                    n_sources=n_sources,
                )
                self.estimate = float(comparison.difference[at])
                self.variance = float(comparison.standard_error[at]) ** 2
                self.runs = comparison.n_seeds[1 + at], comparison.n_seeds[0]
            self.hopeless = comparison.reasons[at] not in ("", MISSING, ONE_SEED)
        self.noise = noise

    def chance(self, n_transfer: int, n_baseline: int) -> float:
        """Of a decided verdict with these runs. 0 where more runs add none: it is decided, or cannot be."""
        if self.settled or self.hopeless or min(n_transfer, n_baseline) < LEAST_RUNS:
            return 0.0
        if self.estimate is None:
            variance, least = self.noise.least(n_transfer, n_baseline, self.level)
            return _above(least, 0.0, math.sqrt(self.prior.effect**2 + variance))
        if n_transfer <= self.runs[0] and n_baseline <= self.runs[1]:
            return 0.0
        # With more runs, the estimate moves by what the variance loses.
        before, _ = self.noise.error(*self.runs)
        after, least = self.noise.least(n_transfer, n_baseline, self.level)
        return _above(least, self.estimate, math.sqrt(max(0.0, before - after)))
