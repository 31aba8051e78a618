"""Runs that did not learn: which runs of a target collapsed, and how often, compared with the baseline.

A run that collapses (for example, an adapter that gives every text the same answer) falls far below the others of its
cell. This is not seed noise: a baseline that by luck had no collapse would seem better than all sources at once. So the
verdict compares only the runs that learnt, and how often runs collapse is a separate finding.

Where predictions are known, they show which runs did not learn. Scores alone show it where they form two groups:
`collapsed_runs` looks for one depth that separates the runs of several cells. A single low run is seldom enough,
because noise with heavy tails produces such runs too. A missed collapse misleads little: where no cell's collapses are
found, the baseline's are compared like the others. `benchmarks/verdict_simulation.py` measures what is found and what
is marked wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from empslurm.analysis.verdicts import Comparison

LEVEL = 0.05
# How deep a collapse must be, in standard deviations of the runs within their groups, by how many cells have both
# groups (at least `MIXED`): at least `FLOOR`, and beyond the t quantile `RARE` of their degrees of freedom.
MIXED = (1, 2, 3, 5)
FLOOR = (8.5, 7.0, 6.0, 6.0)
RARE = (1e-8, 1e-7, 1e-6, 1e-5)
LEAST_FREEDOM = 3  # with fewer degrees of freedom, the spread within groups is too uncertain
# A baseline whose runs are all low makes every comparison wrong at once. So for the baseline alone, where many cells
# have both groups, the share `EASED` of the depth is enough if all its runs are lower by the share `MOST` of the fall.
EASED = 0.85
MOST = 0.85
FEW_MIXED = 2  # with at most this many cells with both groups, the groups must be clear within each cell too:
OWN = 4.0  # how deep in standard deviations of the cell's own upper runs, where there are two
BETWEEN = 0.2  # runs halfway down, per collapsed run: with more of them, the runs are not two groups
HALFWAY = 0.15  # of the fall: a run this near to its middle is halfway down
CHANCE = 0.01  # probability that some cell has only collapsed runs; above it, a low cell counts as collapsed
FEW_CELLS = 6  # with fewer cells, a common effect of equal seeds cannot be distinguished from chance
N_DEPTHS = 12  # first guesses of the depth
ROUNDS = 10  # at most, of regrouping from one guess


@dataclass(frozen=True, kw_only=True)
class CollapseDifference:
    """How often a source's runs collapse, compared with those of its target's baseline."""

    source: str
    target: str
    n_collapsed: int
    n_runs: int
    n_collapsed_baseline: int
    n_runs_baseline: int
    p_value: float  # Fisher's exact test, two-sided
    p_bh: float  # Benjamini-Hochberg over all pairs of targets with any collapsed run

    @property
    def differs(self) -> bool:
        """Whether the source changes how often runs collapse, by `p_bh` at level .05."""
        return self.p_bh < LEVEL


def collapse_differences(comparisons: Sequence[Comparison]) -> tuple[CollapseDifference, ...]:
    """Compare the number of collapsed runs of every source and its baseline, for targets with any collapsed run.

    Fisher's exact test is conservative with few runs: with 8 runs per arm, 0 against 5 is the least that has p < .05;
    with fewer than four runs in each arm, nothing has.
    """
    from scipy.stats import fisher_exact
    from statsmodels.stats.multitest import multipletests

    counts, p_values = [], []
    for comparison in comparisons:
        runs, collapsed = comparison.n_runs, comparison.n_collapsed
        for row, source in enumerate(comparison.sources, start=1):
            if any(collapsed) and runs[row] and runs[0]:
                counts.append((source, comparison.target, collapsed[row], runs[row], collapsed[0], runs[0]))
                table = [[collapsed[at], runs[at] - collapsed[at]] for at in (row, 0)]
                p_values.append(float(fisher_exact(table)[1]))
    adjusted = multipletests(p_values, method="fdr_bh")[1] if p_values else np.empty(0)
    return tuple(
        CollapseDifference(
            source=source,
            target=target,
            n_collapsed=n_collapsed,
            n_runs=n_runs,
            n_collapsed_baseline=of_baseline,
            n_runs_baseline=runs_of_baseline,
            p_value=p_value,
            p_bh=float(p_bh),
        )
        for (source, target, n_collapsed, n_runs, of_baseline, runs_of_baseline), p_value, p_bh in zip(
            counts, p_values, adjusted, strict=True
        )
    )


def collapsed_runs(
    scores: NDArray[np.float64], *, higher_is_better: bool = True, known: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Runs that did not learn: the `known` ones and those that the scores show; shape (n_cells, n_seeds).

    `scores`: (n_cells, n_seeds) of one target, NaN where there is none; `known`: same shape, from predictions. A cell
    whose runs all lie at the depth of the collapsed ones counts as collapsed if that is plausible by chance at the rate
    at which the target's runs collapse; if not, the cell is simply worse. Row 0 is the baseline: where its runs all lie
    low and many cells have falls, slightly shallower falls count too.
    """
    marked = np.zeros(scores.shape, dtype=bool) if known is None else known.copy()
    level = np.where(marked, np.nan, scores if higher_is_better else -scores)
    there = ~np.isnan(level)
    level = _without_seeds(level, there)
    groups = _groups(level, there, least=1.0)
    if groups is not None:
        marked |= groups.low
        return np.asarray(marked | (_as_a_whole(groups, level, there, marked)[:, None] & there))
    groups = _groups(level, there, least=EASED)
    if groups is not None and groups.low.any(1).sum() >= MIXED[-1]:
        low = marked | groups.low
        if _as_a_whole(groups, level, there, low, share=MOST)[0]:
            low[0] |= there[0]
            return low
    return marked


def _as_a_whole(
    groups: _Groups,
    level: NDArray[np.float64],
    there: NDArray[np.bool_],
    low: NDArray[np.bool_],
    *,
    share: float = 0.5,
) -> NDArray[np.bool_]:
    """Cells whose runs all lie low, by `share` of the fall, if chance alone may cause that; shape (n_cells,)."""
    n_runs = there.sum(1)
    rate = (low.sum() + 1) / ((there | low).sum() + 1)
    highest = np.where(there, level, -np.inf).max(1)
    deep = (n_runs > 0) & ~low.any(1) & (highest < groups.middle - share * groups.fall)
    return np.asarray(deep & (len(level) * rate**n_runs >= CHANCE))


class _Groups(NamedTuple):
    """A target's runs in two groups."""

    low: NDArray[np.bool_]  # (n_cells, n_seeds)
    fall: float  # from a cell's upper runs to its lower ones
    middle: float  # the median cell's upper level
    depth: float  # the fall divided by the smallest fall that counts


def _without_seeds(level: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores minus the common effect of equal seeds (medians); unchanged where few cells share a seed."""
    cells = there.any(1)
    if cells.sum() < FEW_CELLS:
        return level
    centred = np.full(level.shape, np.nan)
    centred[cells] = level[cells] - np.nanmedian(level[cells], axis=1, keepdims=True)
    adjusted = level.copy()
    for seed in np.flatnonzero(there.sum(0) >= FEW_CELLS):
        adjusted[:, seed] -= np.nanmedian(centred[:, seed])
    return adjusted


def _groups(level: NDArray[np.float64], there: NDArray[np.bool_], *, least: float) -> _Groups | None:
    """The deepest separation of the runs by one fall; None where no depth reaches `least`.

    Each guess starts from the cells whose widest gap between neighbouring runs is at least as wide as the guess.
    """
    if level.shape[1] < 2 or not (there.sum(1) >= 2).any():
        return None
    cells = np.arange(len(level))
    runs = np.sort(np.where(there, level, np.nan), axis=1)  # NaN last
    gaps = np.diff(runs, axis=1)
    gaps[np.isnan(gaps)] = -1.0
    at = gaps.argmax(1)
    widest, cut = gaps[cells, at], (runs[cells, at] + runs[cells, at + 1]) / 2
    guesses = np.unique(widest[widest > 0])[::-1]
    if len(guesses) > N_DEPTHS:
        guesses = guesses[np.unique(np.linspace(0, len(guesses) - 1, N_DEPTHS).astype(int))]
    best: _Groups | None = None
    for guess in guesses:
        candidate = _judged(level, there, there & (level < cut[:, None]) & (widest >= guess)[:, None])
        if candidate is not None and candidate.depth >= least and (best is None or candidate.depth > best.depth):
            best = candidate
    return best


def _judged(level: NDArray[np.float64], there: NDArray[np.bool_], low: NDArray[np.bool_]) -> _Groups | None:
    """Regroup the runs by the typical fall, and measure that fall; None where the runs are not two groups."""
    from scipy.special import stdtrit

    fall = 0.0
    for _ in range(ROUNDS):
        upper, _ = _means(level, there & ~low)
        falls = (upper[:, None] - level)[low]
        if not len(falls):
            return None
        fall, before = float(np.median(falls)), low
        low = there & (level < upper[:, None] - fall / 2)
        if (low == before).all():
            break
    upper, n_upper = _means(level, there & ~low)
    middle = float(np.median(upper[n_upper > 0]))
    low = low & (level < middle - fall / 3)  # otherwise it is only low next to one very high run of its cell
    if low.any(1).sum() <= FEW_MIXED:
        low = low & ~_noisy(level, there & ~low, low)[:, None]
    if not low.any():
        return None
    upper, n_upper = _means(level, there & ~low)
    lower, n_lower = _means(level, low)
    residuals = np.where(low, level - lower[:, None], level - upper[:, None])[there]
    freedom = int(np.maximum(n_upper - 1, 0).sum() + np.maximum(n_lower - 1, 0).sum())
    spread = float(np.sqrt((residuals**2).sum() / max(1, freedom)))
    halfway = np.abs((level - upper[:, None])[there] / fall + 0.5) < HALFWAY
    if freedom < LEAST_FREEDOM or not spread > 0 or halfway.sum() > BETWEEN * low.sum():
        return None
    kind = int(np.searchsorted(MIXED, low.any(1).sum(), side="right")) - 1
    least = max(FLOOR[kind], -float(stdtrit(freedom, RARE[kind])))
    return _Groups(low=low, fall=fall, middle=middle, depth=fall / spread / least)


def _noisy(level: NDArray[np.float64], high: NDArray[np.bool_], low: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells whose upper runs vary so much that their low runs may be noise; shape (n_cells,)."""
    upper, n_upper = _means(level, high)
    squares = np.where(high, (level - upper[:, None]) ** 2, 0.0).sum(1)
    highest = np.where(low, level, -np.inf).max(1)
    return np.asarray((n_upper >= 2) & (upper - highest < OWN * np.sqrt(squares / np.maximum(n_upper - 1, 1))))


def _means(level: NDArray[np.float64], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each cell's mean over its chosen runs (0 without any) and their number; shapes (n_cells,)."""
    n = np.asarray(chosen.sum(1))
    return np.asarray(np.where(chosen, level, 0.0).sum(1) / np.maximum(n, 1)), n
