"""Percent improvement: hand-computed cells of Figures 6 and 7, Fieller's interval, and baselines near or below zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from empslurm import reference
from empslurm.analysis.improvement import (
    NOT_POSITIVE,
    UNDEFINED,
    improvement,
    improvement_matrix,
    improvements,
)
from empslurm.analysis.verdicts import TargetScores, compare


def test_cells_of_the_published_matrices() -> None:
    published = reference.scores()
    order = [row.task for row in reference.tasks()]
    found = improvement_matrix({(row.source, row.target): row.value for row in published}, order)
    cell = lambda source, target: found.percent[order.index(source), found.targets.index(target)]  # noqa: E731
    assert found.percent.shape == (18, 18)
    assert cell("condolence", "mi_adherent") == pytest.approx(-51.807, abs=1e-3)  # .40 from .83
    assert cell("epitome_ex", "empdial_emo") == pytest.approx(-89.744, abs=1e-3)  # .04 from .39
    assert cell("empdial_qact", "condolence") == pytest.approx(-41.860, abs=1e-3)  # .25 from .43
    assert cell("news_empathy", "news_distress") == pytest.approx(19.718, abs=1e-3)  # .85 from .71
    assert cell("conv_empathy", "condolence") == pytest.approx(13.953, abs=1e-3)  # .49 from .43
    assert np.isnan(np.diag(found.percent)).all()
    assert np.isfinite(found.percent).sum() == 306


def test_a_missing_pair_or_baseline_stays_missing() -> None:
    found = improvement_matrix({("a", "a"): 0.5, ("b", "a"): 0.6, ("a", "b"): 0.7, ("c", "c"): -0.1}, ["a", "b", "c"])
    assert found.targets == ("a", "b", "c")
    assert found.difference[1, 0] == pytest.approx(0.1)
    assert np.isnan(found.percent[0, 1])  # b has no baseline
    assert np.isnan(found.percent[:, 2]).all()
    assert improvement_matrix({}, ["a"]).percent.shape == (1, 0)


def test_negative_zero_and_undefined_baselines_are_flagged() -> None:
    for baseline in (0.0, -0.1):
        found = improvement(baseline, 0.2)
        assert math.isnan(found.percent)
        assert found.flag == NOT_POSITIVE
        assert found.difference == pytest.approx(0.2 - baseline)
    assert improvement(float("nan"), 0.2).flag == UNDEFINED


def test_the_interval_leaves_out_zero_as_the_difference_does() -> None:
    for variance in (1e-5, 2e-4, 5e-4, 1e-3):
        found = improvement(
            0.5,
            0.55,
            baseline_variance=variance,
            transfer_variance=2 * variance,
            covariance=variance / 2,
            degrees_of_freedom=6,
        )
        margin = stats.t.ppf(0.975, 6) * np.sqrt(2 * variance)
        assert (found.low > 0) == (0.05 - margin > 0)
        assert found.low < found.percent < found.high
    assert improvement(0.5, 0.55, baseline_variance=1.0, transfer_variance=0.1).high == math.inf


def test_the_percentage_agrees_with_the_default_verdict() -> None:
    rng = np.random.default_rng(0)
    scores = 0.7 + 0.01 * rng.normal(size=(18, 3)) + np.linspace(0, 0.05, 18)[:, None]
    given = TargetScores(
        target="t", sources=tuple("abcdefghijklmnopq"), scores=scores, example_covariance=1e-5 * np.eye(18)
    )
    comparison = compare(given)
    found = improvements(comparison)
    assert [row.low > 0 for row in found] == (comparison.low > 0).tolist()
    assert 0 < sum(row.low > 0 for row in found) < 17
    np.testing.assert_allclose([row.percent for row in found], 100 * comparison.difference / comparison.baseline)
    one_seed = improvements(compare(TargetScores(target="t", sources=("a",), scores=scores[:2, :1])))
    assert math.isnan(one_seed[0].low)
    assert math.isfinite(one_seed[0].percent)
