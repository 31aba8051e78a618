"""Gains that differ between settings: Welch's test, its false positives and power, variance parts, concordance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_ind
from statsmodels.stats.oneway import anova_oneway

from empslurm.analysis.interactions import TargetErrors, concordance, interactions, variance_parts
from empslurm.analysis.verdicts import TargetScores, compare
from empslurm.errors import UsageError

NOISE = 0.01  # of a run


def of_samples(samples: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
    """Means, standard errors and degrees of freedom of one pair."""
    means = np.array([[own.mean() for own in samples]])
    errors = np.array([[own.std(ddof=1) / np.sqrt(len(own)) for own in samples]])
    return means, errors, np.array([[len(own) - 1.0 for own in samples]])


def test_two_settings_are_welchs_t_test() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(0, 1, 4), rng.normal(1, 3, 6)
    found = interactions(*of_samples([one, two]))
    expected = ttest_ind(one, two, equal_var=False)
    assert found.p_value[0] == pytest.approx(expected.pvalue)
    assert found.error_freedom[0] == pytest.approx(expected.df)
    low, high = expected.confidence_interval()
    assert found.margin[0] == pytest.approx((high - low) / 2)
    assert found.spread[0] == pytest.approx(abs(one.mean() - two.mean()))


def test_three_settings_are_welchs_anova() -> None:
    rng = np.random.default_rng(2)
    samples = [rng.normal(0, 1, 4), rng.normal(1, 3, 6), rng.normal(2, 2, 5)]
    found = interactions(*of_samples(samples))
    expected = anova_oneway(samples, use_var="unequal", welch_correction=True)
    assert found.statistic[0] == pytest.approx(expected.statistic)
    assert found.error_freedom[0] == pytest.approx(expected.df[1])
    assert found.p_value[0] == pytest.approx(expected.pvalue)
    assert np.isnan(found.margin[0])


def test_what_cannot_be_compared_is_not_tested_and_a_missing_setting_leaves_the_others() -> None:
    gains = np.array([[0.1, np.nan, 0.3], [0.1, np.nan, np.nan], [0.1, 0.2, 0.3]])
    errors = np.array([[0.1, np.nan, 0.1], [0.1, 0.1, np.nan], [0.0, 0.0, 0.0]])
    found = interactions(gains, errors, np.full(gains.shape, 4.0))
    assert found.n_settings.tolist() == [2, 1, 3]
    assert np.isfinite(found.p_value).tolist() == [True, False, False]
    assert (found.highest[0], found.lowest[0], found.n_tested) == (2, 0, 1)


def test_a_setting_without_noise_is_compared_with_the_noise_of_the_other() -> None:
    found = interactions(np.array([[0.0, 0.3]]), np.array([[0.0, 0.1]]), np.array([[2.0, 4.0]]))
    assert found.statistic[0] == pytest.approx(9.0)
    assert found.error_freedom[0] == pytest.approx(4.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match="one shape"):
        interactions(np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((2, 2)))


def rejected(n_settings: int, n_seeds: int, *, effect: float = 0.0, shared: float = 0.0, n_trials: int = 40) -> float:
    """Share of pairs called at .05 before correction, with the errors of verdicts. No source acts differently, but for
    `effect` in the first setting. `shared`: share of the noise's variance that all settings have in common."""
    rng, n_sources, called = np.random.default_rng(3), 17, []
    for _ in range(n_trials):
        effects = rng.normal(0, 0.02, n_sources)
        common = rng.normal(0, NOISE, (n_sources + 1, n_seeds))
        comparisons = []
        for setting in range(n_settings):
            means = np.append(0.7, 0.7 + effects + effect * (setting == 0))[:, None]
            own = rng.normal(0, NOISE, common.shape)
            scores = means + rng.normal(0, NOISE, n_seeds) + np.sqrt(shared) * common + np.sqrt(1 - shared) * own
            table = TargetScores(target="t", sources=tuple(map(str, range(n_sources))), scores=scores)
            comparisons.append(compare(table))
        parts = [[getattr(one, name) for one in comparisons] for name in ("difference", "standard_error")]
        freedom = [one.degrees_of_freedom for one in comparisons]
        found = interactions(*(np.array(part).T for part in (*parts, freedom)))
        called.append(float(np.nanmean(found.p_value < 0.05)))
    return float(np.mean(called))


@pytest.mark.parametrize("n_settings", [2, 3])
@pytest.mark.parametrize("n_seeds", [3, 5])
def test_without_an_interaction_about_one_in_twenty_is_called(n_settings: int, n_seeds: int) -> None:
    assert 0.02 <= rejected(n_settings, n_seeds) <= 0.075


def test_noise_that_settings_share_makes_the_test_careful() -> None:
    assert rejected(2, 3, shared=0.7) < 0.02


def test_a_real_difference_is_found() -> None:
    assert rejected(2, 5, effect=3 * NOISE, n_trials=15) > 0.8


def layout(common: float, by_setting: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """True and observed gains of 4 targets x 6 sources in 2 settings, with errors that share the target's baseline."""
    truth = rng.normal(0, common, (24, 1)) + rng.normal(0, by_setting, (24, 2))
    baselines = np.repeat(rng.normal(0, NOISE, (4, 2)), 6, axis=0)
    return truth, truth + rng.normal(0, NOISE, truth.shape) - baselines


def errors(freedom: float = 40.0) -> list[TargetErrors]:
    covariance = NOISE**2 * (np.eye(6) + 1)
    return [
        TargetErrors(
            pairs=np.arange(6 * at, 6 * at + 6),
            covariance=np.stack([covariance, covariance]),
            degrees_of_freedom=np.full(2, freedom),
        )
        for at in range(4)
    ]


@pytest.mark.parametrize(("common", "by_setting"), [(0.02, 0.0), (0.02, 0.02), (0.0, 0.02)])
def test_intervals_of_the_variance_parts_hold_the_truth_and_the_estimates_are_right(
    common: float, by_setting: float
) -> None:
    rng, held, estimates = np.random.default_rng(5), np.zeros(3), []
    for _ in range(100):
        truth, gains = layout(common, by_setting, rng)
        centred = truth - truth.mean(0)
        means = centred.mean(1)
        true_common = float((means**2).sum()) / 23
        true_other = float(((centred - means[:, None]) ** 2).sum()) / 23 / 2
        parts = variance_parts(gains, errors())
        assert parts is not None
        _, low, high = parts.share
        held += (
            parts.common.low <= true_common + 1e-12 and true_common <= parts.common.high,
            parts.by_setting.low <= true_other + 1e-12 and true_other <= parts.by_setting.high + 1e-12,
            low - 1e-9 <= true_common / (true_common + true_other) <= high + 1e-9,
        )
        estimates.append((parts.common.variance - true_common, parts.by_setting.variance - true_other))
    assert (held >= 89).all()
    assert np.abs(np.median(estimates, axis=0)).max() < 0.3 * NOISE**2


def test_the_three_parts_are_the_observed_variance_within_settings() -> None:
    _, gains = layout(0.05, 0.03, np.random.default_rng(6))
    parts = variance_parts(gains, errors())
    assert parts is not None
    total = parts.common.variance + parts.by_setting.variance + parts.noise.variance
    assert total == pytest.approx(float(gains.var(axis=0, ddof=1).mean()))


def test_too_few_pairs_or_no_noise_have_no_parts() -> None:
    assert variance_parts(np.zeros((2, 2)), []) is None
    silent = [TargetErrors(pairs=np.arange(3), covariance=np.zeros((2, 3, 3)), degrees_of_freedom=np.ones(2))]
    assert variance_parts(np.zeros((3, 2)), silent) is None


def test_concordance_is_kendalls() -> None:
    same = np.array([[1.0, 2, 3], [1, 2, 3]])
    assert concordance(same) == pytest.approx(1.0)
    assert concordance(np.array([[1.0, 2, 3], [3, 2, 1]])) == pytest.approx(0.0)
    assert concordance(np.array([[1.5, 1.5, 3.0], [1.5, 1.5, 3.0]])) == pytest.approx(1.0)
    assert np.isnan(concordance(same[:1]))
