"""How many cells one forward pass should hold: measured on a GPU, one on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from empslurm.train.data.batch import batch_of, cut_here, to_device
from empslurm.train.data.task_data import TaskData
from empslurm.train.model.adapter_bank import PackModel
from empslurm.train.model.dropout import step_key
from empslurm.train.processes import least, one_fate

OPTIMISER_COPIES = 3  # of the trained tensors, allocated after the trial: gradients and AdamW's two moments
SHARE = 0.9  # of the free memory; the rest is for fragmentation


def cells_that_fit(peak_of_one: float, peak_of_two: float, free: float) -> int:
    """Cells whose forward and backward pass fit, from the peaks of one and of two cells, all in bytes."""
    each = max(peak_of_two - peak_of_one, 1.0)
    return max(1, int((SHARE * free - (peak_of_one - each)) // each))


def group_size(model: PackModel, data: TaskData, batch_size: int, accelerator: Any, share: float = 1.0) -> int:
    """Cells of one forward pass, the same in every process of the pack.

    On a CPU it is 1: one cell keeps all cores busy, its activations stay in the caches, and its numbers are the same
    bits in every pack. On a GPU one cell's rows are too few, so a trial with the longest batch decides. `share`: of the
    device's memory that this process may use. Raises torch.OutOfMemoryError if not even one cell fits.
    """
    if accelerator.device.type != "cuda":
        return 1
    with one_fate(accelerator):
        fits = _cells_that_fit(model, data, batch_size, accelerator, share)
    return least(accelerator, fits)


def _cells_that_fit(model: PackModel, data: TaskData, batch_size: int, accelerator: Any, share: float) -> int:
    """Measure with one cell and with two. Raises torch.OutOfMemoryError."""
    peak_of_one = _peak(model, data, batch_size, 1, accelerator)
    if model.n_cells == 1:
        return 1
    try:
        peak_of_two = _peak(model, data, batch_size, 2, accelerator)
    except torch.OutOfMemoryError:
        return 1
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(accelerator.device)
    allowed = share * total - torch.cuda.memory_reserved(accelerator.device)
    optimiser = OPTIMISER_COPIES * sum(value.nbytes for value in model.free.values())
    return min(model.n_cells, cells_that_fit(peak_of_one, peak_of_two, min(free, allowed) - optimiser))


def _peak(model: PackModel, data: TaskData, batch_size: int, n_cells: int, accelerator: Any) -> float:
    """Bytes that a forward and backward pass of the longest batch needs beyond what is held already."""
    device: torch.device = accelerator.device
    train = data.rows["train"]
    rows = train[np.argsort(-data.tokens.lengths[train], kind="stable")[:batch_size]]
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    rows_cut = cut_here(data.tokens, rows, even=model.recordable, along={"examples": rows})
    parts = rows_cut.parts(to_device(rows_cut.values, device))
    masks = model.masks(step_key(0, 0), parts["examples"])
    free = {name: value.detach()[:n_cells].requires_grad_() for name, value in model.free.items()}
    with accelerator.autocast():
        below = model.below(batch_of(parts), masks)
        logits = model.logits(below, slice(0, n_cells), free, masks)
        torch.autograd.backward(torch.stack([each.float().sum() for each in logits]).sum())
    return float(torch.cuda.max_memory_allocated(device) - before)
