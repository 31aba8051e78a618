"""ModernBERT (Warner et al. 2024): pre-norm layers, rotary positions, a window in most layers, a gated feed-forward.

The library `adapters` lacks it. The bottleneck is where that library puts those of its pre-norm families: it reads the
sum after the feed-forward block, without a norm, and what it adds goes into that sum. Dropout is where most families
have it: after the embeddings, after attention's matrix, after the feed-forward block; the released models have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import ModernBertConfig, ModernBertModel

from empslurm.train.model.blocks import AFTER_LAYER, AdapterLayout, Block, Family
from empslurm.train.model.positions import Positions, Rotary

FULL, NEAR = "full_attention", "sliding_attention"  # the names of transformers 5


def embed(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    values: torch.Tensor = model.embeddings.norm(model.embeddings.tok_embeddings(inputs["input_ids"]))
    return values


def blocks(model: Any) -> list[Block]:
    config, device = model.config, model.final_norm.weight.device
    width, windows = config.hidden_size // config.num_attention_heads, {FULL: None, NEAR: config.local_attention // 2}
    rotary = {kind: Rotary(theta, width, windows[kind], device) for kind, theta in _thetas(config).items()}
    return [_block(layer, rotary[kind]) for layer, kind in zip(model.layers, _kinds(config), strict=True)]


def _kinds(config: Any) -> list[str]:
    """Each layer's reach: NEAR or FULL."""
    if hasattr(config, "layer_types"):  # transformers 5
        return list(config.layer_types)
    every = config.global_attn_every_n_layers
    return [NEAR if index % every else FULL for index in range(config.num_hidden_layers)]


def _thetas(config: Any) -> dict[str, float]:
    """The base of the wave lengths by a layer's reach."""
    if hasattr(config, "rope_parameters"):  # transformers 5
        return {kind: config.rope_parameters[kind]["rope_theta"] for kind in (FULL, NEAR)}
    return {FULL: config.global_rope_theta, NEAR: config.local_rope_theta or config.global_rope_theta}


def _block(layer: Any, positions: Positions) -> Block:
    def feed(values: torch.Tensor) -> torch.Tensor:
        fed: torch.Tensor = layer.mlp(layer.mlp_norm(values))
        return fed

    return Block(
        query_key_value=layer.attn.Wqkv,
        mixed=layer.attn.Wo,
        attention_reads=layer.attn_norm,
        feed=feed,
        positions=positions,
    )


def last_norm(model: Any) -> nn.Module:
    norm: nn.Module = model.final_norm
    return norm


FAMILY = Family(
    config=ModernBertConfig,
    model=ModernBertModel,
    layout=AdapterLayout(
        model_class="ModernBertModel",
        prefix="modernbert.layers.{layer}.output.adapters",
        without_library=AFTER_LAYER,
    ),
    embed=embed,
    blocks=blocks,
    last_norm=last_norm,
    rates=("mlp_dropout", "attention_dropout"),
)
