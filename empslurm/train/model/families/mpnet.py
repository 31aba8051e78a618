"""MPNet (Song et al. 2020): BERT's layers with a learnt bias per distance, which all layers share.

The library `adapters` lacks it. The bottleneck is where that library puts BERT's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import MPNetConfig, MPNetModel

from empslurm.backbones.families.mpnet import PADDING
from empslurm.train.model.blocks import BEFORE_NORM, NO_POOLER, AdapterLayout, Block, Family, embed, joined
from empslurm.train.model.families.bert import feed_forward
from empslurm.train.model.positions import Positions, RelativeBias


def blocks(model: Any) -> list[Block]:
    """The layers, each with the same bias."""
    encoder = model.encoder
    most = model.config.max_position_embeddings - PADDING - 1
    device = encoder.relative_attention_bias.weight.device
    with torch.no_grad():
        table = encoder.compute_position_bias(torch.zeros(1, most, 1, device=device))[0].float().contiguous()
    return [_block(layer, RelativeBias(table)) for layer in encoder.layer]


def _block(layer: Any, positions: Positions) -> Block:
    own = layer.attention.attn
    return Block(
        query_key_value=joined(own.q, own.k, own.v),
        mixed=own.o,
        attention_norm=layer.attention.LayerNorm,
        feed=partial(feed_forward, layer),
        output_norm=layer.output.LayerNorm,
        positions=positions,
    )


FAMILY = Family(
    config=MPNetConfig,
    model=MPNetModel,
    arguments=NO_POOLER,
    layout=AdapterLayout(model_class="MPNetModel", without_library=BEFORE_NORM),
    embed=embed,
    blocks=blocks,
)
