"""Fast bootstrap of many models on the same resampled test examples: all models of a target share a count matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.scores import Answers, LabelCounts, correlation
from empslurm.errors import UsageError

COUNTS_PER_CHUNK = 300_000  # entries of the count matrix in memory at once, few enough for the cache
MULTINOMIAL_PAYS = 20  # a binomial draw costs about as much as drawing and counting this many single examples
CONSTANT = 1e-7  # spread relative to size below which values count as constant: rounding noise is no correlation


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A target's test examples, without the models' answers."""

    gold: NDArray[Any]  # (n_examples,): label indices, or ratings
    resampler: Resampler  # of the metric
    n_labels: int = 0  # 0: answers are values
    groups: NDArray[np.int64] | None = None  # (n_examples,): dialogue, post, ...; None: examples are independent


class Scores(Protocol):
    """Scores of all models from counts of units.

    `multiplicity`: (n_distinct,), how often each unit occurs. `undefined`: (n_models,), models without any score.
    """

    multiplicity: NDArray[np.int64]
    undefined: NDArray[np.bool_]

    def of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """(n_models, n_resamples), for `counts` (n_resamples, n_distinct)."""


Resampler = Callable[[Examples, NDArray[Any]], Scores]  # outputs as `resample` has them


@dataclass(frozen=True, kw_only=True)
class Formula:
    """How a metric is computed: from one model's answers, and from many models' answers on every resample."""

    value: Callable[[Answers], float]
    resampler: Resampler


def of_counts(function: Callable[[LabelCounts], NDArray[np.float64]]) -> Formula:
    """The formula of a function of label counts: it gives all models' scores on all resamples at once."""
    return Formula(
        value=lambda answers: float(function(answers.counts)),
        resampler=lambda examples, outputs: LabelScores(examples, outputs, function),
    )


def of_values(function: Callable[[NDArray[Any], NDArray[Any]], float], resampler: Resampler) -> Formula:
    """The formula of a function of gold and predicted values, with a fast resampler."""
    return Formula(value=lambda answers: function(answers.gold, answers.predicted), resampler=resampler)


def recomputed(function: Callable[[Answers], float]) -> Formula:
    """The formula of any function of one model's answers; slower, since it is called per model and resample."""
    return Formula(value=function, resampler=lambda examples, outputs: RecomputedScores(examples, outputs, function))


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Scores of every model on the test set and on each resample of it."""

    observed: NDArray[np.float64]  # (n_models,); NaN where undefined
    scores: NDArray[np.float64]  # (n_models, n_resamples); a resample of examples is the same for all models
    n_units: int  # examples, or groups where those were resampled


def resample(examples: Examples, outputs: NDArray[Any], *, n_resamples: int, rng: np.random.Generator) -> Resampled:
    """Scores of every model under the bootstrap over examples or groups (Efron and Tibshirani 1993).

    `outputs`: (n_models, n_examples), label indices or values. A label of -1 or a value that is not finite marks a
    model that gave no answer: its scores are NaN. Macro F1 averages over the labels in the (resampled) gold or
    prediction; Spearman's correlation computes ranks again in every resample.
    """
    outputs = np.atleast_2d(np.asarray(outputs))
    _check(examples, outputs)
    score = examples.resampler(examples, outputs)
    scores = np.empty((len(outputs), n_resamples))
    for start, counts in _count_chunks(score.multiplicity, n_resamples, rng):
        scores[:, start : start + len(counts)] = score.of(counts)
    observed = score.of(score.multiplicity[None, :].astype(np.float64))[:, 0]
    observed[score.undefined] = float("nan")
    scores[score.undefined] = float("nan")
    return Resampled(observed=observed, scores=scores, n_units=int(score.multiplicity.sum()))


def _check(examples: Examples, outputs: NDArray[Any]) -> None:
    n_examples = len(examples.gold)
    shapes = [outputs.shape[1]] + ([] if examples.groups is None else [len(examples.groups)])
    if n_examples == 0 or any(length != n_examples for length in shapes):
        raise UsageError(
            f"every model and the groups must have one value per example, but {n_examples} gold labels meet "
            f"{', '.join(map(str, shapes))} values; align them by example id"
        )
    if examples.n_labels:
        low, high = int(min(examples.gold.min(), outputs.min())), int(max(examples.gold.max(), outputs.max()))
        if examples.gold.min() < 0 or low < -1 or high >= examples.n_labels:
            raise UsageError(
                f"label indices must be in 0 to {examples.n_labels - 1}, but are in {low} to {high}; "
                "give the task's number of labels"
            )
    elif not np.isfinite(examples.gold).all():
        raise UsageError("gold ratings must be finite numbers, but some are not; drop those examples")


def _no_correlation(examples: Examples, outputs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Models without a correlation: those without answers, or with the same answer everywhere."""
    finite = np.asarray(np.isfinite(outputs).all(1))
    values = np.where(finite[:, None], outputs, 0.0)
    return np.asarray(~finite | _constant(values) | bool(_constant(examples.gold[None, :].astype(np.float64))[0]))


def _constant(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows of (n_rows, n_examples) whose spread is only rounding noise."""
    return np.asarray(np.ptp(values, axis=1) <= CONSTANT * np.maximum(1e-12, np.abs(values).max(1)))


def _count_chunks(
    multiplicity: NDArray[np.int64], n_resamples: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """How often each distinct unit is drawn: (first resample, counts (n_in_chunk, n_distinct)) until all are done.

    Drawing n of n units with replacement is one multinomial draw over the distinct units.
    """
    n_units, n_distinct = int(multiplicity.sum()), len(multiplicity)
    size = max(1, min(n_resamples, COUNTS_PER_CHUNK // n_units))
    distinct = np.repeat(np.arange(n_distinct), multiplicity)
    for start in range(0, n_resamples, size):
        n_rows = min(size, n_resamples - start)
        if n_distinct * MULTINOMIAL_PAYS <= n_units:
            counts = rng.multinomial(n_units, multiplicity / n_units, size=n_rows)
        else:
            drawn = rng.integers(0, n_units, size=(n_rows, n_units))
            if n_distinct < n_units:
                drawn = distinct[drawn]
            drawn += np.arange(n_rows)[:, None] * n_distinct
            counts = np.bincount(drawn.ravel(), minlength=n_rows * n_distinct).reshape(n_rows, n_distinct)
        yield start, counts.astype(np.float32)


def _per_unit(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Sums of (n_examples, n_columns) over each group, (n_units, n_columns)."""
    if groups is None:
        return values
    units, unit = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(units), values.shape[1]))
    np.add.at(sums, unit, values)
    return sums


class LabelScores:
    """F1 in its averages, or accuracy, of all models from counts of units.

    A unit contributes one entry per model and example, (predicted label, right or wrong), so the sums are a product
    with a sparse matrix of 0, 1, 2, ..., exact in single precision below 2^24 examples.
    """

    def __init__(
        self,
        examples: Examples,
        outputs: NDArray[np.int64],
        function: Callable[[LabelCounts], NDArray[np.float64]],
    ) -> None:
        from scipy import sparse

        self.function, self.n_models, self.n_labels = function, len(outputs), examples.n_labels
        self.undefined = np.asarray((outputs < 0).any(1))
        gold, outputs = examples.gold.astype(np.int64), np.maximum(outputs, 0).astype(np.int64)
        if examples.groups is None:
            rows, unit, self.multiplicity = np.unique(
                np.vstack([gold, outputs]).T, axis=0, return_inverse=True, return_counts=True
            )
            gold, outputs, unit = rows[:, 0], rows[:, 1:].T, np.arange(len(rows))
        else:
            units, unit = np.unique(examples.groups, return_inverse=True)
            self.multiplicity = np.ones(len(units), dtype=np.int64)
        n_labels = self.n_labels
        first = n_labels * (1 + 2 * np.arange(self.n_models))[:, None]
        columns = np.vstack([gold[None, :], first + outputs + n_labels * (outputs != gold)])
        entries = (np.ones(columns.size, dtype=np.float32), (columns.ravel(), np.tile(unit, len(columns))))
        shape = (n_labels * (1 + 2 * self.n_models), len(self.multiplicity))
        self.per_unit = sparse.csr_matrix(entries, shape=shape)

    def of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n_models, n_resamples) for `counts` (n_resamples, n_distinct)."""
        sums = self.per_unit @ np.ascontiguousarray(counts.T, dtype=np.float32)  # (n_columns, n_resamples)
        gold = sums[: self.n_labels]
        right, wrong = np.moveaxis(sums[self.n_labels :].reshape(self.n_models, 2, self.n_labels, -1), 1, 0)
        return self.function(LabelCounts(gold=gold[None], right=right, wrong=wrong, axis=1))


class CorrelationScores:
    """Pearson's r of all models, from counts of units times moments of centred values (to keep precision)."""

    def __init__(self, examples: Examples, outputs: NDArray[np.float64]) -> None:
        self.undefined = _no_correlation(examples, outputs)
        gold = examples.gold.astype(np.float64)
        finite = np.asarray(np.isfinite(outputs).all(1))
        outputs = np.where(finite[:, None], outputs, 0.0).astype(np.float64)
        y, x = _standardised(gold[None, :]).ravel(), _standardised(outputs)
        moments = np.vstack([np.ones_like(y), y, y * y, x, x * x, x * y]).T  # (n_examples, 3 + 3 n_models)
        self.moments = _per_unit(moments, examples.groups)
        self.multiplicity = np.ones(len(self.moments), dtype=np.int64)

    def of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n_models, n_resamples) for `counts` (n_resamples, n_units); NaN where a side is constant."""
        sums = (counts.astype(np.float64) @ self.moments).T
        n, y, yy = sums[:3]
        x, xx, xy = sums[3:].reshape(3, -1, len(n))
        return _correlation_of_sums(n, x, xx, y, yy, xy)


def _correlation_of_sums(n: Any, x: Any, xx: Any, y: Any, yy: Any, xy: Any) -> NDArray[np.float64]:
    """r from a count, sums, sums of squares and of products of centred values; NaN where a side is constant."""
    x_spread, y_spread = xx - x * x / n, yy - y * y / n
    x_spread = np.where(x_spread > 1e-12 * n, x_spread, float("nan"))
    y_spread = np.where(y_spread > 1e-12 * n, y_spread, float("nan"))
    return correlation(x_spread, y_spread, xy - x * y / n)


class ErrorScores:
    """Mean absolute error of all models."""

    def __init__(self, examples: Examples, outputs: NDArray[np.float64]) -> None:
        self.undefined = np.asarray(~np.isfinite(outputs).all(1))
        errors = np.abs(np.where(np.isfinite(outputs), outputs, 0.0) - examples.gold.astype(np.float64))
        self.sums = _per_unit(np.vstack([np.ones(len(examples.gold)), errors]).T, examples.groups)
        self.multiplicity = np.ones(len(self.sums), dtype=np.int64)

    def of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n_models, n_resamples) for `counts` (n_resamples, n_units)."""
        n, *errors = (counts.astype(np.float64) @ self.sums).T
        return np.asarray(np.stack(errors) / n)


class RankScores:
    """Spearman's correlation of all models: Pearson's r of average ranks, computed again in every resample."""

    def __init__(self, examples: Examples, outputs: NDArray[np.float64]) -> None:
        self.undefined = _no_correlation(examples, outputs)
        groups = examples.groups
        self.unit = None if groups is None else np.unique(groups, return_inverse=True)[1]
        self.multiplicity = np.ones(len(examples.gold) if self.unit is None else self.unit.max() + 1, dtype=np.int64)
        outputs = np.where(np.isfinite(outputs), outputs, 0.0).astype(np.float64)
        self.gold = _Order(examples.gold.astype(np.float64))
        self.outputs = [_Order(own) for own in outputs]

    def of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n_models, n_resamples) for `counts` (n_resamples, n_units)."""
        weights = counts.astype(np.float64)
        weights = weights if self.unit is None else weights[:, self.unit]  # (n_resamples, n_examples)
        n = weights.sum(1)
        middle = (n[:, None] + 1) / 2
        y = self.gold.ranks(weights) - middle
        yy = (weights * y * y).sum(1)
        scores = []
        for order in self.outputs:
            x = order.ranks(weights) - middle
            products = ((weights * x * other).sum(1) for other in (x, y))
            scores.append(_correlation_of_sums(n, 0.0, next(products), 0.0, yy, next(products)))
        return np.stack(scores)


class _Order:
    """Average ranks of values (n_examples,) under any weights; they are sorted only once."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.order = np.argsort(values, kind="stable")
        _, self.tie, sizes = np.unique(values, return_inverse=True, return_counts=True)  # tie: (n_examples,)
        self.last = np.cumsum(sizes) - 1  # of each tie, in sorted order

    def ranks(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_resamples, n_examples), for weights of the same shape: how often each example was drawn."""
        ends = np.cumsum(weights[:, self.order], axis=1)[:, self.last]  # (n_resamples, n_ties)
        before = np.hstack([np.zeros((len(weights), 1)), ends[:, :-1]])
        return np.asarray(((before + ends + 1) / 2)[:, self.tie])


class RecomputedScores:
    """Any function of one model's answers, called once per model and resample."""

    def __init__(self, examples: Examples, outputs: NDArray[Any], function: Callable[[Answers], float]) -> None:
        self.function, self.n_labels = function, examples.n_labels
        dtype = np.int64 if examples.n_labels else np.float64
        self.gold, self.outputs = examples.gold.astype(dtype), outputs.astype(dtype)
        answered = outputs >= 0 if examples.n_labels else np.isfinite(outputs)
        self.undefined = np.asarray(~answered.all(1))
        n_examples, groups = len(examples.gold), examples.groups
        self.unit = np.arange(n_examples) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.multiplicity = np.ones(self.unit.max() + 1, dtype=np.int64)

    def of(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n_models, n_resamples) for `counts` (n_resamples, n_units)."""
        scores = np.full((len(self.outputs), len(counts)), np.nan)
        for index, row in enumerate(counts.astype(np.int64)):
            drawn = np.repeat(np.arange(len(self.unit)), row[self.unit])
            for model in np.flatnonzero(~self.undefined):
                answers = Answers(gold=self.gold[drawn], predicted=self.outputs[model, drawn], n_labels=self.n_labels)
                scores[model, index] = self.function(answers)
        return scores


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with mean 0 and standard deviation 1; constant rows become 0."""
    spread = values.std(1, keepdims=True)
    return np.asarray((values - values.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1.0))
