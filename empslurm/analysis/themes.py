"""Transfer by theme (Figure 3): counts and rates of gains and harms, and means that account for shared baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import UsageError

Panel = Literal["helps", "harms", "not harmed"]
# Panel -> the verdicts that it counts, of the default test or of the paper's.
COUNTED: Mapping[Panel, tuple[str, ...]] = {
    "helps": ("helps",),
    "harms": ("harms",),
    "not harmed": ("helps", "equivalent", "inconclusive"),
}
THEMES = ("direct", "abstract", "adjacent")
# Theme -> the lowest mean rating that gives it, halfway between neighbouring groups of the paper's Table 5 without its
# tasks marked *: direct 3.67 and more, abstract 3.17 to 3.50, adjacent up to 3.00. The paper chose themes by hand.
LOWEST_MEANS: Mapping[str, float] = {"direct": 43 / 12, "abstract": 37 / 12, "adjacent": 1.0}

ROUNDING = 1e-9  # a mean of whole levels may fall on a cut point, but for the error of its arithmetic


@dataclass(frozen=True, kw_only=True)
class ThemeCell:
    """Pairs of one source theme and one target theme."""

    source_theme: str
    target_theme: str
    n: int  # pairs with the outcome
    n_pairs: int  # pairs with a decided verdict: the rate's denominator
    n_undecided: int
    rate: float  # n / n_pairs; NaN without pairs
    low: float  # Wilson's 95 % interval of the rate, which treats pairs as independent
    high: float


@dataclass(frozen=True, kw_only=True)
class MeanEffect:
    """Mean difference from the baseline over a group of pairs; its error accounts for what the pairs share."""

    name: str
    n_pairs: int
    mean: float
    standard_error: float
    low: float  # 95 % interval, normal
    high: float


def theme_of_mean(mean: float) -> str:
    """The theme that the mean rating of a task's three criteria (1 to 5) suggests; our rule, see `LOWEST_MEANS`."""
    return next(theme for theme, lowest in LOWEST_MEANS.items() if mean >= lowest - ROUNDING)


def theme_table(
    pairs: Sequence[tuple[str, str]],
    verdicts: Sequence[str],
    themes: Mapping[str, str],
    panel: Panel,
    order: Sequence[str] = THEMES,
) -> tuple[ThemeCell, ...]:
    """One panel of Figure 3, source themes by target themes in `order`.

    `pairs`: (source, target); `verdicts`: of `verdicts.OUTCOMES`, one per pair; `themes`: task -> theme. Top of the
    figure: `helps` and `harms`; bottom (half the target's data against the full-data baseline): `harms` and `not
    harmed`, which counts the verdicts helps, equivalent and inconclusive.
    """
    if len(pairs) != len(verdicts):
        raise UsageError(f"every pair must have one verdict, but {len(pairs)} pairs have {len(verdicts)}; align them")
    missing = sorted({task for pair in pairs for task in pair} - set(themes))
    if missing:
        raise UsageError(f"every task must have a theme, but {', '.join(missing)} has none; add it to the themes")
    wanted = COUNTED[panel]
    cells = []
    for source_theme in order:
        for target_theme in order:
            own = [
                verdict
                for (source, target), verdict in zip(pairs, verdicts, strict=True)
                if (themes[source], themes[target]) == (source_theme, target_theme)
            ]
            n = sum(verdict in wanted for verdict in own)
            n_undecided = own.count("undecided")
            low, high = _wilson(n, len(own) - n_undecided)
            cells.append(
                ThemeCell(
                    source_theme=source_theme,
                    target_theme=target_theme,
                    n=n,
                    n_pairs=len(own) - n_undecided,
                    n_undecided=n_undecided,
                    rate=n / (len(own) - n_undecided) if len(own) > n_undecided else float("nan"),
                    low=low,
                    high=high,
                )
            )
    return tuple(cells)


def _wilson(n: int, n_pairs: int) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    if n_pairs == 0:
        return float("nan"), float("nan")
    low, high = proportion_confint(n, n_pairs, alpha=0.05, method="wilson")
    return float(low), float(high)


def mean_effect(name: str, differences: NDArray[np.float64], covariance: NDArray[np.float64]) -> MeanEffect:
    """Mean over pairs whose errors are correlated, for example through a shared baseline.

    `differences`: (n_pairs,), `covariance`: (n_pairs, n_pairs) of their errors (`Comparison.covariance`; pairs of
    different targets have 0). Pairs with an undefined difference or error are left out and not counted.
    """
    there = np.isfinite(differences) & np.isfinite(np.diag(covariance))
    n_pairs = int(there.sum())
    mean = float(differences[there].mean()) if n_pairs else float("nan")
    error = float(np.sqrt(covariance[np.ix_(there, there)].sum())) / n_pairs if n_pairs else float("nan")
    return MeanEffect(
        name=name,
        n_pairs=n_pairs,
        mean=mean,
        standard_error=error,
        low=mean - 1.959964 * error,
        high=mean + 1.959964 * error,
    )
