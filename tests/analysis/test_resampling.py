"""Resampled scores against scikit-learn and scipy on the very same resamples, and the shapes of units."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from empslurm import metrics
from empslurm.analysis import resampling, scores
from empslurm.analysis.resampling import Examples, resample
from empslurm.errors import UsageError


def resampler_of(metric: str) -> resampling.Resampler:
    return metrics.METRICS[metric].formula.resampler


F1, PEARSON = resampler_of("f1_macro"), resampler_of("pearson")


def labels(rng: np.random.Generator, n_examples: int, n_labels: int, n_models: int = 3):
    gold = rng.integers(0, n_labels, n_examples)
    outputs = np.where(rng.random((n_models, n_examples)) < 0.4, rng.integers(0, n_labels, n_examples), gold)
    return gold, outputs


@pytest.mark.parametrize("grouped", [False, True])
def test_macro_f1_of_given_counts_equals_scikit_learns(grouped: bool) -> None:
    rng = np.random.default_rng(1)
    gold, outputs = labels(rng, 40, 6)
    groups = np.arange(40) // 3 if grouped else None
    score = F1(Examples(gold=gold, resampler=F1, n_labels=6, groups=groups), outputs)
    chunk = next(resampling._count_chunks(score.multiplicity, 20, rng))[1]
    found = score.of(chunk)
    unit = groups if grouped else np.unique(np.vstack([gold, outputs]).T, axis=0, return_inverse=True)[1]
    rows = [np.flatnonzero(unit == index) for index in range(len(score.multiplicity))]
    for at, counts in enumerate(chunk.astype(int)):
        if grouped:
            drawn = np.concatenate([np.tile(rows[u], c) for u, c in enumerate(counts)])
        else:
            drawn = np.concatenate([np.repeat(rows[u][:1], c) for u, c in enumerate(counts)])
        expected = [f1_score(gold[drawn], model[drawn], average="macro") for model in outputs]
        np.testing.assert_allclose(found[:, at], expected, atol=1e-6)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("metric", metrics.METRICS)
def test_every_metric_of_given_counts_is_that_of_the_examples_drawn(metric: str, grouped: bool) -> None:
    """Ties in the ratings included: most are whole numbers."""
    rng = np.random.default_rng(4)
    labelled = metrics.METRICS[metric].kind == "classification"
    if labelled:
        gold, outputs = labels(rng, 60, 5)
    else:
        gold = rng.integers(1, 6, 60).astype(float)
        outputs = np.vstack([gold + rng.normal(size=60), np.round(gold + rng.normal(size=60)), rng.normal(size=60)])
    groups = rng.integers(0, 25, 60) if grouped else None
    examples = Examples(gold=gold, resampler=resampler_of(metric), n_labels=5 if labelled else 0, groups=groups)
    score = examples.resampler(examples, outputs)
    units = np.arange(60) if groups is None else np.unique(groups, return_inverse=True)[1]
    if labelled and not grouped:
        units = np.unique(np.vstack([gold, outputs]).T, axis=0, return_inverse=True)[1].ravel()
    counts = next(resampling._count_chunks(score.multiplicity, 12, rng))[1]
    assert len(counts) == 12
    for made, row in zip(score.of(counts).T, counts.astype(int), strict=True):
        if labelled and not grouped:  # examples that are alike in gold and answers are one unit
            drawn = np.concatenate([np.repeat(np.flatnonzero(units == unit)[:1], n) for unit, n in enumerate(row)])
        else:
            drawn = np.repeat(np.arange(60), row[units])
        for found, model in zip(made, outputs, strict=True):
            answers = np.eye(5)[model[drawn]] if labelled else model[drawn]
            expected = metrics.score(metrics.METRICS[metric].kind, 5, gold[drawn], answers)[metric]
            assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_observed_scores_of_every_metric(metric: str) -> None:
    rng = np.random.default_rng(6)
    kind = metrics.METRICS[metric].kind
    gold, outputs = labels(rng, 80, 4) if kind == "classification" else (rng.normal(size=80), rng.normal(size=(3, 80)))
    found = resample(
        Examples(gold=gold, resampler=resampler_of(metric), n_labels=4 if kind == "classification" else 0),
        outputs,
        n_resamples=300,
        rng=rng,
    )
    answers = [np.eye(4)[model] if kind == "classification" else model for model in outputs]
    expected = [metrics.score(kind, 4, gold, answer)[metric] for answer in answers]
    np.testing.assert_allclose(found.observed, expected, atol=1e-6)
    assert (np.abs(found.scores.mean(1) - found.observed) < 4 * found.scores.std(1)).all()
    assert (found.scores.std(1) > 0).all()


def test_observed_scores_are_those_of_the_metrics_module() -> None:
    rng = np.random.default_rng(2)
    gold, outputs = labels(rng, 200, 5)
    found = resample(Examples(gold=gold, resampler=F1, n_labels=9), outputs, n_resamples=5, rng=rng)
    expected = [metrics.score("classification", 9, gold, np.eye(9)[model])["f1_macro"] for model in outputs]
    np.testing.assert_allclose(found.observed, expected, atol=1e-6)
    ratings, values = rng.normal(size=80), rng.normal(3, 2, size=(4, 80))
    found = resample(Examples(gold=ratings, resampler=PEARSON), values, n_resamples=5, rng=rng)
    np.testing.assert_allclose(found.observed, [scores.pearson(ratings, model) for model in values])


def test_pearson_of_given_counts() -> None:
    rng = np.random.default_rng(3)
    gold, values = rng.normal(100, 1, 30), rng.normal(-5, 0.01, (2, 30))
    score = PEARSON(Examples(gold=gold, resampler=PEARSON), values)
    counts = rng.multinomial(30, np.ones(30) / 30, size=4).astype(np.float32)
    for at, found in enumerate(score.of(counts).T):
        drawn = np.repeat(np.arange(30), counts[at].astype(int))
        np.testing.assert_allclose(found, [np.corrcoef(gold[drawn], model[drawn])[0, 1] for model in values])


def test_one_draw_over_distinct_rows_has_the_same_distribution() -> None:
    """Few distinct rows take the multinomial path, many the counting one; their spreads agree."""
    rng = np.random.default_rng(4)
    gold = np.repeat([0, 1], 60)
    output = gold.copy()
    output[:30] = 1
    few = resample(Examples(gold=gold, resampler=F1, n_labels=2), output, n_resamples=4000, rng=rng)
    tags = Examples(gold=gold, resampler=F1, n_labels=2, groups=np.arange(120))
    many = resample(tags, output, n_resamples=4000, rng=rng)
    assert few.n_units == many.n_units == 120
    assert few.scores.std() == pytest.approx(many.scores.std(), rel=0.06)
    assert few.scores.mean() == pytest.approx(many.scores.mean(), abs=0.003)


def test_counts_sum_to_the_units_in_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "COUNTS_PER_CHUNK", 100)
    rng = np.random.default_rng(5)
    for multiplicity in (np.array([1] * 30), np.array([25, 5]), np.array([600, 400])):
        chunks = list(resampling._count_chunks(multiplicity, 11, rng))
        assert sum(len(counts) for _, counts in chunks) == 11
        assert all((counts.sum(1) == multiplicity.sum()).all() for _, counts in chunks)


def test_groups_that_repeat_examples_widen_the_spread() -> None:
    rng = np.random.default_rng(6)
    gold, outputs = labels(rng, 100, 2, 1)
    gold, outputs = np.repeat(gold, 4), np.repeat(outputs, 4, axis=1)
    kinds = {"resampler": F1, "n_labels": 2}
    rows = resample(Examples(gold=gold, **kinds), outputs, n_resamples=2000, rng=rng)  # type: ignore[arg-type]
    grouped = Examples(gold=gold, groups=np.repeat(np.arange(100), 4), **kinds)  # type: ignore[arg-type]
    whole = resample(grouped, outputs, n_resamples=2000, rng=rng)
    assert whole.scores.std() == pytest.approx(2 * rows.scores.std(), rel=0.1)


def test_undefined_models_are_nan_and_leave_the_others_alone() -> None:
    rng = np.random.default_rng(7)
    gold = rng.normal(size=20)
    values = np.vstack([gold, np.full(20, 0.1 + 0.2), np.where(np.arange(20) == 3, np.nan, gold)])
    found = resample(Examples(gold=gold, resampler=PEARSON), values, n_resamples=50, rng=rng)
    assert found.observed[0] == pytest.approx(1.0)
    assert np.isnan(found.observed[1:]).all()
    assert np.isnan(found.scores[1:]).all()
    flat = resample(Examples(gold=np.ones(20), resampler=PEARSON), values, n_resamples=5, rng=rng)
    assert np.isnan(flat.observed).all()
    answered = np.vstack([np.zeros(4, dtype=int), np.array([0, 1, -1, 0])])
    some = resample(Examples(gold=np.array([0, 1, 1, 0]), resampler=F1, n_labels=2), answered, n_resamples=5, rng=rng)
    assert some.observed[0] == pytest.approx(1 / 3)  # constant answers have a macro F1: (2/3 + 0) / 2
    assert np.isnan(some.observed[1])


def test_a_constant_has_an_error_but_no_correlation() -> None:
    rng = np.random.default_rng(9)
    gold, outputs = rng.normal(size=30), np.vstack([np.ones(30), rng.normal(size=30), np.full(30, np.nan)])
    for metric, undefined in (("mae", [False, False, True]), ("spearman", [True, False, True])):
        found = resample(Examples(gold=gold, resampler=resampler_of(metric)), outputs, n_resamples=50, rng=rng)
        assert np.isnan(found.observed).tolist() == undefined
        assert np.isnan(found.scores).all(1).tolist() == undefined


def test_wrong_shapes_and_labels_are_sentences() -> None:
    rng = np.random.default_rng(8)
    with pytest.raises(UsageError, match="align them"):
        resample(Examples(gold=np.zeros(3), resampler=PEARSON), np.zeros((1, 4)), n_resamples=1, rng=rng)
    with pytest.raises(UsageError, match="0 to 1"):
        resample(Examples(gold=np.array([0, 2]), resampler=F1, n_labels=2), np.zeros((1, 2)), n_resamples=1, rng=rng)
    with pytest.raises(UsageError, match="finite"):
        resample(Examples(gold=np.array([0, np.nan]), resampler=PEARSON), np.zeros((1, 2)), n_resamples=1, rng=rng)
