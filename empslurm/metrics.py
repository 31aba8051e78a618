"""The metrics, one entry each, and the signs in a run's predictions that it did not learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis import resampling, scores
from empslurm.analysis.scores import Answers
from empslurm.validation.constraints import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
ROUNDING = 1e-6  # how far rounding may take a score beyond its range


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Chance level of a metric: the best single answer to all examples, which needs no learning."""

    words: str
    answer: Callable[[NDArray[Any]], float] | None  # from gold labels or values; None: it has no score, and chance is 0


def commonest(gold: NDArray[Any]) -> int:
    """The commonest of label indices (n_examples,)."""
    return int(np.bincount(gold.astype(np.int64)).argmax())


COMMONEST = Chance(words="always the commonest label of the test part", answer=commonest)
MEDIAN = Chance(words="always the median of the test part", answer=lambda gold: float(np.median(gold)))
NO_CORRELATION = Chance(words="r = 0", answer=None)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: its name, range, direction, formula and chance level."""

    name: str
    title: str  # as printed
    kind: Kind  # of the tasks that have it
    low: float  # its smallest possible value
    high: float  # its largest
    higher_is_better: bool = True  # only such a metric may choose a run's best epoch
    formula: resampling.Formula
    chance: Chance

    @property
    def sign(self) -> int:
        """The factor that makes an improvement positive: 1, or -1 where lower is better."""
        return 1 if self.higher_is_better else -1

    def allows(self, value: float) -> bool:
        """Whether a score is in the metric's range, up to rounding; NaN (undefined) is allowed."""
        return value != value or (self.low - ROUNDING <= value <= self.high + ROUNDING and abs(value) != float("inf"))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="f1_macro",
            title="macro F1",
            kind="classification",
            low=0,
            high=1,
            formula=resampling.of_counts(scores.f1_macro),
            chance=COMMONEST,
        ),
        Metric(
            name="f1_micro",
            title="micro F1",
            kind="classification",
            low=0,
            high=1,
            formula=resampling.of_counts(scores.accuracy),
            chance=COMMONEST,
        ),
        Metric(
            name="f1_weighted",
            title="weighted F1",
            kind="classification",
            low=0,
            high=1,
            formula=resampling.of_counts(scores.f1_weighted),
            chance=COMMONEST,
        ),
        Metric(
            name="accuracy",
            title="accuracy",
            kind="classification",
            low=0,
            high=1,
            formula=resampling.of_counts(scores.accuracy),
            chance=COMMONEST,
        ),
        Metric(
            name="pearson",
            title="Pearson r",
            kind="regression",
            low=-1,
            high=1,
            formula=resampling.of_values(scores.pearson, resampling.CorrelationScores),
            chance=NO_CORRELATION,
        ),
        Metric(
            name="spearman",
            title="Spearman's r",
            kind="regression",
            low=-1,
            high=1,
            formula=resampling.of_values(scores.spearman, resampling.RankScores),
            chance=NO_CORRELATION,
        ),
        Metric(
            name="mae",
            title="mean absolute error",
            kind="regression",
            low=0,
            high=float("inf"),
            higher_is_better=False,
            formula=resampling.of_values(scores.mean_absolute_error, resampling.ErrorScores),
            chance=MEDIAN,
        ),
    )
}
PAPERS: Mapping[Kind, str] = {"classification": "f1_macro", "regression": "pearson"}  # the paper's, and the default


def of_kind(kind: str) -> tuple[str, ...]:
    """The metrics of a kind of task; () for an unknown kind."""
    return tuple(name for name, metric in METRICS.items() if metric.kind == kind)


def that_choose_epochs(kind: str) -> tuple[str, ...]:
    """The metrics that a task may choose its best epoch by: those where higher is better."""
    return tuple(name for name in of_kind(kind) if METRICS[name].higher_is_better)


def score(kind: Kind, n_labels: int, gold: NDArray[Any], outputs: NDArray[np.float64]) -> dict[str, float]:
    """All metrics of a task; NaN where an output is not finite, or without examples.

    `outputs`: classification logits (n_examples, n_labels), or regression values (n_examples,) on the task's scale.
    """
    if len(gold) == 0 or not np.isfinite(outputs).all():
        return dict.fromkeys(of_kind(kind), float("nan"))
    if kind == "regression":
        answers = Answers(gold=gold.astype(np.float64), predicted=outputs.reshape(-1))
    else:
        labels = outputs.argmax(1).astype(np.int64)
        answers = Answers(gold=gold.astype(np.int64), predicted=labels, n_labels=n_labels)
    return {name: float(METRICS[name].formula.value(answers)) for name in of_kind(kind)}


# Flags of a run and their meaning. Those of its validation part, which chose its best epoch, have a prefix.
DIVERGED, CONSTANT, WORSE = "diverged", "constant", "worse_than_constant"
COLLAPSED = "collapsed"  # found by the other runs of its target, see `analysis.collapse`
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
    """The FLAGS of a run that did not learn. `parts`: gold and outputs of `test`, and of `validation` where known.

    Each part is judged separately: one differing answer in one part must not hide a constant answer to the other.
    """
    kind, names = METRICS[metric].kind, []
    for part in ("test", "validation"):
        if part in parts:
            gold, outputs = parts[part]
            signs = flags(kind, outputs) or ((WORSE,) if worse_than_constant(metric, gold, outputs) else ())
            names += [sign if part == "test" or sign == DIVERGED else OF_VALIDATION + sign for sign in signs]
    return tuple(name for name in FLAGS if name in names)


def worse_than_constant(metric: str, gold: NDArray[Any], outputs: NDArray[np.float64]) -> bool:
    """Whether the best single answer to all examples would do better.

    Classification: that answer is the commonest label of `gold`, compared in `metric`. Regression: it is the mean of
    `gold`, compared in squared error, which training minimises, since correlations of a constant are undefined.
    outputs: as in `score`.
    """
    if len(gold) == 0 or not np.isfinite(outputs).all():
        return False
    if METRICS[metric].kind == "regression":
        values = gold.astype(np.float64)
        spread = float(np.square(values - values.mean()).mean())
        return float(np.square(outputs.reshape(-1) - values).mean()) > spread * (1 + ROUNDING)
    labels, entry = gold.astype(np.int64), METRICS[metric]
    own, least = (
        entry.sign * entry.formula.value(Answers(gold=labels, predicted=predicted, n_labels=outputs.shape[1]))
        for predicted in (outputs.argmax(1).astype(np.int64), np.full(len(labels), commonest(labels)))
    )
    return own < least - ROUNDING


def flags(kind: Kind, outputs: NDArray[np.float64]) -> tuple[str, ...]:
    """Flags of one part: `diverged` where an output is not finite, `constant` where every example gets one answer."""
    if not np.isfinite(outputs).all():
        return ("diverged",)
    if kind == "classification":
        return ("constant",) if len(outputs) > 1 and len(np.unique(outputs.argmax(1))) == 1 else ()
    spread = np.ptp(outputs) if len(outputs) else 0.0
    return ("constant",) if len(outputs) > 1 and spread <= 1e-7 * max(1e-12, float(np.abs(outputs).max())) else ()


def from_json(values: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as stored: JSON has no NaN, so null means NaN."""
    return {name: float("nan") if value is None else float(value) for name, value in values.items()}


def to_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """NaN as null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
