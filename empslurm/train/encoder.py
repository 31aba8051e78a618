"""A frozen BERT or RoBERTa encoder, called layer by layer, so that cells can share what lies below their adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from empslurm.train.batch import Batch
from empslurm.train.dropout import Masks, Sites
from empslurm.train.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Below:
    """What is the same for every cell of a pack: the first layer up to where its adapter begins.

    residual: (n_tokens, hidden), after attention. output: the same shape, after the feed-forward block.
    """

    residual: torch.Tensor
    output: torch.Tensor
    layout: Layout


class Encoder:
    """The frozen part. Its dropout is keyed; the library's own dropout stays off, the model is always in eval mode.

    Values are those of real tokens, (n_cells * n_tokens, hidden), cell by cell; only attention sees padding.
    """

    def __init__(self, model: Any, *, dropout: float, attention_dropout: float, bf16: bool = False) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config, self.layers = model.config, list(model.encoder.layer)
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.bf16 = bf16
        if bf16:  # autocast would convert these weights again at every step: they need no gradient, so it keeps no copy
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)
        self._projections = [_joined(layer.attention.self) for layer in self.layers]
        self.sites = self._sites()

    def _sites(self) -> tuple[Sites, ...]:
        """Where masks of one shape are needed at every step: of hidden values, of attention weights, in the heads."""
        layers = [f"layer.{place}" for place in range(len(self.layers))]
        hidden = [f"{layer}.{part}.dropout" for layer in layers for part in ("attention.output", "output")]
        weights = [f"{layer}.attention.self.dropout" for layer in layers]
        device = next(self.model.parameters()).device
        return tuple(Sites.of(names, device) for names in (hidden, weights, ("head.0", "head.3")))

    def cast(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights in the precision of the products: each once, where autocast would convert layer by layer."""
        return {name: value.to(torch.bfloat16) if self.bf16 else value for name, value in weights.items()}

    def below(self, batch: Batch, masks: Masks | None) -> Below:
        """Embeddings, and the first layer without its adapter; nothing here is trained, so no graph is kept."""
        layout = Layout(batch=batch, n_heads=self.config.num_attention_heads)
        with torch.no_grad():
            padded = self.model.embeddings(batch.inputs["input_ids"], token_type_ids=batch.inputs.get("token_type_ids"))
            values = padded[batch.rows, batch.positions]
            values = self.drop(values, "embeddings.dropout", self.dropout, masks, layout)
            residual = self.attend(0, values, layout, masks)
            return Below(residual=residual, output=self.feed(0, residual, layout, masks), layout=layout)

    def attend(self, place: int, values: torch.Tensor, layout: Layout, masks: Masks | None) -> torch.Tensor:
        """The attention block of layer `place`, its residual and norm included.

        Fused attention draws its own mask, which cells could not share; so where attention weights are dropped the
        scores are written out, and everywhere else (rate 0, evaluation) the fused kernel is used.
        """
        block = self.layers[place].attention
        query, key, value = layout.spread(functional.linear(values, *self._projections[place]))
        bias = layout.bias
        if masks is not None and self.attention_dropout > 0:
            weights = functional.softmax(_scores(query, key, bias), dim=-1)
            weights = self.drop(weights, f"layer.{place}.attention.self.dropout", self.attention_dropout, masks)
            mixed = torch.matmul(weights.to(value.dtype), value)
        else:
            bias = None if bias is None else bias.to(query.dtype)
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        output = block.output.dense(layout.collect(mixed))
        output = self.drop(output, f"layer.{place}.attention.output.dropout", self.dropout, masks, layout)
        normed: torch.Tensor = block.output.LayerNorm(output + values)
        return normed

    def feed(self, place: int, values: torch.Tensor, layout: Layout, masks: Masks | None) -> torch.Tensor:
        """The feed-forward block of layer `place`, without residual and norm: there the adapters sit."""
        layer = self.layers[place]
        output = layer.output.dense(layer.intermediate(values))
        return self.drop(output, f"layer.{place}.output.dropout", self.dropout, masks, layout)

    def norm(self, place: int, values: torch.Tensor) -> torch.Tensor:
        """The layer norm after the feed-forward block of layer `place`."""
        normed: torch.Tensor = self.layers[place].output.LayerNorm(values)
        return normed

    @staticmethod
    def drop(
        values: torch.Tensor, site: str, rate: float, masks: Masks | None, layout: Layout | None = None
    ) -> torch.Tensor:
        """Keyed dropout of values (n_cells * n_rows, ...), or by a layout of (n_cells * n_tokens, ...).

        One mask serves every cell.
        """
        if masks is None or rate == 0.0:
            return values
        n_first = masks.n_rows if layout is None else layout.n_tokens
        mask = masks(site, (n_first, *values.shape[1:]), rate, values.dtype, None if layout is None else layout.batch)
        return (values.view(-1, *mask.shape) * mask).view(values.shape)


def _scores(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Scaled products (n, n_heads, length, length), bias added, in one pass: no scaled query to keep for backward.

    query, key: (n, n_heads, length, width). bias: (n, 1, 1, length).
    """
    n, n_heads, length, width = query.shape
    added = query.new_zeros(1) if bias is None else bias.expand(n, n_heads, 1, length).reshape(-1, 1, length)
    made = torch.baddbmm(added, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=width**-0.5)
    return made.view(n, n_heads, length, length)


def _joined(attention: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (3 * hidden, hidden) and bias of query, key and value as one product; the model's own become views."""
    parts = (attention.query, attention.key, attention.value)
    weight = torch.cat([part.weight for part in parts])
    bias = torch.cat([part.bias for part in parts])
    for part, rows, values in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight, part.bias = (nn.Parameter(each, requires_grad=False) for each in (rows, values))
    return weight, bias
