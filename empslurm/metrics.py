"""Scores of one task's predictions, on arrays; undefined is NaN with a flag, never 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.tasks.schema import Kind

ROUNDING = 1e-6  # how far a score that somebody computed may lie beyond the ends of its range


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a score means: every table, verdict, mark and colour asks here."""

    name: str
    title: str  # as printed
    kind: Kind  # of the tasks that have it
    low: float  # the ends of what it can be
    high: float
    higher_is_better: bool = True

    def allows(self, value: float) -> bool:
        """Whether a score can be this metric's, up to rounding; NaN is undefined, and allowed."""
        return value != value or (self.low - ROUNDING <= value <= self.high + ROUNDING and abs(value) != float("inf"))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="f1_macro", title="macro F1", kind="classification", low=0, high=1),
        Metric(name="f1_micro", title="micro F1", kind="classification", low=0, high=1),
        Metric(name="f1_weighted", title="weighted F1", kind="classification", low=0, high=1),
        Metric(name="accuracy", title="accuracy", kind="classification", low=0, high=1),
        Metric(name="pearson", title="Pearson r", kind="regression", low=-1, high=1),
        Metric(name="spearman", title="Spearman's r", kind="regression", low=-1, high=1),
        Metric(
            name="mae",
            title="mean absolute error",
            kind="regression",
            low=0,
            high=float("inf"),
            higher_is_better=False,
        ),
    )
}
CLASSIFICATION = tuple(name for name, metric in METRICS.items() if metric.kind == "classification")
REGRESSION = tuple(name for name, metric in METRICS.items() if metric.kind == "regression")


def confusion(gold: NDArray[np.int64], predicted: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """Counts, shape (n_labels, n_labels): rows are gold labels, columns predictions."""
    return np.bincount(gold * n_labels + predicted, minlength=n_labels * n_labels).reshape(n_labels, n_labels)


def classification(gold: NDArray[np.int64], predicted: NDArray[np.int64], n_labels: int) -> dict[str, float]:
    """F1 over the labels that occur in gold or prediction (the set that scikit-learn averages over), and accuracy.

    `gold`, `predicted`: label indices, shape (n_examples,). Micro F1 equals accuracy where every example has one label.
    """
    if len(gold) == 0:
        return dict.fromkeys(CLASSIFICATION, float("nan"))
    counts = confusion(gold, predicted, n_labels)
    hits, golds, guesses = np.diag(counts), counts.sum(1), counts.sum(0)
    there = (golds + guesses) > 0
    f1 = 2 * hits[there] / (golds + guesses)[there]
    accuracy = float(hits.sum() / len(gold))
    weighted = float((f1 * golds[there]).sum() / len(gold))
    return {"f1_macro": float(f1.mean()), "f1_micro": accuracy, "f1_weighted": weighted, "accuracy": accuracy}


def pearson(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Pearson's r; NaN where either side is constant or not finite. Shapes (n_examples,)."""
    if len(gold) < 2 or not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return float("nan")
    one, two = gold - gold.mean(), predicted - predicted.mean()
    # A side is constant when its spread is rounding noise beside its size; dividing by it would invent a correlation.
    for centred, raw in ((one, gold), (two, predicted)):
        if np.abs(centred).max() <= 1e-7 * max(1e-12, float(np.abs(raw).max())):
            return float("nan")
    return float(np.clip((one @ two) / np.sqrt((one @ one) * (two @ two)), -1.0, 1.0))


def regression(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float]:
    """Pearson's r, Spearman's rank correlation (r of average ranks) and mean absolute error in the task's unit."""
    from scipy.stats import rankdata

    finite = bool(np.isfinite(predicted).all()) and len(gold) > 0
    r = pearson(gold, predicted)
    spearman = pearson(rankdata(gold), rankdata(predicted)) if np.isfinite(r) else float("nan")
    mae = float(np.abs(gold - predicted).mean()) if finite else float("nan")
    return {"pearson": r, "spearman": spearman, "mae": mae}


def score(kind: Kind, n_labels: int, gold: NDArray[Any], outputs: NDArray[np.float64]) -> dict[str, float]:
    """All metrics of a task.

    `outputs`: classification logits (n_examples, n_labels), or regression values (n_examples,) on the task's scale.
    """
    if kind == "regression":
        return regression(gold.astype(np.float64), outputs.reshape(-1))
    if not np.isfinite(outputs).all():
        return dict.fromkeys(CLASSIFICATION, float("nan"))
    return classification(gold.astype(np.int64), outputs.argmax(1).astype(np.int64), n_labels)


# What a run's flags say. Those of its validation part, on which its best epoch was chosen, are marked as such.
DIVERGED, CONSTANT, WORSE = "diverged", "constant", "worse_than_constant"
COLLAPSED = "collapsed"  # told by the other runs of its target, see `analysis.collapse`
OF_VALIDATION = "validation_"
FLAGS: Mapping[str, str] = {
    DIVERGED: "diverged (a loss or an output stopped being a number)",
    CONSTANT: "gave one answer to every test text",
    WORSE: "did worse on the test part than one answer to every text (the commonest label, or the mean)",
    COLLAPSED: "fell far below the other runs of its target",
    OF_VALIDATION + CONSTANT: "gave one answer to every validation text",
    OF_VALIDATION + WORSE: "did worse on the validation part than one answer to every text",
}


def run_flags(metric: str, parts: Mapping[str, tuple[NDArray[Any], NDArray[np.float64]]]) -> tuple[str, ...]:
    """Signs that a run did not learn, of FLAGS. `parts`: gold and outputs of `test`, and of `validation` where known.

    Each part is judged by itself: on one that differs in a single text, another would hide that nothing was learnt.
    """
    kind, found = METRICS[metric].kind, []
    for part in ("test", "validation"):
        if part in parts:
            gold, outputs = parts[part]
            signs = flags(kind, outputs) or ((WORSE,) if worse_than_constant(metric, gold, outputs) else ())
            found += [sign if part == "test" or sign == DIVERGED else OF_VALIDATION + sign for sign in signs]
    return tuple(name for name in FLAGS if name in found)


def worse_than_constant(metric: str, gold: NDArray[Any], outputs: NDArray[np.float64]) -> bool:
    """Whether the best single answer to all examples would do better.

    Classification: in `metric`, the commonest label of `gold`. Regression, whatever its metric: in squared error, which
    training minimises, the mean of `gold`; correlations of a constant are undefined. outputs as in `score`.
    """
    if len(gold) == 0 or not np.isfinite(outputs).all():
        return False
    if METRICS[metric].kind == "regression":
        values = gold.astype(np.float64)
        spread = float(np.square(values - values.mean()).mean())
        return float(np.square(outputs.reshape(-1) - values).mean()) > spread * (1 + ROUNDING)
    n_labels, labels = outputs.shape[1], gold.astype(np.int64)
    commonest = np.full(len(labels), np.bincount(labels, minlength=n_labels).argmax())
    least = classification(labels, commonest, n_labels)[metric]
    return classification(labels, outputs.argmax(1).astype(np.int64), n_labels)[metric] < least - ROUNDING


def flags(kind: Kind, outputs: NDArray[np.float64]) -> tuple[str, ...]:
    """Of one part: `diverged` where an output is not finite, `constant` where every example gets one answer."""
    if not np.isfinite(outputs).all():
        return ("diverged",)
    if kind == "classification":
        return ("constant",) if len(outputs) > 1 and len(np.unique(outputs.argmax(1))) == 1 else ()
    spread = np.ptp(outputs) if len(outputs) else 0.0
    return ("constant",) if len(outputs) > 1 and spread <= 1e-7 * max(1e-12, float(np.abs(outputs).max())) else ()


def from_json(values: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as stored: JSON has no NaN, so null stands for it."""
    return {name: float("nan") if value is None else float(value) for name, value in values.items()}


def to_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """NaN as null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


def names(kinds: Sequence[Kind]) -> tuple[str, ...]:
    """The metrics that tasks of these kinds have, main metric first."""
    return (*(CLASSIFICATION if "classification" in kinds else ()), *(REGRESSION if "regression" in kinds else ()))
