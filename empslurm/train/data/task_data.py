"""One task's examples as a cell uses them: tokens, training rows, targets in the model's unit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.cells import Trainable, WithAdapter
from empslurm.errors import DataError
from empslurm.tasks.prepare import Prepared, TaskTable, load_task
from empslurm.tasks.schema import PARTS, Part, Task
from empslurm.tasks.splits import train_subset
from empslurm.train.data.tokenizer import Tokenizer
from empslurm.train.data.tokens import Tokens, tokenise


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Rows index into `table` and `tokens`. Regression targets are standardised on the training rows."""

    task: Task
    table: TaskTable
    tokens: Tokens
    rows: dict[Part, NDArray[np.int64]]
    centre: float  # mean of the training targets, in the task's unit; 0 for classification
    scale: float  # their standard deviation; 1 for classification

    def model_targets(self) -> NDArray[Any]:
        """(n_examples,) label indices as int64, or standardised values as float32."""
        if self.task.kind == "classification":
            return self.table.targets.astype(np.int64)
        return ((self.table.targets - self.centre) / self.scale).astype(np.float32)


def _capped(rows: NDArray[np.int64], table: TaskTable, cap: int | None) -> NDArray[np.int64]:
    """The first `cap` rows by a hash of their ids: the same test examples for every seed and source."""
    if cap is None or cap >= len(rows):
        return rows
    key = [hashlib.sha256(f"eval:{table.ids[row]}".encode()).digest() for row in rows]
    return np.sort(rows[sorted(range(len(rows)), key=key.__getitem__)[:cap]])


def load(
    cell: WithAdapter | Trainable,
    task: Task,
    prepared: Prepared,
    tokenizer: Callable[[], Tokenizer],
    cache_root: Path,
    needed: Collection[Part] = PARTS,
) -> TaskData:
    """Load the data of a cell. Raises DataError if a part that is needed is empty."""
    table = load_task(prepared, task, cell.data.use, cell.data.labels)
    training = cell.training
    tokens = tokenise(table, tokenizer, str(cell.backbone_digest), training.max_length, cache_root)
    rows: dict[Part, NDArray[np.int64]] = {}
    for part in ("validation", "test"):
        rows[part] = _capped(np.flatnonzero(table.parts == part), table, training.max_eval_examples)
    train = np.flatnonzero(table.parts == "train")
    row_of = {table.ids[row]: row for row in train}
    chosen = train_subset(tuple(row_of), cell.data.fraction, cell.seed)[: training.max_train_examples]
    rows["train"] = np.sort(np.asarray([row_of[example] for example in chosen], np.int64))
    for part, members in rows.items():
        if len(members) == 0 and part in needed:
            raise DataError(f"{task.id} must have examples in its {part} part, but has none; see `empslurm data stats`")
    centre, scale = 0.0, 1.0
    if task.kind == "regression" and len(rows["train"]):
        values = table.targets[rows["train"]].astype(np.float64)
        centre, scale = float(values.mean()), float(values.std()) or 1.0
    return TaskData(task=task, table=table, tokens=tokens, rows=rows, centre=centre, scale=scale)
