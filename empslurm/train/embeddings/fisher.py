"""Task embeddings: the diagonal of the Fisher information of a trained adapter model, component by component.

Vu et al. (2020), "Exploring and predicting transferability across NLP tasks", section 3.2. Gradients are squared per
example: squaring a batch's mean gradient gives something else. Two kinds: `empirical` takes the labels of the data,
`sampled` draws them from the model. Components, per layer: the weights of a bottleneck's down and up projections, or
whatever else the adapter's kind trains (see WEIGHTS), and the outputs of attention and feed-forward, which all kinds
have. An output's Fisher information is that of a bias added to it: its gradient, summed over the example's tokens.
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
from empslurm.ids import stream
from empslurm.train.data.batch import cut, to_device
from empslurm.train.data.task_data import TaskData
from empslurm.train.evaluate import token_batches

Kind = Literal["empirical", "sampled"]
KINDS: tuple[Kind, ...] = ("empirical", "sampled")
TOKENS_PER_BATCH = 2_048  # limits memory: the gradients of every token are held at once

# A module's name in the library's model, and its component; {0} is the layer.
OUTPUTS = (
    (r"\.layer\.(\d+)\.attention\.output$", "layer_{0}.attention_output"),
    (r"\.layer\.(\d+)\.output$", "layer_{0}.feed_forward_output"),
)
# The same for projections: their inputs and output gradients give the per-example gradients of a whole batch.
PROJECTIONS = (
    (r"\.layer\.(\d+)\.output\.adapters\.\w+\.adapter_down\.0$", "layer_{0}.adapter_down"),
    (r"\.layer\.(\d+)\.output\.adapters\.\w+\.adapter_up$", "layer_{0}.adapter_up"),
    (r"\.layer\.(\d+)\.attention\.output\.adapters\.\w+\.adapter_down\.0$", "layer_{0}.attention_adapter_down"),
    (r"\.layer\.(\d+)\.attention\.output\.adapters\.\w+\.adapter_up$", "layer_{0}.attention_adapter_up"),
)
# A parameter's name, and its component, for kinds whose weights are no projections: one example per backward pass.
WEIGHTS = (
    (r"\.layer\.(\d+)\..*\.loras\.", "layer_{0}.lora"),
    (r"\.layer\.(\d+)\..*\.adapters\.", "layer_{0}.compacter"),
    (r"\.shared_parameters\.", "compacter_shared"),
    (r"\.prefix_tunings\.", "prefix"),
    (r"\.prompt_tunings\.", "prompt"),
)


def load(model: Any, task: str, folder: Path) -> None:
    """Put a finished baseline's adapter and head into the bare backbone. Raises DamagedError."""
    try:
        model.load_adapter(str(folder), load_as=task, with_head=True, use_safetensors=True, set_active=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(
            f"{folder} must hold a baseline's adapter with its head, but does not load: {error}; move its cell's "
            "folder away and submit again"
        ) from error
    model.requires_grad_(False)


def _component(name: str, patterns: Sequence[tuple[str, str]]) -> str | None:
    """The component of a module or parameter, or None."""
    matches = ((re.search(pattern, name), component) for pattern, component in patterns)
    return next((component.format(*match.groups()) for match, component in matches if match), None)


def components(model: Any) -> dict[str, nn.Module]:
    """The modules whose information is computed, by component, in the model's order."""
    modules = {}
    for name, module in model.named_modules():
        component = _component(name, (*OUTPUTS, *PROJECTIONS) if isinstance(module, nn.Linear) else OUTPUTS)
        if component is not None:
            modules[component] = module
    return modules


def other_weights(model: Any) -> dict[str, list[nn.Parameter]]:
    """The adapter's parameters outside projections, by component, in the model's order."""
    projected = {id(weight) for module in components(model).values() for weight in _projection(module)}
    weights: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        component = _component(name, WEIGHTS)
        if component is not None and id(parameter) not in projected:
            weights.setdefault(component, []).append(parameter)
    return weights


def _projection(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters()) if isinstance(module, nn.Linear) else []


class Recorder:
    """Sums over examples of squared per-example gradients, from hooks on the components.

    `weights`: parameters whose own gradients are read, so that each backward pass must have one example.
    """

    def __init__(self, modules: dict[str, nn.Module], weights: dict[str, list[nn.Parameter]]) -> None:
        self.modules, self.weights = modules, weights
        self.sums: dict[str, torch.Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Add to `sums` in the backward passes of all forward passes inside this block."""
        handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()]
        self._free(True)
        try:
            yield
        finally:
            self._free(False)
            for handle in handles:
                handle.remove()

    def _free(self, free: bool) -> None:
        for parameters in self.weights.values():
            for parameter in parameters:
                parameter.requires_grad_(free)

    def take_weights(self) -> None:
        """Add the gradients that a backward pass left in `weights`."""
        for name, parameters in self.weights.items():
            gradients = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters]
            self._sum(name, torch.cat([gradient.square().reshape(-1) for gradient in gradients]))
            for parameter in parameters:
                parameter.grad = None

    def _hook(self, name: str) -> Callable[..., None]:
        def forward(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: Any) -> None:
            output = outputs[0] if isinstance(outputs, tuple) else outputs
            output.register_hook(lambda gradient: self._add(name, module, inputs[0].detach(), gradient))

        return forward

    def _add(self, name: str, module: nn.Module, inputs: torch.Tensor, gradient: torch.Tensor) -> None:
        """inputs: (n_examples, n_tokens, n_in). gradient: (n_examples, n_tokens, n_out)."""
        bias = gradient.sum(1)  # (n_examples, n_out)
        parts = [bias.square().sum(0)]
        if isinstance(module, nn.Linear):
            weight = torch.einsum("bto,bti->boi", gradient, inputs)  # one matrix per example
            parts = [weight.square().sum(0).reshape(-1), *parts]
        self._sum(name, torch.cat(parts))

    def _sum(self, name: str, added: torch.Tensor) -> None:
        added = added.double()
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

    A projection's entries are in row order (n_out, n_in), followed by its bias; other weights in the model's order.
    """
    model.eval()
    classification = data.task.kind == "classification"
    targets = torch.from_numpy(data.model_targets()).to(device)
    recorder = Recorder(components(model), other_weights(model))
    n_tokens = 1 if recorder.weights else TOKENS_PER_BATCH  # 1: every example is a batch of its own
    draws = 1 if kind == "empirical" else n_draws
    with recorder.recording(), _gradients_from_the_bottom(model):
        for batch in token_batches(data.tokens.lengths[rows], n_tokens):
            part = rows[batch]
            logits = model(**cut(data.tokens, part, device).inputs).logits.float()
            for number in range(draws):
                if kind == "empirical":
                    labels = targets[to_device(part, device)]
                else:
                    seeds = [stream("fisher", seed, number, data.table.ids[row]) for row in part]
                    labels = draw(logits.detach(), seeds, classification=classification)
                value = log_likelihood(logits, labels, classification=classification)
                value.backward(retain_graph=number + 1 < draws)  # type: ignore[no-untyped-call]  # torch gives it no types
                recorder.take_weights()
    n = len(rows) * draws
    return {name: (total / n).cpu().numpy().astype(np.float32) for name, total in recorder.sums.items()}


@contextmanager
def _gradients_from_the_bottom(model: Any) -> Iterator[None]:
    """Let gradients reach the first layers although every parameter is frozen."""
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _module, _given, embedded: embedded.requires_grad_()
    )
    try:
        yield
    finally:
        handle.remove()
