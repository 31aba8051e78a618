"""Metrics as functions of one model's answers; each formula is defined only here. Undefined is NaN, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelCounts:
    """How often each label is gold, is answered correctly and is answered wrongly, along the axis `axis`.

    Other axes are models and resamples; arrays broadcast.
    """

    gold: NDArray[Any]
    right: NDArray[Any]
    wrong: NDArray[Any]
    axis: int = 0

    @cached_property
    def total(self) -> NDArray[Any]:
        """Gold plus answered, by label; 0 where a label does not occur."""
        return np.asarray(self.gold + self.right + self.wrong)

    def f1(self) -> NDArray[Any]:
        """F1 by label; 0 where it does not occur."""
        return np.asarray(2 * self.right / np.maximum(self.total, 1))

    def sum(self, by_label: NDArray[Any]) -> NDArray[np.float64]:
        """The sum over labels."""
        return np.asarray(by_label.sum(self.axis, dtype=np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """One model's answers to at least one example: label indices, or finite values. Shapes (n_examples,)."""

    gold: NDArray[Any]
    predicted: NDArray[Any]
    n_labels: int = 0  # 0: values

    @cached_property
    def counts(self) -> LabelCounts:
        """Of the labels that occur in gold or answers (the set that scikit-learn averages over)."""
        hits = self.gold[self.gold == self.predicted]
        gold, answered, right = (
            np.bincount(labels, minlength=self.n_labels) for labels in (self.gold, self.predicted, hits)
        )
        occurs = gold + answered > 0
        return LabelCounts(gold=gold[occurs], right=right[occurs], wrong=(answered - right)[occurs])


def accuracy(counts: LabelCounts) -> NDArray[np.float64]:
    """The share of correct answers; equal to micro F1, since every example has one label."""
    return counts.sum(counts.right) / counts.sum(counts.gold)


def f1_macro(counts: LabelCounts) -> NDArray[np.float64]:
    """The mean of F1 over the labels that occur."""
    return np.asarray(counts.sum(counts.f1()) / (counts.total > 0).sum(counts.axis))


def f1_weighted(counts: LabelCounts) -> NDArray[np.float64]:
    """The mean of F1 over the labels, weighted by how often each is gold."""
    return counts.sum(counts.f1() * counts.gold) / counts.sum(counts.gold)


def correlation(xx: Any, yy: Any, xy: Any) -> NDArray[np.float64]:
    """Pearson's r from sums of squares and of products of centred values."""
    return np.asarray(np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0))


def pearson(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Pearson's r; NaN where either side is constant or not finite. Shapes (n_examples,)."""
    if len(gold) < 2 or not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return float("nan")
    y, x = gold - gold.mean(), predicted - predicted.mean()
    # A side whose spread is only rounding noise counts as constant; dividing by it would invent a correlation.
    for centred, raw in ((y, gold), (x, predicted)):
        if np.abs(centred).max() <= 1e-7 * max(1e-12, float(np.abs(raw).max())):
            return float("nan")
    return float(correlation(y @ y, x @ x, y @ x))


def spearman(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Spearman's rank correlation: r of average ranks; NaN where r is undefined. Shapes (n_examples,)."""
    from scipy.stats import rankdata

    return pearson(rankdata(gold), rankdata(predicted)) if np.isfinite(pearson(gold, predicted)) else float("nan")


def mean_absolute_error(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """The mean absolute error, in the task's unit. Shapes (n_examples,)."""
    return float(np.abs(gold - predicted).mean())
