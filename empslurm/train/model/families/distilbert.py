"""DistilBERT (Sanh et al. 2019): BERT's layers under other names, without dropout after attention's matrix."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DistilBertConfig, DistilBertModel

from empslurm.train.model.blocks import AdapterLayout, Block, Family, embed, joined


def blocks(model: Any) -> list[Block]:
    return [_block(layer) for layer in model.transformer.layer]


def _block(layer: Any) -> Block:
    def feed(values: torch.Tensor) -> torch.Tensor:
        fed: torch.Tensor = layer.ffn.lin2(layer.ffn.activation(layer.ffn.lin1(values)))
        return fed

    own = layer.attention
    return Block(
        query_key_value=joined(own.q_lin, own.k_lin, own.v_lin),
        mixed=own.out_lin,
        dropped_mixed=False,
        attention_norm=layer.sa_layer_norm,
        feed=feed,
        output_norm=layer.output_layer_norm,
    )


FAMILY = Family(
    config=DistilBertConfig,
    model=DistilBertModel,
    layout=AdapterLayout(
        model_class="DistilBertAdapterModel", prefix="distilbert.transformer.layer.{layer}.output_adapters.adapters"
    ),
    embed=embed,
    blocks=blocks,
    rates=("dropout", "attention_dropout"),
)
