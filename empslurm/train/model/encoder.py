"""A frozen encoder of any family, called layer by layer, so that cells share the layers below their adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from empslurm.train.data.batch import Batch
from empslurm.train.model.bottleneck import Bottleneck
from empslurm.train.model.dropout import Masks, Sites
from empslurm.train.model.families import family
from empslurm.train.model.operations import Mask, Values, dropped, operations
from empslurm.train.model.padding import Layout


@dataclass(frozen=True, kw_only=True)
class Below:
    """What all cells of a pack share: the first layer up to its adapter.

    residual: (n_tokens, hidden), after attention. output: the same shape, after the feed-forward block.
    """

    residual: Values
    output: torch.Tensor
    layout: Layout


class Encoder:
    """The frozen part. Its dropout is keyed; the library's own dropout stays off (the model is always in eval mode).

    Values are of real tokens only, (n_cells * n_tokens, hidden), cell by cell; only attention sees padding.
    """

    def __init__(self, model: Any, *, dropout: float, attention_dropout: float, bf16: bool = False) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config, self.family = model.config, family(model.config.model_type)
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.bf16 = bf16
        if bf16:  # autocast caches only weights with gradients, so it would convert these again at every step
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)
        self.operations = operations(next(model.parameters()).device, bf16=bf16)
        self.blocks = tuple(self.family.blocks(model))
        self._projected, self._last_norm = self.family.projected(model), self.family.last_norm(model)
        self.sites = self._sites()

    def _sites(self) -> tuple[Sites, ...]:
        """Sites grouped by the shape of their masks: hidden values, those of the last layer, weights, heads."""
        *below, last = (
            [f"layer.{index}.attention.output.dropout"] * block.dropped_mixed + [f"layer.{index}.output.dropout"]
            for index, block in enumerate(self.blocks)
        )
        weights = [f"layer.{index}.attention.self.dropout" for index in range(len(self.blocks))]
        groups = ([name for names in below for name in names], last, weights, ["head.0", "head.3"])
        device = next(self.model.parameters()).device
        return tuple(Sites.of(names, device) for names in groups if names)

    def cast(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Convert weights to the precision of the products once; autocast would do it layer by layer."""
        return {name: value.to(torch.bfloat16) if self.bf16 else value for name, value in weights.items()}

    def below(self, batch: Batch, masks: Masks | None) -> Below:
        """Compute the embeddings and the first layer without its adapter. Nothing here is trained, so no gradients."""
        layout = Layout(batch=batch, n_heads=self.config.num_attention_heads)
        with torch.no_grad():
            values = self.family.embed(self.model, batch.inputs)[batch.rows, batch.positions]
            values = self._projected(self.drop(values, "embeddings.dropout", self.dropout, masks, layout))
            residual = self.attend(0, Values(wide=values, narrow=values), layout, masks)
            output = self.drop(self.feed(0, residual), "layer.0.output.dropout", self.dropout, masks, layout)
            return Below(residual=residual, output=output, layout=layout)

    def attend(self, index: int, values: Values, layout: Layout, masks: Masks | None, *, first: bool = False) -> Values:
        """The attention block of layer `index`, its residual and norm included. `first`: of first tokens only."""
        block, name = self.blocks[index], f"layer.{index}.attention"
        n_rows, length = layout.batch.shape
        weights = (n_rows, layout.n_heads, length, length)
        mask = self._mask(f"{name}.self.dropout", self.attention_dropout, masks, weights)
        projected = block.query_key_value(block.attention_reads(values.narrow))
        mixed, wide = self.operations.attention(projected, layout, mask, block.positions), values.wide
        if first:
            mixed, wide, layout = layout.first(mixed), layout.first(wide), layout.firsts
        output = block.mixed(mixed)
        rate = self.dropout if block.dropped_mixed else 0.0
        mask = self._mask(f"{name}.output.dropout", rate, masks, (layout.n_tokens, output.shape[1]), layout)
        return self.operations.normed(output, wide, block.attention_norm, mask)

    def feed(self, index: int, values: Values) -> torch.Tensor:
        """The feed-forward block of layer `index`, without dropout, residual and the norm after it."""
        return self.blocks[index].feed(values.narrow)

    def last(self, values: torch.Tensor) -> torch.Tensor:
        """What follows the last layer, for any of its values (n, hidden): the norm of pre-norm families."""
        normed: torch.Tensor = self._last_norm(values)
        return normed

    def adapted(
        self,
        index: int,
        output: torch.Tensor,
        residual: Values,
        adapters: Sequence[Bottleneck],
        layout: Layout,
        masks: Masks | None,
    ) -> Values:
        """What follows `feed` in layer `index`: dropout, the stacked adapters, residual and norm."""
        site = f"layer.{index}.output.dropout"
        mask = self._mask(site, self.dropout, masks, (layout.n_tokens, output.shape[1]), layout)
        return self.operations.adapted(output, residual.wide, self.blocks[index].output_norm, adapters, mask)

    @staticmethod
    def _mask(
        site: str, rate: float, masks: Masks | None, shape: tuple[int, ...], layout: Layout | None = None
    ) -> Mask | None:
        if masks is None or rate == 0.0:
            return None
        batch = None if layout is None else layout.batch
        return lambda dtype: masks(site, shape, rate, dtype, batch)

    def drop(
        self, values: torch.Tensor, site: str, rate: float, masks: Masks | None, layout: Layout | None = None
    ) -> torch.Tensor:
        """Keyed dropout of values (n_cells * n_rows, ...), or with a layout (n_cells * n_tokens, ...).

        All cells share one mask.
        """
        if masks is None:
            return values
        n_first = masks.n_rows if layout is None else layout.n_tokens
        mask = self._mask(site, rate, masks, (n_first, *values.shape[1:]), layout)
        return values if mask is None else dropped(values, mask(values.dtype))
