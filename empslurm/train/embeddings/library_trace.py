"""Trace a model of the library `adapters` for its Fisher information, for every kind of adapter, by hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from empslurm.errors import DamagedError
from empslurm.train.data.batch import Batch
from empslurm.train.embeddings.fisher import Step, Trace

# A module's name in the library's model, and its component; {0} is the layer. DistilBERT has other names than BERT.
OUTPUTS = (
    (r"\.layer\.(\d+)\.attention(\.output|_adapters)$", "layer_{0}.attention_output"),
    (r"\.layer\.(\d+)\.output(_adapters)?$", "layer_{0}.feed_forward_output"),
)
# The same for projections: their inputs and output gradients give the per-example gradients of a whole batch.
PROJECTIONS = (
    (r"\.layer\.(\d+)\.output(_adapters)?\.adapters\.\w+\.adapter_down\.0$", "layer_{0}.adapter_down"),
    (r"\.layer\.(\d+)\.output(_adapters)?\.adapters\.\w+\.adapter_up$", "layer_{0}.adapter_up"),
    (
        r"\.layer\.(\d+)\.attention(\.output|_adapters)\.adapters\.\w+\.adapter_down\.0$",
        "layer_{0}.attention_adapter_down",
    ),
    (
        r"\.layer\.(\d+)\.attention(\.output|_adapters)\.adapters\.\w+\.adapter_up$",
        "layer_{0}.attention_adapter_up",
    ),
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


class TracedLibrary:
    """A frozen model of the library with one active adapter and head."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.modules, self.weights = components(model), other_weights(model)
        for parameter in (parameter for group in self.weights.values() for parameter in group):
            parameter.requires_grad_(True)
        self.one_by_one = bool(self.weights)

    def __call__(self, batch: Batch) -> Trace:
        """As in `Traced`; values have the batch's padding, where gradients are zero."""
        steps: dict[str, Step] = {}
        with self._hooks(steps):
            logits = self.model(**batch.inputs).logits
        return Trace(logits=logits, steps=steps, by_row=lambda values: values, weights=self.weights)

    @contextmanager
    def _hooks(self, steps: dict[str, Step]) -> Iterator[None]:
        """Note the components' steps, and let gradients reach the first layers although all of it is frozen."""
        handles = [module.register_forward_hook(_note(steps, name)) for name, module in self.modules.items()]
        embeddings = self.model.get_input_embeddings()
        handles += [embeddings.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _note(steps: dict[str, Step], name: str) -> Callable[..., None]:
    def forward(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: Any) -> None:
        output = outputs[0] if isinstance(outputs, tuple) else outputs
        steps[name] = Step(output=output, inputs=inputs[0].detach() if isinstance(module, nn.Linear) else None)

    return forward


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
