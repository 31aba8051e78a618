"""The paper's test: do these two trained models differ on resampled test examples? It ignores variation over seeds.

Two trainings of the same cell often "differ" by this test, more often with a larger test set: it compares two models,
not the effect of the source. `analysis.verdicts` tests the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.resampling import Examples, resample

TIE = 1e-12  # differences closer than this are equal: rounding must not decide a comparison


@dataclass(frozen=True, kw_only=True)
class ExampleTest:
    """Bootstrap tests of several sources against one baseline model; arrays have shape (n_sources,).

    An undefined score (a constant prediction has no correlation) makes difference, p and interval NaN, never 0.
    """

    baseline: float
    transfer: NDArray[np.float64]
    difference: NDArray[np.float64]  # transfer - baseline
    p_value: NDArray[np.float64]  # two-sided
    low: NDArray[np.float64]  # 95 % interval of the difference; it excludes 0 exactly when p is at most .05
    high: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    covariance: NDArray[np.float64]  # (n_sources, n_sources) of the differences, which share baseline and examples
    n_undefined: NDArray[np.int64]  # resamples without a score, left out of p and interval
    n_units: int  # examples or groups
    n_resamples: int
    paired: bool
    grouped: bool


def example_test(
    examples: Examples,
    baseline: NDArray[Any],
    transfers: NDArray[Any],
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    paired: bool = True,
) -> ExampleTest:
    """Non-parametric bootstrap test of fixed models (section 5.2, footnote 2 of the paper), one model per arm.

    `baseline`: (n_examples,); `transfers`: (n_sources, n_examples). p = (1 + #{|d* - d| >= |d|}) / (1 + n_resamples)
    (Efron and Tibshirani 1993, chapter 16). Paired: both models are scored on the same resample; unpaired: on
    independent ones.
    """
    transfers = np.atleast_2d(np.asarray(transfers))
    if paired:
        both = resample(examples, np.vstack([np.asarray(baseline), transfers]), n_resamples=n_resamples, rng=rng)
        before, after, n_units = both.scores[:1], both.scores[1:], both.n_units
        first, rest = float(both.observed[0]), both.observed[1:]
    else:
        base = resample(examples, np.asarray(baseline), n_resamples=n_resamples, rng=rng)
        many = resample(examples, transfers, n_resamples=n_resamples, rng=rng)
        before, after, n_units = base.scores, many.scores, base.n_units
        first, rest = float(base.observed[0]), many.observed
    difference = rest - first
    errors = after - before - difference[:, None]  # (n_sources, n_resamples)
    p_value, margin = _two_sided(difference, errors)
    covariance = _covariance(errors)
    return ExampleTest(
        baseline=first,
        transfer=rest,
        difference=difference,
        p_value=p_value,
        low=difference - margin,
        high=difference + margin,
        standard_error=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        n_undefined=np.isnan(errors).sum(1),
        n_units=n_units,
        n_resamples=n_resamples,
        paired=paired,
        grouped=examples.groups is not None,
    )


def _two_sided(
    difference: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """p and the margin of the symmetric 95 % interval, from |d* - d| where it is defined. Shapes (n_sources,)."""
    p_value, margin = np.full(len(errors), np.nan), np.full(len(errors), np.nan)
    for source, row in enumerate(np.abs(errors)):
        defined = row[~np.isnan(row)]
        if np.isnan(difference[source]) or len(defined) == 0:
            continue
        as_far = defined >= abs(difference[source]) - TIE
        p_value[source] = (1 + as_far.sum()) / (1 + len(defined))
        rank = int(np.floor(0.05 * (1 + len(defined))))  # p <= .05 exactly where the margin is below |d|
        margin[source] = np.sort(defined)[-max(1, rank)] if rank else np.inf
    return p_value, margin


def _covariance(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance over the resamples that both sources have; NaN where there are none."""
    defined = (~np.isnan(errors)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(errors, axis=1, keepdims=True) / defined.sum(1, keepdims=True)
        centred = np.where(defined > 0, errors - means, 0.0)
        both = defined @ defined.T
        return np.asarray(np.where(both > 1, centred @ centred.T / (both - 1), np.nan))
