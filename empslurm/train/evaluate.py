"""Outputs of cells on rows of a table, batched by tokens, on the task's own scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm.train.data.batch import cut, to_device
from empslurm.train.data.task_data import TaskData
from empslurm.train.model.adapter_bank import PackModel
from empslurm.train.processes import one_fate

TOKENS_PER_BATCH = 8_192  # padded tokens per forward pass: memory stays flat whatever the lengths
CELL_TOKENS = 65_536  # padded tokens times cells of one forward pass


def token_batches(lengths: NDArray[np.int64], max_tokens: int = TOKENS_PER_BATCH) -> list[NDArray[np.int64]]:
    """Batches of indices into `lengths` (n_rows,), longest first: rows x longest <= `max_tokens`, or a single row."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, max_tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def _groups(cells: Sequence[int], at_once: int) -> list[slice]:
    """Slices of neighbouring cells that share a forward pass."""
    if not cells:
        return []
    ends = [*range(cells[0], cells[-1] + 1, max(1, at_once)), cells[-1] + 1]
    return [slice(first, last) for first, last in pairwise(ends)]


def predict(
    model: PackModel,
    cells: Sequence[int],
    data: TaskData,
    rows: NDArray[np.int64],
    accelerator: Any,
    most_at_once: int = 1,
) -> list[NDArray[np.float64]]:
    """Per cell classification logits (n_rows, n_labels) or regression values (n_rows,), in the order of `rows`.

    `cells` must be consecutive. `most_at_once`: how many may share a forward pass; with 1, a cell's numbers are the
    same bits in every pack. Each of n processes takes every n-th batch, and all of them get the full result.
    """
    n_outputs = len(data.task.labels) if data.task.kind == "classification" else 1
    outputs = torch.zeros(len(cells), len(rows), n_outputs, dtype=torch.float32, device=accelerator.device)
    world, rank = accelerator.num_processes, accelerator.process_index
    with one_fate(accelerator), torch.inference_mode(), accelerator.autocast():
        for batch in token_batches(data.tokens.lengths[rows])[rank::world]:
            inputs = cut(data.tokens, rows[batch], accelerator.device)
            below, indices = model.below(inputs, None), to_device(batch, outputs.device)
            for group in _groups(cells, min(most_at_once, CELL_TOKENS // math.prod(inputs.shape))):
                free = {name: value[group] for name, value in model.free.items()}
                for cell, logits in enumerate(model.logits(below, group, free, None), group.start - cells[0]):
                    outputs[cell, indices] = logits.float()
    if world > 1:
        outputs = accelerator.reduce(outputs, "sum")
    values = outputs.cpu().numpy().astype(np.float64)
    if data.task.kind == "regression":
        return list(values[:, :, 0] * data.scale + data.centre)
    return list(values)
