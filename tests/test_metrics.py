"""Scores against scikit-learn and scipy, and what is undefined stays undefined."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from empslurm import metrics


@pytest.mark.parametrize("seed", range(5))
def test_classification_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    gold, predicted = rng.integers(0, 6, 200), rng.integers(0, 7, 200)
    gold[gold == 4] = 0  # a label that only occurs as a prediction
    scores = metrics.score("classification", 9, gold, np.eye(9)[predicted])
    for average in ("macro", "micro", "weighted"):
        assert scores[f"f1_{average}"] == pytest.approx(f1_score(gold, predicted, average=average, zero_division=0))
    assert scores["accuracy"] == accuracy_score(gold, predicted)


@pytest.mark.parametrize("seed", range(5))
def test_regression_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 6, 100).astype(float)
    predicted = gold + rng.normal(size=100)
    scores = metrics.score("regression", 0, gold, predicted)
    assert scores["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic)
    assert scores["mae"] == pytest.approx(np.abs(gold - predicted).mean())


def test_constant_predictions_are_undefined_and_flagged_never_zero():
    gold = np.array([1.0, 2.0, 3.0])
    almost = np.full(3, 3.3) + np.array([0, 1e-12, -1e-12])
    assert math.isnan(metrics.score("regression", 0, gold, almost)["pearson"])
    assert metrics.flags("regression", almost) == ("constant",)
    logits = np.tile([0.1, 0.9], (3, 1))
    assert metrics.flags("classification", logits) == ("constant",)
    assert metrics.flags("classification", np.eye(2)) == ()


def test_outputs_that_are_not_numbers_are_flagged_as_diverged():
    logits = np.array([[0.0, np.nan], [1.0, 0.0]])
    assert metrics.flags("classification", logits) == ("diverged",)
    assert all(math.isnan(value) for value in metrics.score("classification", 2, np.array([0, 1]), logits).values())
    assert math.isnan(metrics.score("regression", 0, np.array([1.0, 2.0]), np.array([1.0, np.inf]))["mae"])


def test_json_keeps_the_undefined():
    assert metrics.to_json({"pearson": float("nan"), "mae": 0.5}) == {"pearson": None, "mae": 0.5}
    assert math.isnan(metrics.from_json({"pearson": None})["pearson"])


# ---- runs that did not learn ----------------------------------------------------------------------------------------

GOLD = np.array([0, 0, 0, 1, 1, 2])


def said(*labels):
    return np.eye(3)[list(labels)]


def test_each_part_of_a_run_is_judged_by_itself():
    one, other = said(0, 0, 0, 0, 0, 0), said(0, 0, 0, 0, 0, 1)
    flags = metrics.run_flags("f1_macro", {"test": (GOLD, one), "validation": (GOLD, other)})
    assert flags == ("constant",)
    assert metrics.run_flags("f1_macro", {"test": (GOLD, other), "validation": (GOLD, one)}) == ("validation_constant",)
    assert metrics.run_flags("f1_macro", {"test": (GOLD, other)}) == ()


def test_worse_than_the_commonest_label_in_the_runs_own_metric():
    rare = said(2, 2, 2, 2, 2, 0)
    assert metrics.run_flags("f1_macro", {"test": (GOLD, rare)}) == ("worse_than_constant",)
    skewed = said(1, 1, 2, 1, 1, 2)  # right about the rare ones: a better macro F1, a worse accuracy
    assert metrics.score("classification", 3, GOLD, skewed)["f1_macro"] > 0.3
    gold = np.array([0, 0, 0, 0, 1, 2])
    assert metrics.run_flags("f1_macro", {"test": (gold, skewed)}) == ()
    assert metrics.run_flags("accuracy", {"test": (gold, skewed)}) == ("worse_than_constant",)


@pytest.mark.parametrize("metric", metrics.of_kind("regression"))
def test_a_regression_that_went_astray_is_flagged_though_its_outputs_are_numbers(metric):
    rng = np.random.default_rng(0)
    gold = rng.uniform(0, 100, 50)
    astray, learnt = 400 + 3 * gold, 0.5 * gold + 25 + rng.normal(size=50)
    assert metrics.run_flags(metric, {"test": (gold, astray)}) == ("worse_than_constant",)
    assert metrics.run_flags(metric, {"test": (gold, learnt)}) == ()
    assert metrics.run_flags(metric, {"test": (gold, np.full(50, gold.mean()))}) == ("constant",)
    assert metrics.run_flags(metric, {"test": (gold, np.full(50, np.nan)), "validation": (gold, learnt)}) == (
        "diverged",
    )


def test_every_flag_has_words():
    assert {"diverged", "constant", "worse_than_constant"} <= metrics.FLAGS.keys()
    assert all(text.startswith(("gave", "did", "fell", "diverged")) for text in metrics.FLAGS.values())
