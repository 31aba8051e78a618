"""How well sources suit a target before anything is trained: their adapters read the target's training texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm import ids, metrics
from empslurm.analysis.transferability import ESTIMATORS, Answers, one_hot, quantile_classes
from empslurm.cells import Baseline
from empslurm.scoring.bank import Bank
from empslurm.scoring.selection import Member
from empslurm.tasks.prepare import Prepared
from empslurm.tasks.schema import Part, Task
from empslurm.train.data import task_data
from empslurm.train.data.task_data import TaskData
from empslurm.train.data.tokenizer import load_tokenizer

Progress = Callable[[int], None]  # gets the adapter x text passes that were done since the last call


def training_texts(cell: Baseline, task: Task, prepared: Prepared, cache_root: Path) -> TaskData:
    """A task as its baseline would read it, of which only the training part must be there. Raises DataError."""
    needed: Part = "train"
    tokenizer = partial(load_tokenizer, cell.backbone)
    return task_data.load(cell, task, prepared, tokenizer, cache_root, needed=(needed,))


def bank_of(members: Sequence[Member]) -> Bank:
    """The adapters, on a GPU where there is one. Raises as `Bank`."""
    return Bank(members, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def sample(data: TaskData, most: int) -> NDArray[np.int64]:
    """At most so many rows of the training part, drawn by their ids: the same for every source and every call."""
    rows = data.rows["train"]
    if len(rows) <= most:
        return rows
    drawn = sorted(rows.tolist(), key=lambda row: ids.stream("suitability", data.table.ids[row]))
    return np.sort(np.asarray(drawn[:most], np.int64))


def answers_of(data: TaskData, rows: NDArray[np.int64], metric: str) -> Answers:
    """The target's answers to some rows; a classification's columns are the classes that occur."""
    gold = data.table.targets[rows]
    _, groups = np.unique([data.table.groups[row] for row in rows], return_inverse=True)
    sign = metrics.METRICS[metric].sign
    if data.task.kind == "regression":
        values = gold.astype(np.float64)
        classes, targets, there = quantile_classes(values), values[:, None], None
    else:
        classes = gold.astype(np.int64)
        targets, there = one_hot(classes), np.unique(classes)

    def score(predicted: NDArray[np.float64]) -> float:
        outputs = predicted[:, 0]
        if there is not None:
            outputs = np.full((len(predicted), len(data.task.labels)), -np.inf)
            outputs[:, there] = predicted
            outputs = np.where(np.isfinite(outputs), outputs, predicted.min(initial=0.0) - 1)
        return sign * metrics.score(data.task.kind, len(data.task.labels), gold, outputs)[metric]

    return Answers(classes=classes, targets=targets, groups=groups.astype(np.int64).ravel(), score=score)


def suitability(
    bank: Bank, data: TaskData, rows: NDArray[np.int64], metric: str, progress: Progress | None = None
) -> Sequence[Mapping[str, float]]:
    """The value of every estimator for each member of the bank. `metric`: of the target, for the cross-validated ones.

    Only `rows` are read. They should be of the target's training part.
    """
    n = len(bank.members)
    read = bank.represent(data.tokens, rows, None if progress is None else lambda done: progress(n * done))
    answers = answers_of(data, rows, metric)
    values = []
    for features in read.astype(np.float64):
        finite = bool(np.isfinite(features).all())  # else its training has diverged
        values.append(
            {name: estimator.value(features, answers) if finite else np.nan for name, estimator in ESTIMATORS.items()}
        )
    return values
