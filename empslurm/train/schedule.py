"""Batch order and learning rate as pure functions of (seed, epoch, step), so that resuming needs no state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from empslurm.config import Training
from empslurm.ids import stream

# Batches that are sorted by length together: little padding, and still a new mix every epoch. An epoch of
# four batches or more has at least four such groups: sorting a small epoch as a whole would put the same examples
# together every time. Below eight batches a group is one batch, and the order is random.
MEGABATCH, MIN_MEGABATCHES = 50, 4


def epoch_batches(lengths: NDArray[np.int64], *, seed: int, epoch: int, training: Training) -> list[NDArray[np.int64]]:
    """The batches of one epoch: row indices into `lengths` (n_rows,), each row once, the last batch may be small.

    `length_grouped`: shuffle the rows, sort them by length within groups of 50 batches (of a quarter of the batches if
    that is less, of one at least), then shuffle the batches.
    """
    rng = np.random.Generator(np.random.Philox(stream("order", seed, epoch)))
    rows = rng.permutation(len(lengths)).astype(np.int64)
    size = training.batch_size
    if training.batch_order == "length_grouped":
        mega = size * max(1, min(MEGABATCH, n_batches(len(rows), size) // MIN_MEGABATCHES))
        parts = [rows[start : start + mega] for start in range(0, len(rows), mega)]
        rows = np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in parts])
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    if training.batch_order == "length_grouped":
        batches = [batches[index] for index in rng.permutation(len(batches))]
    return batches


def n_batches(n_rows: int, batch_size: int) -> int:
    """Optimiser steps of one epoch."""
    return -(-n_rows // batch_size)


def lr_at(step: int, n_steps: int, training: Training) -> float:
    """Learning rate of step `step` (0-based) of `n_steps`: linear warm-up, then constant or linear to 0."""
    n_warmup = round(training.warmup_fraction * n_steps)
    if step < n_warmup:
        return training.lr * (step + 1) / n_warmup
    if training.schedule == "constant":
        return training.lr
    return training.lr * (n_steps - step) / max(1, n_steps - n_warmup)
