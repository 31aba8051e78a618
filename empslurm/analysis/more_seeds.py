"""How many seeds a target needs to detect a wanted difference, from the noise of its present runs.

The baseline is one cell that every comparison uses, while there are many transfers: a seed of the baseline costs one
run, a seed of the transfers one run per source. Of all numbers of seeds that detect the difference, the cheapest are
asked for. The common effect of equal seeds cancels in the seeds that both arms have. Example error does not shrink with
more seeds: where it alone hides the difference, no number of seeds detects it.

`benchmarks/verdict_simulation.py` compares the promised power with the power that the seeds then have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.seed_noise import FEW_SOURCES
from empslurm.analysis.verdicts import LEVEL, POWER, Comparison, freedom_of

MOST_SEEDS = 64  # per arm: a target that needs more is better served by another design
# The baseline's variance combines that of its own runs and, with the weight `OTHERS`, the transfers'; each degree of
# freedom of its own runs counts `FREEDOM` times. In simulations, these values reach the promised power.
OTHERS, FREEDOM = 0.5, 2.5
N_QUANTILES = 16  # that represent a distribution
APART = np.arange(N_QUANTILES) * 7 % N_QUANTILES  # an order that is unrelated to the size

Limit = Literal["", "unknown", "examples", "seeds"]


@dataclass(frozen=True, kw_only=True)
class SeedsAsked:
    """What one target needs to detect `wanted`. Numbers of runs include those that collapse."""

    target: str
    wanted: float  # a difference in the target's metric
    detectable: float  # with probability .8 at level .05 now, the median over sources; NaN where none is decided
    n_sources: int
    n_baseline: int  # present runs
    n_transfer: int  # present runs of a source, the median
    more_baseline: int
    more_transfer: int  # of each source
    power: float  # for `wanted` with these seeds, at level .05 before correction, the mean over sources
    limit: Limit  # "": detectable; else the noise is `unknown`, or too few are `examples`, or `seeds` (`MOST_SEEDS`)
    least: float  # detectable with unlimited seeds on this test set, the median over sources

    @property
    def more_runs(self) -> int:
        """Extra runs of this target."""
        return self.more_baseline + self.n_sources * self.more_transfer


def more_seeds(comparison: Comparison, wanted: float, *, cost_of_baseline: float = 1.0) -> SeedsAsked:
    """The cheapest seeds that detect a difference of `wanted` with probability .8, as a mean over sources.

    `wanted`: above 0, in the target's metric. `cost_of_baseline`: of one baseline run, in units of one transfer run.
    The baseline gets every new seed of the transfers, and those of their present seeds that it lacks.
    """
    design = _Design(comparison)
    if not design.known:
        return design.asked(wanted, limit="unknown")
    best, cost = None, np.inf
    for more_transfer in range(max(0, MOST_SEEDS - design.n_transfer) + 1):
        of_transfers = len(comparison.sources) * more_transfer
        if of_transfers >= cost:
            break
        more_baseline = design.fewest_of_baseline(wanted, more_transfer)
        if more_baseline is not None and of_transfers + cost_of_baseline * more_baseline < cost:
            best, cost = (more_baseline, more_transfer), of_transfers + cost_of_baseline * more_baseline
    if best is None:
        return design.asked(wanted, limit="examples" if design.least > wanted else "seeds")
    return design.asked(wanted, *best)


class _Design:
    """Power with more seeds, given the noise of one target's comparison."""

    def __init__(self, comparison: Comparison) -> None:
        from scipy.special import ndtri

        noise, n_runs, n_cells = comparison.noise, np.array(comparison.n_runs), len(comparison.n_runs)
        self.comparison = comparison
        self.decided = np.array([reason == "" for reason in comparison.reasons], dtype=bool)
        self.known = bool(self.decided.any())
        self.n_baseline = int(n_runs[0])
        self.n_transfer = int(np.median(n_runs[1:])) if n_cells > 1 else 0
        # Seeds that both arms have: those where both learnt, plus at most those where one of them collapsed.
        collapsed = np.array(comparison.n_collapsed)
        shared = np.minimum(comparison.n_shared + collapsed[1:] + collapsed[0], np.minimum(n_runs[1:], n_runs[0]))
        self.lacking, self.spare = (  # transfer seeds that the baseline lacks; baseline seeds that the transfers lack
            int(np.median(only[self.decided])) if self.known else 0
            for only in (n_runs[1:] - shared, n_runs[0] - shared)
        )
        self.learnt = 1 - sum(comparison.n_collapsed) / max(1, n_runs.sum())  # share of runs
        self.examples = comparison.example_variance[self.decided]
        far = ndtri(1 - LEVEL / 2) + ndtri(POWER)  # in standard errors that are known exactly
        self.least = float(far * np.sqrt(np.median(self.examples))) if self.known else float("nan")
        self.normal = ndtri((np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
        self.fitted = 1 - 1 / n_cells if n_cells > FEW_SOURCES else 1.0  # what seed effects leave of a run's freedom
        self.lent = max(0.0, noise.degrees_of_freedom[0] - noise.own_degrees_of_freedom)
        # Plausible values of the baseline's variance and of the seeds' variance, paired in unrelated orders.
        variance = (noise.own_variance + OTHERS * noise.centre) / (1 + OTHERS)
        freedom = FREEDOM * noise.own_degrees_of_freedom
        self.baseline = variance / self.chi_squares(np.array(freedom)) if self.known else np.full(N_QUANTILES, np.nan)
        spread = noise.seed_spread / self.chi_squares(np.array(noise.seed_degrees_of_freedom))
        self.seed = np.maximum(0.0, spread - noise.seed_share)[APART]

    def chi_squares(self, freedom: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of chi-square variables, each divided by its degrees of freedom (Wilson and Hilferty 1931).

        Shape (..., N_QUANTILES).
        """
        ninth = 2 / (9 * freedom[..., None])
        return np.asarray(np.maximum(1e-3, 1 - ninth + self.normal * np.sqrt(ninth)) ** 3)

    def fewest_of_baseline(self, wanted: float, more_transfer: int) -> int | None:
        """The fewest extra baseline runs that detect `wanted` with `more_transfer`; None where no number does."""
        if more_transfer == 0 and self.power(wanted, 0, 0) >= POWER:
            return 0
        low = self.common(more_transfer)
        high = max(low, MOST_SEEDS - self.n_baseline)
        # Where equal seeds share a large effect, extra baseline seeds alone may cost power: try the fewest first.
        if self.power(wanted, low, more_transfer) >= POWER:
            return low
        if self.power(wanted, high, more_transfer) < POWER:
            return None
        while low < high:
            middle = (low + high) // 2
            if self.power(wanted, middle, more_transfer) >= POWER:
                high = middle
            else:
                low = middle + 1
        return low

    def common(self, more_transfer: int) -> int:
        """New baseline seeds that the transfers have too: those that it lacks, and those that are new to both."""
        return self.lacking + max(0, more_transfer - self.spare)

    def power(self, wanted: float, more_baseline: int, more_transfer: int) -> float:
        """Probability of p < .05 where the difference is `wanted`: the noncentral t distribution.

        The mean over the decided sources and over plausible variances of the baseline and of seeds.
        """
        from scipy.special import ndtr, stdtrit

        error, freedom = self.errors(more_baseline, more_transfer)  # (n_quantiles, n_decided)
        with np.errstate(divide="ignore"):
            far = (wanted / error)[..., None]
        least = stdtrit(freedom, 1 - LEVEL / 2)[..., None] * np.sqrt(self.chi_squares(freedom))
        return float((ndtr(far - least) + ndtr(-far - least)).mean())

    def errors(self, more_baseline: int, more_transfer: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standard errors of the decided sources' differences and their degrees of freedom, computed as in `verdicts`.

        Shapes (n_quantiles, n_decided): one row per plausible pair of variances of the baseline and of seeds.
        """
        noise, n_seeds = self.comparison.noise, np.array(self.comparison.n_seeds)[np.append(True, self.decided)]
        n_baseline, n_transfer = n_seeds[0] + self.learnt * more_baseline, n_seeds[1:] + self.learnt * more_transfer
        free_baseline, free = self.fitted * (n_baseline - 1), self.fitted * (n_transfer - 1)
        base = self.baseline[:, None] / n_baseline
        own = noise.variance[1:][self.decided] / n_transfer
        new = min(more_transfer, self.spare) + min(more_baseline, self.common(more_transfer))
        shared = np.minimum(
            self.comparison.n_shared[self.decided] + self.learnt * new, np.minimum(n_baseline, n_transfer)
        )
        seed = self.seed[:, None] * (1 / n_transfer + 1 / n_baseline - 2 * shared / (n_transfer * n_baseline))
        seeds_only = base + own + seed
        total = seeds_only + self.examples
        spread = (
            base**2 / (free_baseline + self.lent)
            + own**2 / np.minimum(noise.prior_degrees_of_freedom + free, free.sum())
            + seed**2 / np.maximum(1.0, n_transfer - 1)
        )
        return np.sqrt(total), freedom_of(seeds_only, spread, total, free_baseline + free.sum())

    def asked(self, wanted: float, more_baseline: int = 0, more_transfer: int = 0, limit: Limit = "") -> SeedsAsked:
        """The answer for these seeds, with their power."""
        return SeedsAsked(
            target=self.comparison.target,
            wanted=wanted,
            detectable=float(np.median(self.comparison.smallest_detectable[self.decided]))
            if self.known
            else float("nan"),
            n_sources=len(self.comparison.sources),
            n_baseline=self.n_baseline,
            n_transfer=self.n_transfer,
            more_baseline=more_baseline,
            more_transfer=more_transfer,
            power=self.power(wanted, more_baseline, more_transfer) if self.known else float("nan"),
            limit=limit,
            least=self.least,
        )
