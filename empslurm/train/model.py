"""Put one cell's adapter, head and stack into the backbone, and take them out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from adapters import SeqBnConfig
from adapters.composition import Stack
from torch import nn

from empslurm.config import Adapter
from empslurm.errors import DamagedError
from empslurm.tasks.schema import Task
from empslurm.train.order import stream

SOURCE = "source"  # the name under which a source's adapter is loaded


def adapter_config(adapter: Adapter) -> Any:
    """The library's configuration of an adapter section."""
    return SeqBnConfig(reduction_factor=adapter.reduction_factor, non_linearity=adapter.non_linearity)


def install(model: Any, task: Task, adapter: Adapter, seed: int, source: Path | None, *, tune_source: bool) -> None:
    """Add a new adapter and head named after the task, stacked on `source` when there is one, and free just them.

    Initial weights are a function of (seed, parameter name), so cells that differ in their source start equal.
    """
    model.add_adapter(task.id, config=adapter_config(adapter))
    n_outputs = len(task.labels) if task.kind == "classification" else 1
    model.add_classification_head(task.id, num_labels=n_outputs, id2label=dict(enumerate(task.labels)) or None)
    if source is not None:
        _load_source(model, source)
    model.active_adapters = Stack(SOURCE, task.id) if source is not None else task.id
    model.active_head = task.id
    initialise(model, task.id, seed)
    free = {task.id, SOURCE} if tune_source else {task.id}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(owner(name, task.id) in free)


def _load_source(model: Any, folder: Path) -> None:
    try:
        model.load_adapter(str(folder), load_as=SOURCE, with_head=False, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(f"{folder} must hold a source's adapter, but does not load: {error}") from error


def uninstall(model: Any, task: Task) -> None:
    """Remove what `install` added; the frozen backbone serves the next cell."""
    model.active_adapters = None
    model.active_head = None
    for name in (SOURCE, task.id):
        if name in model.adapters_config:
            model.delete_adapter(name)
    if task.id in model.heads:
        model.delete_head(task.id)


def owner(parameter: str, task: str) -> str | None:
    """Whose parameter it is: the task's (adapter or head), the source adapter's, or the backbone's (None)."""
    parts = parameter.split(".")
    if "adapters" in parts or "heads" in parts:
        for name in (task, SOURCE):
            if name in parts:
                return name
    return None


def initialise(model: Any, task: str, seed: int) -> None:
    """Normal(0, 0.02) matrices and zero biases, each drawn from its own stream."""
    for name, parameter in model.named_parameters():
        if owner(name, task) != task:
            continue
        with torch.no_grad():
            if parameter.dim() < 2:
                nn.init.zeros_(parameter)
            else:
                place = ".".join(part for part in name.split(".") if part != task)
                generator = torch.Generator().manual_seed(stream("init", seed, place))
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)


def free_parameters(model: Any) -> dict[str, nn.Parameter]:
    """What training changes, by name, in the model's own order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save(model: Any, task: Task, folder: Path, *, tuned_source: bool) -> None:
    """The adapter with its head in AdapterHub layout, safetensors; a tuned source beside it."""
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    model.save_adapter(str(folder / "adapter"), task.id, with_head=True, use_safetensors=True)
    if tuned_source:
        (folder / "source_adapter").mkdir(parents=True, exist_ok=True)
        model.save_adapter(str(folder / "source_adapter"), SOURCE, with_head=False, use_safetensors=True)
