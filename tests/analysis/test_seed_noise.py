"""Variance components of cells and seeds: by hand, drawn from the model, and where there is nothing to estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import polygamma

from empslurm.analysis.seed_noise import _trigamma_inverse, moderate, seed_noise


def test_noise_of_an_additive_layout_by_hand() -> None:
    """Two-way residuals of a balanced 4 x 3 layout, each cell with (3 - 1)(4 - 1) / 4 = 1.5 degrees of freedom."""
    scores = np.random.default_rng(1).normal(size=(4, 3))
    residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    found = seed_noise(scores)
    assert found.total_degrees_of_freedom == pytest.approx(6)
    squares = (residuals**2).sum(1)
    own = squares[0] / 1.5
    if own >= moderate(squares[1:], np.full(3, 1.5)).centre:
        assert found.variance[0] == pytest.approx(own)
    np.testing.assert_allclose(found.variance[1:], moderate(squares[1:], np.full(3, 1.5)).variance)


def test_moderation_recovers_the_prior() -> None:
    """Variances drawn with 8 prior degrees of freedom around 2 (Smyth's model), known with 4."""
    rng = np.random.default_rng(2)
    true = 2 * 8 / rng.chisquare(8, 20_000)
    found = moderate(true * rng.chisquare(4, 20_000), np.full(20_000, 4.0))
    assert found.prior_degrees_of_freedom == pytest.approx(8, rel=0.1)
    assert found.centre == pytest.approx(2, rel=0.03)
    np.testing.assert_allclose(found.degrees_of_freedom, found.prior_degrees_of_freedom + 4)


def test_few_cells_cannot_show_that_variances_are_alike() -> None:
    """Three equal estimates: the scatter is one standard error, and the more runs there are the smaller that is."""
    few, many = (moderate(np.full(3, freedom), np.full(3, freedom)) for freedom in (2.0, 40.0))
    chance, fourth = polygamma(1, 1.0), polygamma(3, 1.0)
    error = math.sqrt(2 * chance**2 / 2 + fourth / 3)
    assert polygamma(1, few.prior_degrees_of_freedom / 2) == pytest.approx(error, rel=1e-4)
    assert many.prior_degrees_of_freedom > 10 * few.prior_degrees_of_freedom


def test_variances_of_zero_and_nothing_exceeds_all() -> None:
    assert moderate(np.full(3, 2.0), np.full(3, 2.0)).degrees_of_freedom.max() <= 6.0
    alone = moderate(np.array([2.0, 0.0]), np.array([2.0, 0.0]))
    assert alone.prior_degrees_of_freedom == 0
    assert alone.variance[0] == 1.0
    zero = moderate(np.zeros(3), np.full(3, 2.0))
    np.testing.assert_allclose(zero.variance, 0.0)
    some = moderate(np.array([0.0, 1e-4, 2e-4, 1e-4]), np.full(4, 2.0))
    assert (some.variance > 0).all()


def test_trigamma_inverse() -> None:
    for value in (1e-8, 0.01, 0.7, 3.0, 80.0):
        assert polygamma(1, _trigamma_inverse(value)) == pytest.approx(value, rel=1e-4)


def test_a_cell_with_one_run_borrows_all_and_lends_nothing() -> None:
    scores = np.random.default_rng(3).normal(size=(8, 3))
    scores[4, 1:] = np.nan
    found = seed_noise(scores)
    without = seed_noise(np.delete(scores, 4, axis=0))
    np.testing.assert_allclose(np.delete(found.variance, 4), without.variance)
    assert found.total_degrees_of_freedom == pytest.approx(without.total_degrees_of_freedom)
    assert np.isfinite(found.variance[4])


def test_seeds_in_common_are_estimated() -> None:
    rng = np.random.default_rng(4)
    common = rng.normal(size=400)
    found = seed_noise(2 * common + 0.5 * rng.normal(size=(6, 400)))
    assert found.seed_variance == pytest.approx(4, rel=0.2)
    np.testing.assert_allclose(found.variance, 0.25, rtol=0.2)
    few = seed_noise(2 * common[:5] + 0.5 * rng.normal(size=(3, 5)))  # two sources: equal seeds count as chance
    assert few.seed_variance == 0


def test_the_baseline_takes_the_larger_variance() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(18, 3))
    scores[0] = [0.0, 10.0, -10.0]
    loud = seed_noise(scores)
    assert loud.variance[0] > 50
    assert loud.degrees_of_freedom[0] < 2
    scores[0] = scores[1:].mean(0)
    quiet = seed_noise(scores)
    assert quiet.variance[0] > 0.4
    assert quiet.degrees_of_freedom[0] > 2
