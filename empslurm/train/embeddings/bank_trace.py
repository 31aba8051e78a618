"""Trace a bottleneck adapter for its Fisher information, on our own encoder: no padding, and no other library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from empslurm.train.data.batch import Batch
from empslurm.train.embeddings.fisher import Step, Trace
from empslurm.train.model.adapter_bank import Bank
from empslurm.train.model.bottleneck import ACTIVATIONS, Bottleneck, linear
from empslurm.train.model.dropout import Masks
from empslurm.train.model.encoder import Below, Encoder
from empslurm.train.model.operations import Plain, Values
from empslurm.train.model.padding import Layout

Note = Callable[[str, torch.Tensor, torch.Tensor], None]  # a part, its output and its inputs


class TracedBank:
    """A baseline's adapter with its head, in a bank of one."""

    one_by_one = False

    def __init__(self, model: Any, folder: Path) -> None:
        """`model`: the plain encoder. Raises DamagedError if the folder's adapter does not load."""
        self.encoder = TracedEncoder(model)
        self.bank = Bank.from_folders(self.encoder, [(folder, None)])

    def __call__(self, batch: Batch) -> Trace:
        """As in `Traced`; values are of real tokens only, (n_tokens, width)."""
        below = self.encoder.below(batch, None)
        (logits,) = self.bank.logits(below, slice(0, 1), self.bank.free, None)
        layout, (n_rows, length) = below.layout, batch.shape

        def by_row(values: torch.Tensor) -> torch.Tensor:
            if len(values) == n_rows:  # of the last layer: first tokens only
                return values.detach()[:, None]
            room = values.new_zeros(n_rows * length, values.shape[1])
            return room.index_copy_(0, layout.places, values.detach()).view(n_rows, length, -1)

        return Trace(logits=logits, steps=self.encoder.steps, by_row=by_row)


class TracedEncoder(Encoder):
    """The frozen encoder without dropout; it notes the steps of the last batch, from the first layer's attention up."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, dropout=0.0, attention_dropout=0.0)
        self.operations = Plain()  # fused kernels do not show an adapter's two products
        self.steps: dict[str, Step] = {}

    def below(self, batch: Batch, masks: Masks | None) -> Below:
        """As in `Encoder`, but gradients reach down to what attention gives in the first layer."""
        below = super().below(batch, masks)
        wide = below.residual.wide.requires_grad_()
        residual = Values(wide=wide, narrow=wide)
        self.steps = {_attention(0): Step(output=wide)}
        return Below(residual=residual, output=self.feed(0, residual), layout=below.layout)

    def attend(self, index: int, values: Values, layout: Layout, masks: Masks | None, *, first: bool = False) -> Values:
        """As in `Encoder`."""
        residual = super().attend(index, values, layout, masks, first=first)
        self.steps[_attention(index)] = Step(output=residual.wide)
        return residual

    def adapted(
        self,
        index: int,
        output: torch.Tensor,
        residual: Values,
        adapters: Sequence[Bottleneck],
        layout: Layout,
        masks: Masks | None,
    ) -> Values:
        """As in `Encoder`."""

        def note(part: str, output: torch.Tensor, inputs: torch.Tensor) -> None:
            self.steps[f"layer_{index}.{part}"] = Step(output=output, inputs=inputs.detach())

        (adapter,) = adapters
        traced = TracedBottleneck(**vars(adapter), note=note)
        values = super().adapted(index, output, residual, [traced], layout, masks)
        self.steps[f"layer_{index}.feed_forward_output"] = Step(output=values.wide)
        return values


def _attention(index: int) -> str:
    return f"layer_{index}.attention_output"


@dataclass(frozen=True, kw_only=True)
class TracedBottleneck(Bottleneck):
    """A bottleneck that notes its two projections."""

    note: Note

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """As in `Bottleneck`."""
        down = linear(values, self.down_weight, self.down_bias)
        inside = ACTIVATIONS[self.non_linearity](down)
        up = linear(inside, self.up_weight, self.up_bias)
        self.note("adapter_down", down, values)
        self.note("adapter_up", up, inside)
        return up
