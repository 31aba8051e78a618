"""Runs that did not learn: which of a target's runs collapsed, and how often a source's do beside the baseline's.

A run that collapses (an adapter that answers the same to everything, say) falls far below the others of its cell. It is
another kind of event than seed noise: a baseline that by luck lacks its collapse would be better than all sources at
once. So the verdict compares the runs that learnt, and how often runs collapse is a finding of its own.

Where predictions are known, they tell which runs did not learn. Scores alone tell it where they fall into two groups:
`collapsed_runs` looks for one depth that parts the runs of several cells. One low run alone is seldom enough, for noise
with heavy tails makes such runs too. What it misses misleads little: where no other cell's collapses are seen, the
baseline does not lack its own. `benchmarks/verdict_simulation.py` holds what it finds and what it marks wrongly.
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
LEAST_FREEDOM = 3  # below this many degrees of freedom the groups have no spread to speak of
# A baseline that lies low as a whole is wrong in every comparison at once: where many cells have both groups, this part
# of the depth will do for it alone, if it lies lower than this part of the fall.
EASED = 0.85
MOST = 0.85
FEW_MIXED = 2  # so few cells with both groups must stand out within themselves, too:
OWN = 4.0  # how deep in standard deviations of the cell's own upper runs, where there are two
BETWEEN = 0.2  # runs halfway down, per collapsed run: more of them, and the runs are not two groups
HALFWAY = 0.15  # of the fall: how near to its half a run is halfway down
CHANCE = 0.01  # that any cell has collapsed runs only: above this, a cell that lies low as a whole counts as such
FEW_CELLS = 6  # below this many, what equal seeds have in common cannot be told from chance
N_DEPTHS = 12  # of first guesses of the depth
ROUNDS = 10  # of regrouping by a guess


@dataclass(frozen=True, kw_only=True)
class CollapseDifference:
    """How often a source's runs collapse beside its target's baseline's."""

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
    """Every source against its baseline in how many of their runs collapsed, of targets with any collapsed run.

    Fisher's exact test is conservative with few runs: 0 of 8 against 5 of 8 is the least that has p < .05, and no
    count of fewer than four runs an arm has.
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
    """Runs that did not learn, the `known` ones and those that the scores tell: shape (n_cells, n_seeds).

    `scores`: (n_cells, n_seeds) of one target, NaN where there is none; `known`: same shape, from predictions. A cell
    that lies at the depth of the collapsed runs as a whole counts as collapsed if chance alone could do that at the
    rate at which the target's runs collapse; if not, it is a cell that is worse. Row 0 is the baseline: if it lies low
    as a whole, falls of many cells count that are a little too shallow to count otherwise.
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
    """Cells all of whose runs lie low, by `share` of the fall, as chance alone may have it; shape (n_cells,)."""
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
    depth: float  # the fall beside the least that counts


def _without_seeds(level: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores less what equal seeds have in common, by medians; as they are where few cells share a seed."""
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
    """The deepest parting of the runs by one fall, None where none is at least `least` as deep as counts.

    Every guess starts from cells whose widest gap between neighbouring runs is at least so wide.
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
    low = low & (level < middle - fall / 3)  # else its cell has a run that is far above the target's others
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
    """Cells whose upper runs scatter so much that a low run of theirs may be noise; shape (n_cells,)."""
    upper, n_upper = _means(level, high)
    squares = np.where(high, (level - upper[:, None]) ** 2, 0.0).sum(1)
    highest = np.where(low, level, -np.inf).max(1)
    return np.asarray((n_upper >= 2) & (upper - highest < OWN * np.sqrt(squares / np.maximum(n_upper - 1, 1))))


def _means(level: NDArray[np.float64], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each cell's mean over its chosen runs, 0 where it has none, and their number; shapes (n_cells,)."""
    n = np.asarray(chosen.sum(1))
    return np.asarray(np.where(chosen, level, 0.0).sum(1) / np.maximum(n, 1)), n
