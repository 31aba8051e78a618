"""Task embeddings: the diagonal of the Fisher information of a trained adapter model, component by component.

Vu et al. (2020), "Exploring and predicting transferability across NLP tasks", section 3.2. Gradients are squared per
example: squaring a batch's mean gradient gives something else. Two kinds: `empirical` takes the labels of the data,
`sampled` draws them from the model. Components, per layer: the weights of a bottleneck's down and up projections, or
whatever else the adapter's kind trains, and the outputs of attention and feed-forward, which all kinds have. An
output's Fisher information is that of a bias added to it: its gradient, summed over the example's tokens.

`bank_trace` runs bottlenecks on our own encoder, `library_trace` all other kinds by the library `adapters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from empslurm.ids import stream
from empslurm.train.data.batch import Batch, cut, to_device
from empslurm.train.data.task_data import TaskData
from empslurm.train.evaluate import token_batches

Kind = Literal["empirical", "sampled"]
KINDS: tuple[Kind, ...] = ("empirical", "sampled")
TOKENS_PER_BATCH = 2_048  # limits memory: the gradients of every token are held at once


@dataclass(frozen=True, kw_only=True)
class Step:
    """A component in one forward pass: its output and, if it is a projection, its inputs. (..., width) each."""

    output: torch.Tensor
    inputs: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One forward pass. logits: (n_rows, n_outputs).

    `by_row` brings a step's values to (n_rows, n_tokens of a row, width), with zeros where a row has no token.
    `weights`: by component, trained tensors that are no projections; with any, the batch must have one row.
    """

    logits: torch.Tensor
    steps: Mapping[str, Step]
    by_row: Callable[[torch.Tensor], torch.Tensor]
    weights: Mapping[str, Sequence[torch.Tensor]] = field(default_factory=dict)


class Traced(Protocol):
    """A trained model without dropout, from a batch to its trace."""

    one_by_one: bool  # whether each batch must have one row

    def __call__(self, batch: Batch) -> Trace:
        """Run the model; gradients reach every step and weight of the trace."""


def squares(trace: Trace, value: torch.Tensor, *, again: bool) -> dict[str, torch.Tensor]:
    """Component -> sum over rows of the squared gradients of `value`, a sum over rows. (n_parameters,), float64.

    A projection's entries are in row order (n_out, n_in), followed by its bias; other weights in the trace's order.
    `again`: whether another gradient of the same trace follows.
    """
    steps, weights = list(trace.steps.values()), [weight for group in trace.weights.values() for weight in group]
    wanted = [*(step.output for step in steps), *weights]
    gradients = torch.autograd.grad(value, wanted, retain_graph=again, materialize_grads=True)
    sums = {
        name: _step_squares(trace.by_row(gradient), None if step.inputs is None else trace.by_row(step.inputs))
        for (name, step), gradient in zip(trace.steps.items(), gradients[: len(steps)], strict=True)
    }
    rest = iter(gradients[len(steps) :])
    for name, group in trace.weights.items():
        sums[name] = torch.cat([next(rest).square().reshape(-1) for _ in group])
    return {name: total.double() for name, total in sums.items()}


def _step_squares(gradient: torch.Tensor, inputs: torch.Tensor | None) -> torch.Tensor:
    """(n_parameters,). gradient: (n_rows, n_tokens, n_out), of the output. inputs: (n_rows, n_tokens, n_in)."""
    bias = gradient.sum(1).square().sum(0)
    if inputs is None:
        return bias
    weight = torch.bmm(gradient.transpose(1, 2), inputs)  # one matrix per row
    return torch.cat([weight.square().sum(0).reshape(-1), bias])


def log_likelihood(logits: torch.Tensor, targets: torch.Tensor, *, classification: bool) -> torch.Tensor:
    """Summed over examples. logits: (n, n_labels) for label indices, or (n, 1), means of Gaussians of variance 1."""
    if classification:
        return -nn.functional.cross_entropy(logits, targets, reduction="sum")
    return -0.5 * (logits[:, 0] - targets).square().sum()


def draw(logits: torch.Tensor, seeds: Sequence[int], *, classification: bool) -> torch.Tensor:
    """One label per example from the model's own distribution; each example's draw is a function of its seed."""
    numbers = [np.random.Generator(np.random.Philox(seed)) for seed in seeds]
    if classification:
        shares = logits.softmax(1).cumsum(1)
        points = torch.tensor([rng.random() for rng in numbers], dtype=shares.dtype, device=shares.device)
        return (points[:, None] > shares[:, :-1]).sum(1)
    noise = torch.tensor([rng.normal() for rng in numbers], dtype=logits.dtype, device=logits.device)
    return logits[:, 0] + noise


def information(
    traced: Traced,
    data: TaskData,
    rows: NDArray[np.int64],
    *,
    kind: Kind,
    seed: int,
    n_draws: int,
    device: torch.device,
) -> dict[str, NDArray[np.float32]]:
    """Component -> mean over examples (and draws) of the squared gradient of log p(y|x), (n_parameters,).

    Entries are in the order of `squares`.
    """
    classification = data.task.kind == "classification"
    targets = torch.from_numpy(data.model_targets()).to(device)
    draws = 1 if kind == "empirical" else n_draws
    sums: dict[str, torch.Tensor] = {}
    for batch in token_batches(data.tokens.lengths[rows], 1 if traced.one_by_one else TOKENS_PER_BATCH):
        part = rows[batch]
        trace = traced(cut(data.tokens, part, device))
        logits = trace.logits.float()
        for number in range(draws):
            if kind == "empirical":
                labels = targets[to_device(part, device)]
            else:
                seeds = [stream("fisher", seed, number, data.table.ids[row]) for row in part]
                labels = draw(logits.detach(), seeds, classification=classification)
            value = log_likelihood(logits, labels, classification=classification)
            for name, total in squares(trace, value, again=number + 1 < draws).items():
                sums[name] = sums[name] + total if name in sums else total
    n = len(rows) * draws
    return {name: (total / n).cpu().numpy().astype(np.float32) for name, total in sums.items()}
