"""How similar a text is to the training texts: unit-length, mean-pooled last hidden states of the frozen backbone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm.store.adapter_metadata import Typical
from empslurm.train.data.batch import cut
from empslurm.train.data.task_data import TaskData
from empslurm.train.evaluate import token_batches
from empslurm.train.model.encoder import Below, Encoder

MAX_EXAMPLES = 512  # enough for a mean and a 1st percentile; a pass over them costs a few training steps
TAIL = 0.01  # share of the training examples outside the limits, on each side


def embed(encoder: Encoder, below: Below) -> torch.Tensor:
    """(n_rows, hidden_size): unit-length means over the tokens of the backbone's last hidden state, without adapters.

    `below`: as it is computed for the adapters that are scored on the same batch.
    """
    layout, output, residual = below.layout, below.output, below.residual
    values = encoder.adapted(0, output, residual, (), layout, None)  # (n_tokens, hidden_size) each
    for layer in range(1, len(encoder.blocks)):
        residual = encoder.attend(layer, values, layout, None)
        values = encoder.adapted(layer, encoder.feed(layer, residual), residual, (), layout, None)
    return torch.nn.functional.normalize(below.layout.mean(encoder.last(values.wide)), dim=1)


def typical(encoder: Encoder, data: TaskData, accelerator: Any) -> Typical:
    """Statistics of a task's training examples."""
    train = data.rows["train"]
    chosen = train[np.unique(np.linspace(0, len(train) - 1, MAX_EXAMPLES).round().astype(np.int64))]
    lengths = data.tokens.lengths
    parts = []
    with torch.inference_mode(), accelerator.autocast():
        for batch in token_batches(lengths[chosen]):
            below = encoder.below(cut(data.tokens, chosen[batch], accelerator.device), None)
            parts.append(embed(encoder, below).cpu().numpy())
    points = np.concatenate(parts).astype(np.float64)
    centroid = points.mean(0)
    low_length, high_length = np.quantile(lengths[train], [TAIL, 1 - TAIL])
    return Typical(
        low_length=float(low_length),
        high_length=float(high_length),
        context_share=float(np.mean([bool(data.table.contexts[row]) for row in train])),
        centroid=tuple(float(f"{value:.7g}") for value in centroid),
        low_similarity=float(np.quantile(similarity(points, centroid), TAIL)),
        n_examples=len(chosen),
    )


def similarity(points: NDArray[Any], centroid: NDArray[Any]) -> NDArray[np.float64]:
    """(n_rows,): cosine of unit-length rows (n_rows, hidden_size) to a centroid (hidden_size,)."""
    return np.asarray(points @ centroid / max(1e-12, float(np.linalg.norm(centroid))), np.float64)
