"""A pack of one cell, run by the `adapters` library itself: every kind of adapter, and stacks of different kinds.

It starts slower than a bank and holds one cell only, but uses the library's own modules; dropout is keyed as in a bank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import adapters
import torch
from adapters.composition import Stack
from adapters.configuration import AdapterConfig
from adapters.loading import AdapterLoader
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch.func import functional_call

from empslurm import files
from empslurm.config import ADAPTER_KINDS, Adapter
from empslurm.errors import DamagedError, StoreError
from empslurm.ids import stream
from empslurm.train.data.batch import Batch
from empslurm.train.model import adapter_files, dropout
from empslurm.train.model.adapter_bank import initial_head
from empslurm.train.model.adapter_files import Tensors
from empslurm.train.model.dropout import Masks

NEW, SOURCE = "new", "source"  # the adapters' names inside the model
LIBRARY_NAMES = {"rank": "r"}  # our name of a field -> the library's, where they differ
# The modules of the library that hold an adapter's tensors under its name.
HOLDERS = {"adapters", "loras", "prefix_tunings", "prompt_tunings", "shared_parameters", "heads"}


def library_config(adapter: Adapter) -> Any:
    """The library's configuration of an adapter section."""
    settings = {LIBRARY_NAMES.get(name, name): value for name, value in adapter.settings.items() if name != "kind"}
    return getattr(adapters, ADAPTER_KINDS[adapter.kind].library)(**settings)


@dataclass(frozen=True, kw_only=True)
class OneBelow:
    """An unchanged batch: with one cell there is nothing to share."""

    batch: Batch
    masks: Masks | None


class LibraryModel:
    """One cell. `free` holds its tensors by the library's names, each with a leading axis of 1."""

    recordable = False  # the library's modules read values on the host, which a CUDA graph does not allow

    def __init__(
        self, model: Any, adapter: Adapter, labels: Sequence[str], seed: int, source: Path | None, *, tune_source: bool
    ) -> None:
        """`model`: an AutoAdapterModel without adapters and heads, used by this cell only; eager attention."""
        if model.adapters_config.adapters:
            raise ValueError("the model must be fresh, but has adapters")
        device = model.device
        self.model, self.adapter, self.labels = model.cpu(), adapter, tuple(labels)
        self._add(seed, source)
        self.box = dropout.install(model)
        model.to(device)
        owners = {NEW, SOURCE} if tune_source else {NEW}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(owner(name) in owners)
        self.free: Tensors = {
            name: parameter.detach()[None] for name, parameter in model.named_parameters() if parameter.requires_grad
        }
        self.tuned = tune_source

    def _add(self, seed: int, source: Path | None) -> None:
        """Add a new adapter and head, initialised from the seed alone, on top of the source's adapter."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream("init", seed, self.adapter.kind))
            self.model.add_adapter(NEW, config=library_config(self.adapter))
        n_outputs = max(1, len(self.labels))
        self.model.add_classification_head(NEW, num_labels=n_outputs, id2label=dict(enumerate(self.labels)) or None)
        self._set_head(initial_head(self.model.config.hidden_size, n_outputs, seed))
        if source is not None:
            load_adapter(self.model, source, SOURCE)
        self.model.active_adapters = Stack(SOURCE, NEW) if source is not None else NEW
        self.model.active_head = NEW

    def _set_head(self, tensors: Tensors) -> None:
        head = dict(self.model.heads[NEW].named_parameters())
        with torch.no_grad():
            for name, value in tensors.items():
                head[name].copy_(value)

    @property
    def n_cells(self) -> int:
        return 1

    def masks(self, key: int | torch.Tensor, examples: torch.Tensor) -> Masks:
        """As in `PackModel`; the library's modules request theirs one by one."""
        return Masks(key, examples)

    def below(self, batch: Batch, masks: Masks | None) -> OneBelow:
        """Compute nothing yet: the library runs the whole model at once."""
        return OneBelow(batch=batch, masks=masks)

    def logits(
        self, below: OneBelow, cells: slice, free: Mapping[str, torch.Tensor], masks: Masks | None
    ) -> list[torch.Tensor]:
        """Logits of the one cell, (n_rows, n_outputs)."""
        self.model.train(masks is not None)
        self.box.masks = masks
        tensors = {name: value[0] for name, value in free.items()}
        return [functional_call(self.model, tensors, kwargs=below.batch.inputs).logits]

    def keep(self, cells: Sequence[int]) -> None:
        """Do nothing: there is one cell, and it stays."""

    def save(self, cell: int, name: str, labels: Sequence[str], folder: Path) -> None:
        """Write the adapter with its head to adapter/, and a tuned source's adapter to source_adapter/."""
        with torch.no_grad():
            parameters = dict(self.model.named_parameters())
            for key, value in self.free.items():
                parameters[key].copy_(value[0])
        save_adapter(self.model, NEW, name, folder / "adapter")
        head = dict(self.model.heads[NEW].named_parameters())
        adapter_files.write_head(folder / "adapter", name, self.labels, head, self.model.config)
        if self.tuned:
            save_adapter(self.model, SOURCE, SOURCE, folder / "source_adapter")


def save_adapter(model: Any, adapter: str, name: str, folder: Path) -> None:
    """Write an adapter of the model under another name, as plain `adapters` reads it.

    The library cannot write prefix_tuning as safetensors, since the prefix's tensors occur once per layer. Here each
    tensor is written once, which is enough to fill all of its places.
    """
    tensors, config = AdapterLoader(model, use_safetensors=True).save_to_state_dict(adapter)
    once = {value.data_ptr(): (key, value) for key, value in reversed(tensors.items())}
    files.write_json(folder / "adapter_config.json", {**config, "name": name})
    adapter_files.write_tensors(
        folder / "adapter.safetensors", {_renamed(key, adapter, name): value for key, value in once.values()}
    )


def load_adapter(model: Any, folder: Path, adapter: str) -> None:
    """Add a saved adapter under this name, with every tensor filled. Raises DamagedError.

    The library's own `load_as` does not load the weights of a renamed prompt_tuning.
    """
    try:
        saved = files.read_object(folder / "adapter_config.json")
        stored = load_tensors(files.read_bytes(folder / "adapter.safetensors", adapter_files.MAX_BYTES))
        model.add_adapter(adapter, config=AdapterConfig.load(saved["config"]))
        wanted, _ = AdapterLoader(model, use_safetensors=True).save_to_state_dict(adapter)
        renamed = {_renamed(key, saved["name"], adapter): value for key, value in stored.items()}
        filled = set()
        for key, value in renamed.items():
            wanted[key].copy_(value)
            filled.add(wanted[key].data_ptr())
        lacking = [key for key, value in wanted.items() if value.data_ptr() not in filled]
        if lacking:
            raise ValueError(f"it lacks {lacking[0]}")
    except (StoreError, OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise DamagedError(
            f"{folder} must hold an adapter of the library, but does not load: {error}; move its cell's folder away "
            "and run the cell again"
        ) from error


def _renamed(key: str, old: str, new: str) -> str:
    """Replace the adapter's name in a tensor's name."""
    parts = key.split(".")
    return ".".join(
        new if part == old and index and parts[index - 1] in HOLDERS else part for index, part in enumerate(parts)
    )


def owner(parameter: str) -> str | None:
    """Which adapter or head a parameter belongs to; None: the backbone."""
    parts = parameter.split(".")
    held = [part for holder, part in pairwise(parts) if holder in HOLDERS]
    return next((name for name in held if name in (NEW, SOURCE)), None)
