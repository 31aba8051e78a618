"""BERT (Devlin et al. 2019), and the layers that other families have taken over from it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import BertConfig, BertModel

from empslurm.train.model.blocks import NO_POOLER, AdapterLayout, Block, Family, embed, joined


def blocks(model: Any) -> list[Block]:
    """The layers of a model with BERT's modules."""
    return [_block(layer) for layer in model.encoder.layer]


def feed_forward(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """`Block.feed` of a layer with BERT's modules for it."""
    fed: torch.Tensor = layer.output.dense(layer.intermediate(values))
    return fed


def _block(layer: Any) -> Block:
    own, output = layer.attention.self, layer.attention.output
    return Block(
        query_key_value=joined(own.query, own.key, own.value),
        mixed=output.dense,
        attention_norm=output.LayerNorm,
        feed=partial(feed_forward, layer),
        output_norm=layer.output.LayerNorm,
    )


FAMILY = Family(
    config=BertConfig,
    model=BertModel,
    arguments=NO_POOLER,
    layout=AdapterLayout(model_class="BertAdapterModel"),
    embed=embed,
    blocks=blocks,
)
