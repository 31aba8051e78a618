"""What cells of one process share: the accelerator, the frozen backbone, prepared and tokenised data."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from empslurm.cells import Cell, Trainable, WithAdapter
from empslurm.config import Backbone, Training
from empslurm.errors import DataError, DeviceError
from empslurm.store import adapter_metadata
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry
from empslurm.tasks.prepare import Prepared, prepare
from empslurm.tasks.raw import locate
from empslurm.train import input_similarity
from empslurm.train.data import task_data as datas
from empslurm.train.data.tokenizer import load_tokenizer
from empslurm.train.model.backbone import load_encoder, quiet
from empslurm.train.model.encoder import Encoder


class Node:
    """What cells of one process share: the accelerator, the backbone, prepared data."""

    def __init__(self, root: RunsRoot, data_root: Path, registry: Registry, accelerator: Accelerator) -> None:
        self.root, self.data_root, self.registry, self.accelerator = root, data_root, registry, accelerator
        self.problem: DeviceError | None = None  # why this process cannot train
        quiet()
        # Bound per instance: a process trains many cells on few tasks.
        self.prepared: Callable[[str], Prepared] = lru_cache(self._prepared)
        self.tokenizer = lru_cache(load_tokenizer)
        self._encoder: tuple[object, Any] = (None, None)
        self._data: tuple[object, Any] = (None, None)
        self._typical: tuple[object, Any] = (None, None)

    def _prepared(self, dataset: str) -> Prepared:
        return prepare(self.registry.datasets[dataset], self.data_root, self.root.prepared)

    def encoder(self, backbone: Backbone, training: Training) -> Encoder:
        """The frozen backbone on this process's device, loaded once; sets the precision of its products."""
        set_precision(training)
        key = (backbone, training.dropout, training.attention_dropout, training.precision)
        if self._encoder[0] != key:
            self._encoder = (None, None)  # never two at once in memory
            encoder = Encoder(
                load_encoder(backbone).to(self.accelerator.device),
                dropout=training.dropout,
                attention_dropout=training.attention_dropout,
                bf16=training.precision == "bf16",
            )
            self._encoder = (key, encoder)
        loaded: Encoder = self._encoder[1]
        return loaded

    def examples(self, cell: Cell) -> Prepared:
        """The parsed dataset of a cell. Raises DataError if its files are not those of the plan."""
        dataset = self.registry.datasets[cell.data.dataset]
        located = locate(dataset, self.data_root, self.root.prepared)
        if located.raw_digest != cell.data.raw or located.state == "missing":
            raise DataError(
                f"{dataset.id} must have the files that {cell.id} was planned with, but its files have changed since "
                f"({located.state}); {located.problem or 'submit again'}"
            )
        return self.prepared(dataset.id)

    def data(self, cell: WithAdapter | Trainable) -> datas.TaskData:
        """The tokenised data of a cell, kept for the next pack. Raises DataError as `examples` does."""
        key = (cell.target, cell.seed, cell.data, cell.training, cell.backbone)
        if self._data[0] != key:
            task, tokenizer = self.registry.tasks[cell.target], partial(self.tokenizer, cell.backbone)
            self._data = (key, datas.load(cell, task, self.examples(cell), tokenizer, self.root.prepared))
        data: datas.TaskData = self._data[1]
        return data

    def measure(self, cell: Trainable) -> adapter_metadata.Measure:
        """Describe what the cell's adapter measures; statistics of its training texts are computed once per data."""
        data = self.data(cell)
        if self._typical[0] is not data:
            encoder = self.encoder(cell.backbone, cell.training)
            self._typical = (data, input_similarity.typical(encoder, data, self.accelerator))
        return adapter_metadata.describe(
            cell,
            data.task,
            self.registry.datasets[cell.data.dataset],
            centre=data.centre,
            scale=data.scale,
            n_train=len(data.rows["train"]),
            typical=self._typical[1],
        )


def set_precision(training: Training) -> None:
    """Set the precision of float32 matrix products."""
    torch.set_float32_matmul_precision("medium" if training.precision == "fp32_medium" else "highest")
