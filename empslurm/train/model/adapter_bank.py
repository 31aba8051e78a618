"""A bank of adapters: K cells' bottleneck adapters and heads as stacked tensors over one frozen encoder.

It knows nothing of training: tensors in, logits out. Every tensor has a leading cell axis, and cells never mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from empslurm.config import Adapter
from empslurm.errors import DamagedError
from empslurm.ids import stream
from empslurm.train.data.batch import Batch
from empslurm.train.model import adapter_files
from empslurm.train.model.adapter_files import DENSE_BIAS, DENSE_WEIGHT, OUTPUT, OUTPUT_BIAS, OUTPUT_WEIGHT, Tensors
from empslurm.train.model.bottleneck import Bottleneck, linear
from empslurm.train.model.dropout import Masks
from empslurm.train.model.encoder import Below, Encoder
from empslurm.train.model.operations import Values

INIT_STD = 0.02  # as in the library


class PackModel(Protocol):
    """What the loop needs of a model that computes logits for K cells at once.

    `free`: the trained tensors, each with a leading cell axis. A library's model is a pack of one: the axis has size 1
    (torch.func.functional_call puts the tensors into the module).
    """

    free: Tensors

    @property
    def n_cells(self) -> int: ...

    recordable: bool  # whether its kernels depend only on the shapes of a batch

    def masks(self, key: int | torch.Tensor, examples: torch.Tensor) -> Masks:
        """The masks of a step; `key` and `examples` as in `Masks`."""

    def below(self, batch: Batch, masks: Masks | None) -> Any:
        """Compute what all cells share of a batch. masks None: no dropout."""

    def logits(
        self, below: Any, cells: slice, free: Mapping[str, torch.Tensor], masks: Masks | None
    ) -> Sequence[torch.Tensor]:
        """Logits of these cells, each (n_rows, n_outputs); `free`: their slices of the free tensors."""

    def keep(self, cells: Sequence[int]) -> None:
        """Drop all cells but these."""

    def save(self, cell: int, name: str, labels: Sequence[str], folder: Path) -> None:
        """Write a cell's adapter with its head, loadable by plain `adapters`, to adapter/ in `folder`."""


@dataclass(frozen=True, kw_only=True)
class CellTensors:
    """One cell of a bank: the new adapter with its head and, for a transfer, the source's adapter below it.

    Tensors are named as in `adapter_files`: `BOTTLENECK` for adapters, `HEAD` for the head.
    """

    new: Tensors
    head: Tensors
    source: Tensors | None = None


class Bank:
    """K cells. Tensors are named level.part: new.down.weight, source.up.bias, and head.* by `HEAD`."""

    recordable = True

    def __init__(
        self, encoder: Encoder, cells: Sequence[CellTensors], adapter: Adapter, *, free: Sequence[str] = ()
    ) -> None:
        """`free`: the levels that are trained. Heads may differ in size: smaller ones are padded, their logits cut."""
        if len({cell.source is None for cell in cells}) > 1:
            raise ValueError("cells of one bank must all have a source or all have none")
        self.encoder, self.adapter = encoder, adapter
        self.levels = ("new",) if cells[0].source is None else ("source", "new")
        self.n_outputs = [len(cell.head[OUTPUT_BIAS]) for cell in cells]
        device = next(encoder.model.parameters()).device
        stacked = {
            name: torch.stack([tensors[name] for tensors in flat]).to(device)
            for flat in [_flat(cells)]
            for name in flat[0]
        }
        self.free = {name: value for name, value in stacked.items() if name.split(".")[0] in free}
        self.fixed = encoder.cast({name: value for name, value in stacked.items() if name not in self.free})

    @classmethod
    def from_folders(cls, encoder: Encoder, folders: Sequence[tuple[Path, Path | None]]) -> Bank:
        """A bank for inference of saved adapters with heads: (adapter, the source's adapter or None) each."""
        cells, kinds = [], []
        for folder, source in folders:
            saved = adapter_files.read_adapter(folder)
            if not saved.head:
                raise DamagedError(f"{folder} must hold an adapter with its head, but has no head; run its cell again")
            below = adapter_files.read_adapter(source) if source is not None else None
            kinds += [saved.adapter] + ([below.adapter] if below else [])
            cells.append(CellTensors(new=saved.tensors, head=saved.head, source=below.tensors if below else None))
        if len(set(kinds)) > 1:
            raise ValueError(f"adapters of one bank must be alike, but are {sorted(map(str, set(kinds)))}")
        return cls(encoder, cells, kinds[0])

    @property
    def n_cells(self) -> int:
        return len(self.n_outputs)

    def masks(self, key: int | torch.Tensor, examples: torch.Tensor) -> Masks:
        """As in `PackModel`, of the encoder and the heads."""
        return Masks(key, examples, self.encoder.sites, self.encoder.operations.factors)

    def below(self, batch: Batch, masks: Masks | None) -> Below:
        """The part of a batch that all cells share."""
        return self.encoder.below(batch, masks)

    def predict(self, batch: Batch) -> list[torch.Tensor]:
        """Logits of every cell, each (n_rows, n_outputs of that cell), without dropout."""
        with torch.inference_mode():
            return self.logits(self.below(batch, None), slice(0, self.n_cells), self.free, None)

    def logits(
        self, below: Below, cells: slice, free: Mapping[str, torch.Tensor], masks: Masks | None
    ) -> list[torch.Tensor]:
        """Logits of the cells, each (n_rows, n_outputs)."""
        weights = self._weights(cells, free)
        first = self._first(below, len(self.n_outputs[cells]), weights, masks)
        return self._heads(first, self.n_outputs[cells], weights, masks)

    def represent(self, batch: Batch) -> torch.Tensor:
        """(n_cells, n_rows, hidden): what each cell's head reads of a batch, without dropout."""
        with torch.inference_mode():
            weights = self._weights(slice(0, self.n_cells), self.free)
            first = self._first(self.below(batch, None), self.n_cells, weights, None)
            return first.view(self.n_cells, -1, first.shape[-1])

    def _weights(self, cells: slice, free: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return {**{name: value[cells] for name, value in self.fixed.items()}, **self.encoder.cast(free)}

    def _first(
        self, below: Below, n_cells: int, weights: Mapping[str, torch.Tensor], masks: Masks | None
    ) -> torch.Tensor:
        """The first tokens' last values (n_cells * n_rows, hidden). Within, they are (n_cells * n_tokens, hidden)."""
        layers = {name: value.unbind(1) for name, value in weights.items() if not name.startswith("head")}
        encoder = self.encoder
        layout = below.layout.of(n_cells)
        residual, output = repeated_values(below.residual, n_cells), repeated(below.output, n_cells)
        values, last = residual, len(encoder.blocks) - 1
        for index in range(last + 1):
            if index > 0:
                residual = encoder.attend(index, values, layout, masks, first=index == last)
                layout = layout.firsts if index == last else layout  # nothing else of the last layer reaches a head
                output = encoder.feed(index, residual)
            adapters = [self._bottleneck(level, index, layers) for level in self.levels]
            values = encoder.adapted(index, output, residual, adapters, layout, None if index == 0 else masks)
        return encoder.last(layout.first(values.wide))

    def _bottleneck(self, level: str, index: int, layers: Mapping[str, Sequence[torch.Tensor]]) -> Bottleneck:
        """The bottleneck of one level and layer."""
        parts = {part.replace(".", "_"): layers[f"{level}.{part}"][index] for part in adapter_files.BOTTLENECK.values()}
        return Bottleneck(**parts, non_linearity=str(self.adapter.non_linearity))

    def _heads(
        self, first: torch.Tensor, n_outputs: Sequence[int], weights: Mapping[str, torch.Tensor], masks: Masks | None
    ) -> list[torch.Tensor]:
        """Each cell's logits from the first token's values (n_cells * n_rows, hidden)."""
        rate = self.encoder.dropout
        values = self.encoder.drop(first, "head.0", rate, masks)
        values = torch.tanh(linear(values, weights[f"head.{DENSE_WEIGHT}"], weights[f"head.{DENSE_BIAS}"]))
        values = self.encoder.drop(values, "head.3", rate, masks)
        values = linear(values, weights[f"head.{OUTPUT_WEIGHT}"], weights[f"head.{OUTPUT_BIAS}"])
        values = values.view(len(n_outputs), -1, values.shape[-1])
        return [logits[:, :size] for logits, size in zip(values, n_outputs, strict=True)]

    def keep(self, cells: Sequence[int]) -> None:
        """Drop all cells but these."""
        index = torch.tensor(cells, dtype=torch.int64)
        for group in (self.free, self.fixed):
            for name, value in group.items():
                group[name] = value.detach()[index.to(value.device)]
        self.n_outputs = [self.n_outputs[cell] for cell in cells]

    def save(self, cell: int, name: str, labels: Sequence[str], folder: Path) -> None:
        """Write the adapter with its head to adapter/, and a tuned source's adapter to source_adapter/."""
        config = self.encoder.config
        everything = {**self.fixed, **self.free}
        level: dict[str, Tensors] = {"new": {}, "source": {}, "head": {}}
        for key, value in everything.items():
            first, part = key.split(".", 1)
            level[first][part] = value[cell]
        size = self.n_outputs[cell]
        head = {part: value[:size] if part in OUTPUT else value for part, value in level["head"].items()}
        adapter_files.write_adapter(folder / "adapter", name, level["new"], self.adapter, config)
        adapter_files.write_head(folder / "adapter", name, labels, head, config)
        if "source.down.weight" in self.free:
            adapter_files.write_adapter(folder / "source_adapter", "source", level["source"], self.adapter, config)


def _flat(cells: Sequence[CellTensors]) -> list[Tensors]:
    """Each cell's tensors by level.part; heads are padded with zeros to the size of the largest."""
    most = max(len(cell.head[OUTPUT_BIAS]) for cell in cells)
    flattened = []
    for cell in cells:
        flat = {f"new.{part}": value for part, value in cell.new.items()}
        flat |= {f"source.{part}": value for part, value in (cell.source or {}).items()}
        for part, value in cell.head.items():
            missing = most - len(value) if part in OUTPUT else 0
            flat[f"head.{part}"] = torch.cat([value, value.new_zeros(missing, *value.shape[1:])])
        flattened.append(flat)
    return flattened


def repeated(values: torch.Tensor, n_cells: int) -> torch.Tensor:
    """(n_tokens, hidden) -> (n_cells * n_tokens, hidden)."""
    return values if n_cells == 1 else values.repeat(n_cells, 1)


def repeated_values(values: Values, n_cells: int) -> Values:
    """`repeated` for both precisions."""
    wide = repeated(values.wide, n_cells)
    return Values(wide=wide, narrow=wide if values.narrow is values.wide else repeated(values.narrow, n_cells))


def initial(encoder: Encoder, adapter: Adapter, n_outputs: int, seed: int) -> CellTensors:
    """A new adapter and head: normal(0, 0.02) matrices and zero biases.

    Each matrix depends on the seed and its place in the model only, so cells that differ in their source start equal.
    """
    hidden, n_layers = encoder.config.hidden_size, len(encoder.blocks)
    inner = max(1, hidden // adapter.reduction_factor)
    new = {
        "down.weight": torch.stack([_normal((inner, hidden), seed, f"layer.{i}.down") for i in range(n_layers)]),
        "down.bias": torch.zeros(n_layers, inner),
        "up.weight": torch.stack([_normal((hidden, inner), seed, f"layer.{i}.up") for i in range(n_layers)]),
        "up.bias": torch.zeros(n_layers, hidden),
    }
    return CellTensors(new=new, head=initial_head(hidden, n_outputs, seed))


def initial_head(hidden: int, n_outputs: int, seed: int) -> Tensors:
    """A new head. It depends on the seed only, so it is the same for every kind of adapter."""
    return {
        DENSE_WEIGHT: _normal((hidden, hidden), seed, "head.1"),
        DENSE_BIAS: torch.zeros(hidden),
        OUTPUT_WEIGHT: _normal((n_outputs, hidden), seed, "head.4"),
        OUTPUT_BIAS: torch.zeros(n_outputs),
    }


def _normal(shape: tuple[int, ...], seed: int, name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(stream("init", seed, name))
    return nn.init.normal_(torch.empty(shape), std=INIT_STD, generator=generator)
