"""Task embeddings: the diagonal of the Fisher information of a trained adapter model, component by component.

Vu et al. (2020), "Exploring and predicting transferability across NLP tasks", section 3.2; per example, since the
square of a batch's mean gradient is another thing. Two kinds: `empirical` takes the labels of the data, `sampled` draws
them from the model. Components, per layer: the weights of the adapter's down and up projections, and the outputs of
attention and feed-forward. An output's Fisher information is that of a bias added to it: its gradient, summed over the
example's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from empslurm.errors import DamagedError
from empslurm.train.data import TaskData
from empslurm.train.evaluate import token_batches
from empslurm.train.order import stream

Kind = Literal["empirical", "sampled"]
KINDS: tuple[Kind, ...] = ("empirical", "sampled")
TOKENS_PER_BATCH = 2_048  # gradients of every token are held at once

# A module's name in the library's model -> its component, {0} the layer.
COMPONENTS = (
    (r"\.layer\.(\d+)\.output\.adapters\.\w+\.adapter_down\.0$", "layer_{0}.adapter_down"),
    (r"\.layer\.(\d+)\.output\.adapters\.\w+\.adapter_up$", "layer_{0}.adapter_up"),
    (r"\.layer\.(\d+)\.attention\.output$", "layer_{0}.attention_output"),
    (r"\.layer\.(\d+)\.output$", "layer_{0}.feed_forward_output"),
)


def load(model: Any, task: str, folder: Path) -> None:
    """Put a finished baseline's adapter and head into the bare backbone. Raises DamagedError."""
    try:
        model.load_adapter(str(folder), load_as=task, with_head=True, use_safetensors=True, set_active=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(
            f"{folder} must hold a baseline's adapter with its head, but does not load: {error}"
        ) from error
    model.requires_grad_(False)


def components(model: Any) -> dict[str, nn.Module]:
    """The modules whose information is taken, by component, in the model's order."""
    found = {}
    for name, module in model.named_modules():
        for pattern, component in COMPONENTS:
            match = re.search(pattern, name)
            if match:
                found[component.format(match.group(1))] = module
    return found


class Recorder:
    """Sums over examples of squared per-example gradients, from hooks on the components."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.sums: dict[str, torch.Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Add to `sums` during each backward pass of forward passes made in here."""
        handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def forward(module: nn.Module, given: tuple[torch.Tensor, ...], made: Any) -> None:
            output = made[0] if isinstance(made, tuple) else made
            output.register_hook(lambda gradient: self._add(name, module, given[0].detach(), gradient))

        return forward

    def _add(self, name: str, module: nn.Module, given: torch.Tensor, gradient: torch.Tensor) -> None:
        """given: (n_examples, n_tokens, n_in). gradient: (n_examples, n_tokens, n_out)."""
        bias = gradient.sum(1)  # (n_examples, n_out)
        parts = [bias.square().sum(0)]
        if isinstance(module, nn.Linear):
            weight = torch.einsum("bto,bti->boi", gradient, given)  # one matrix per example
            parts = [weight.square().sum(0).reshape(-1), *parts]
        added = torch.cat(parts).double()
        self.sums[name] = self.sums[name] + added if name in self.sums else added


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
    model: Any, data: TaskData, rows: NDArray[np.int64], *, kind: Kind, seed: int, n_draws: int, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Component -> mean over examples (and draws) of the squared gradient of log p(y|x), (n_parameters,).

    A weight's entries stand row by row (n_out, n_in), its bias after them.
    """
    model.eval()
    classification = data.task.kind == "classification"
    targets = torch.from_numpy(data.model_targets()).to(device)
    recorder = Recorder(components(model))
    draws = 1 if kind == "empirical" else n_draws
    with recorder.recording(), _gradients_from_the_bottom(model):
        for batch in token_batches(data.tokens.lengths[rows], TOKENS_PER_BATCH):
            part = rows[batch]
            logits = model(**data.tokens.batch(part, device)).logits.float()
            for number in range(draws):
                if kind == "empirical":
                    labels = targets[torch.from_numpy(part).to(device)]
                else:
                    seeds = [stream("fisher", seed, number, data.table.ids[row]) for row in part]
                    labels = draw(logits.detach(), seeds, classification=classification)
                value = log_likelihood(logits, labels, classification=classification)
                value.backward(retain_graph=number + 1 < draws)  # type: ignore[no-untyped-call]
    n = len(rows) * draws
    return {name: (total / n).cpu().numpy().astype(np.float32) for name, total in recorder.sums.items()}


@contextmanager
def _gradients_from_the_bottom(model: Any) -> Iterator[None]:
    """Let gradients reach the first layers though no parameter is free."""
    handle = model.get_input_embeddings().register_forward_hook(lambda _module, _given, made: made.requires_grad_())
    try:
        yield
    finally:
        handle.remove()
