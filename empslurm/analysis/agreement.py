"""Agreement between annotators: Krippendorff's alpha, Spearman's r and the counts of their differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import UsageError

Level = Literal["nominal", "ordinal", "interval", "ratio"]
OVERALL = "overall"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One aspect's agreement (Table 3 and one bar group of Figure 8 of the paper)."""

    aspect: str
    level: Level  # of measurement, for alpha
    n_units: int  # rated by at least two annotators
    n_annotators: int
    alpha: float  # NaN where all ratings are equal: alpha is then undefined
    spearman: float  # of the two annotators; NaN for more than two, or where one is constant
    p_value: float  # two-sided, of Spearman's r
    difference_counts: Mapping[float, int]  # |difference| -> units (every pair of annotators counts)


def agreement(aspect: str, ratings: NDArray[np.float64], level: Level = "interval") -> Agreement:
    """Agreement of the annotators on one aspect.

    `ratings`: shape (n_units, n_annotators), NaN where an annotator gave none. The paper's values (Table 3) are
    those of the interval level. Krippendorff (2011), "Computing Krippendorff's alpha-reliability".
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    if ratings.ndim != 2 or ratings.shape[1] < 2:
        raise UsageError(
            f"ratings of {aspect} must be units x two or more annotators, but have shape {ratings.shape}; "
            "give one column per annotator"
        )
    rated = ratings[(~np.isnan(ratings)).sum(1) >= 2]
    spearman, p_value = _spearman(rated)
    return Agreement(
        aspect=aspect,
        level=level,
        n_units=len(rated),
        n_annotators=ratings.shape[1],
        alpha=_alpha(rated, level),
        spearman=spearman,
        p_value=p_value,
        difference_counts=_differences(rated),
    )


def agreements(aspects: Mapping[str, NDArray[np.float64]], level: Level = "interval") -> tuple[Agreement, ...]:
    """Agreement on every aspect, and `overall`, which pools their units; annotators have the same order in all."""
    if not aspects:
        return ()
    widths = {np.shape(ratings)[1] for ratings in aspects.values()}
    if len(widths) > 1:
        raise UsageError(
            f"all aspects must be rated by the same annotators, but have {sorted(widths)} of them; "
            "add NaN columns for annotators without a rating"
        )
    pooled = np.concatenate(list(aspects.values()))
    each = tuple(agreement(aspect, ratings, level) for aspect, ratings in aspects.items())
    return (*each, agreement(OVERALL, pooled, level))


def _alpha(rated: NDArray[np.float64], level: Level) -> float:
    import krippendorff

    if len(np.unique(rated[~np.isnan(rated)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=rated.T, level_of_measurement=level))


def _spearman(rated: NDArray[np.float64]) -> tuple[float, float]:
    from scipy.stats import spearmanr

    if rated.shape[1] != 2 or len(rated) < 3 or (np.ptp(rated, axis=0) == 0).any():
        return float("nan"), float("nan")
    result = spearmanr(rated[:, 0], rated[:, 1])
    return float(result.statistic), float(result.pvalue)


def _differences(rated: NDArray[np.float64]) -> dict[float, int]:
    first, second = np.triu_indices(rated.shape[1], k=1)
    differences = np.abs(rated[:, first] - rated[:, second]).ravel()
    counts = Counter(float(value) for value in differences[~np.isnan(differences)])
    return dict(sorted(counts.items()))
