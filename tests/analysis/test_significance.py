"""The paper's test: p by hand and by brute force, ties, identical models, and undefined scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from empslurm.analysis.resampling import Examples
from empslurm.analysis.significance import _two_sided, example_test
from empslurm.metrics import METRICS

F1, PEARSON = (METRICS[name].formula.resampler for name in ("f1_macro", "pearson"))


def classification(n_examples: int = 150, shift: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 3, n_examples)
    baseline = np.where(rng.random(n_examples) < 0.4, rng.integers(0, 3, n_examples), gold)
    transfer = np.where(rng.random(n_examples) < 0.4 - shift, rng.integers(0, 3, n_examples), gold)
    return Examples(gold=gold, resampler=F1, n_labels=3), baseline, transfer


def test_p_by_hand() -> None:
    """d = .2; |d* - d| = .1 .2 .3 0: two are as far, the tie counts."""
    p_value, _ = _two_sided(np.array([0.2]), np.array([[0.1, -0.2, 0.3, 0.0]]))
    assert p_value[0] == pytest.approx((1 + 2) / (1 + 4))


def test_p_agrees_with_a_plain_loop() -> None:
    examples, baseline, transfer = classification(shift=0.1)
    found = example_test(examples, baseline, transfer, rng=np.random.default_rng(1), n_resamples=2000)
    score = lambda rows, model: f1_score(examples.gold[rows], model[rows], average="macro")  # noqa: E731
    everything = np.arange(len(baseline))
    difference = score(everything, transfer) - score(everything, baseline)
    rng = np.random.default_rng(2)
    drawn = [rng.integers(0, len(baseline), len(baseline)) for _ in range(400)]
    errors = np.array([score(rows, transfer) - score(rows, baseline) for rows in drawn]) - difference
    assert found.difference[0] == pytest.approx(difference)
    assert found.standard_error[0] == pytest.approx(errors.std(), rel=0.12)
    assert found.p_value[0] == pytest.approx((np.abs(errors) >= abs(difference)).mean(), abs=0.06)


def test_the_interval_leaves_out_zero_exactly_when_p_is_small() -> None:
    rng = np.random.default_rng(3)
    examples, baseline, _ = classification()
    noise = rng.random((60, 150)) < np.linspace(0, 0.5, 60)[:, None]
    transfers = np.where(noise, rng.integers(0, 3, (60, 150)), examples.gold)
    found = example_test(examples, baseline, transfers, rng=rng, n_resamples=999)
    outside = (found.low > 0) | (found.high < 0)
    np.testing.assert_array_equal(outside, found.p_value <= 0.05)
    assert 0 < outside.sum() < 60


def test_identical_models_never_differ() -> None:
    examples, baseline, _ = classification()
    found = example_test(examples, baseline, baseline, rng=np.random.default_rng(4), n_resamples=200)
    assert found.difference[0] == 0
    assert found.p_value[0] == 1
    assert found.standard_error[0] == 0


def test_pairing_narrows_and_unpaired_is_an_option() -> None:
    rng = np.random.default_rng(5)
    gold = rng.normal(size=200)
    baseline = gold + rng.normal(size=200)
    transfer = baseline + 0.1 * rng.normal(size=200)
    examples = Examples(gold=gold, resampler=PEARSON)
    paired = example_test(examples, baseline, transfer, rng=rng, n_resamples=1000)
    apart = example_test(examples, baseline, transfer, rng=rng, n_resamples=1000, paired=False)
    assert paired.standard_error[0] < apart.standard_error[0] / 3
    assert paired.paired
    assert not apart.paired
    fisher = np.sqrt(2 / 200) * (1 - stats.pearsonr(gold, baseline).statistic ** 2)
    assert apart.standard_error[0] == pytest.approx(fisher, rel=0.15)


def test_comparisons_that_share_a_baseline_are_correlated() -> None:
    rng = np.random.default_rng(6)
    gold = rng.normal(size=300)
    models = gold + rng.normal(size=(3, 300))
    found = example_test(Examples(gold=gold, resampler=PEARSON), models[0], models[1:], rng=rng, n_resamples=2000)
    correlation = found.covariance[0, 1] / (found.standard_error[0] * found.standard_error[1])
    assert 0.3 < correlation < 0.7


def test_a_constant_prediction_is_nan_not_zero() -> None:
    rng = np.random.default_rng(7)
    gold = rng.normal(size=50)
    models = np.vstack([np.ones(50), gold + rng.normal(size=50)])
    examples = Examples(gold=gold, resampler=PEARSON)
    found = example_test(examples, gold, models, rng=rng, n_resamples=100)
    assert np.isnan([found.transfer[0], found.difference[0], found.p_value[0], found.low[0]]).all()
    assert found.n_undefined.tolist() == [100, 0]
    assert np.isfinite(found.p_value[1])
    assert np.isnan(found.covariance[0, 1])
    all_undefined = example_test(examples, np.ones(50), models, rng=rng, n_resamples=100)
    assert np.isnan(all_undefined.p_value).all()


def test_a_missing_class_and_tiny_sets() -> None:
    """Resamples that lose the only example of a class stay defined; a set of two ratings often does not."""
    gold = np.array([0] * 19 + [1])
    found = example_test(
        Examples(gold=gold, resampler=F1, n_labels=3), np.zeros(20), gold, rng=np.random.default_rng(8)
    )
    assert found.n_undefined[0] == 0
    assert found.difference[0] == pytest.approx(1 - (38 / 39) / 2)
    two = Examples(gold=np.array([1.0, 2.0]), resampler=PEARSON)
    small = example_test(two, np.array([1.0, 2.0]), np.array([2.0, 1.0]), rng=np.random.default_rng(9))
    assert 4500 < small.n_undefined[0] < 5500
    assert small.p_value[0] < 1


def test_the_same_generator_gives_the_same_result() -> None:
    examples, baseline, transfer = classification()
    one, two = (example_test(examples, baseline, transfer, rng=np.random.default_rng(10)) for _ in range(2))
    assert one.p_value[0] == two.p_value[0]
