"""A frozen BERT or RoBERTa encoder, called layer by layer, so that cells can share what lies below their adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from empslurm.train.dropout import Masks

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Below:
    """What is the same for every cell of a pack: the first layer up to where its adapter begins.

    residual: (n_rows, length, hidden), after attention. output: the same shape, after the feed-forward block.
    bias: (n_rows, 1, 1, length), added to attention scores; None where the batch has no padding.
    """

    residual: torch.Tensor
    output: torch.Tensor
    bias: torch.Tensor | None


class Encoder:
    """The frozen part. Its dropout is keyed; the library's own dropout stays off, the model is always in eval mode."""

    def __init__(self, model: Any, *, dropout: float, attention_dropout: float, bf16: bool = False) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config, self.layers = model.config, list(model.encoder.layer)
        self.dropout, self.attention_dropout = dropout, attention_dropout
        if bf16:  # autocast would convert these weights again at every step: they need no gradient, so it keeps no copy
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)

    def below(self, inputs: Inputs, masks: Masks | None) -> Below:
        """Embeddings, and the first layer without its adapter; nothing here is trained, so no graph is kept."""
        with torch.no_grad():
            values = self.model.embeddings(inputs["input_ids"], token_type_ids=inputs.get("token_type_ids"))
            values = self.drop(values, "embeddings.dropout", self.dropout, masks)
            bias, seen = None, inputs.get("attention_mask")
            if seen is not None:
                bias = torch.zeros(seen.shape, device=values.device)
                bias = bias.masked_fill_(seen == 0, torch.finfo(torch.float32).min)[:, None, None, :]
            residual = self.attend(0, values, bias, masks)
            return Below(residual=residual, output=self.feed(0, residual, masks), bias=bias)

    def attend(self, place: int, values: torch.Tensor, bias: torch.Tensor | None, masks: Masks | None) -> torch.Tensor:
        """The attention block of layer `place`, its residual and norm included.

        values: (n_cells * n_rows, length, hidden).

        Fused attention draws its own mask, which cells could not share; so where attention weights are dropped the
        scores are written out, and everywhere else (rate 0, evaluation) the fused kernel is used.
        """
        block = self.layers[place].attention
        query, key, value = (
            self._heads(projection(values)) for projection in (block.self.query, block.self.key, block.self.value)
        )
        if masks is not None and self.attention_dropout > 0:
            scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
            weights = functional.softmax(scores if bias is None else scores + bias, dim=-1)
            weights = self.drop(weights, f"layer.{place}.attention.self.dropout", self.attention_dropout, masks)
            mixed = torch.matmul(weights.to(value.dtype), value)
        else:
            bias = None if bias is None else bias.to(query.dtype)
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).reshape(values.shape)
        output = self.drop(block.output.dense(mixed), f"layer.{place}.attention.output.dropout", self.dropout, masks)
        normed: torch.Tensor = block.output.LayerNorm(output + values)
        return normed

    def _heads(self, values: torch.Tensor) -> torch.Tensor:
        """(n, length, hidden) -> (n, n_heads, length, hidden / n_heads)."""
        return values.view(*values.shape[:2], self.config.num_attention_heads, -1).transpose(1, 2)

    def feed(self, place: int, values: torch.Tensor, masks: Masks | None) -> torch.Tensor:
        """The feed-forward block of layer `place`, without residual and norm: there the adapters sit."""
        layer = self.layers[place]
        output = layer.output.dense(layer.intermediate(values))
        return self.drop(output, f"layer.{place}.output.dropout", self.dropout, masks)

    def norm(self, place: int, values: torch.Tensor) -> torch.Tensor:
        """The layer norm after the feed-forward block of layer `place`."""
        normed: torch.Tensor = self.layers[place].output.LayerNorm(values)
        return normed

    @staticmethod
    def drop(values: torch.Tensor, site: str, rate: float, masks: Masks | None) -> torch.Tensor:
        """Keyed dropout; values: (n_cells * n_rows, ...), the mask of the rows serves every cell."""
        if masks is None or rate == 0.0:
            return values
        mask = masks(site, (masks.n_rows, *values.shape[1:]), rate, values.dtype)
        if len(values) == masks.n_rows:
            return values * mask
        return (values.view(-1, *mask.shape) * mask).view(values.shape)
