"""DeBERTa, versions 2 and 3 (He et al. 2021, 2023): BERT's layers with disentangled attention.

The embeddings of distances are frozen and the same for all texts, so each layer projects them once. They get no
dropout, since all examples would share one mask; in `transformers` they do.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import DebertaV2Config, DebertaV2Model
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from empslurm.train.model.blocks import AdapterLayout, Block, Family, embed, in_heads, joined, linear
from empslurm.train.model.families.bert import feed_forward
from empslurm.train.model.positions import ABSOLUTE, Disentangled, Positions


def blocks(model: Any) -> list[Block]:
    """The layers, each with its own projections of the distances."""
    return [_block(layer, _positions(layer.attention.self, model)) for layer in model.encoder.layer]


def _positions(attention: Any, model: Any) -> Positions:
    kinds = attention.pos_att_type if attention.relative_attention else ()
    if not kinds:
        return ABSOLUTE
    own = attention.share_att_key
    most, span = model.config.max_position_embeddings, attention.pos_ebd_size
    with torch.no_grad():
        distances = model.encoder.get_rel_embedding()[: 2 * span]
        steps = torch.arange(1 - most, most, device=distances.device)
        if attention.position_buckets > 0 and attention.max_relative_positions > 0:
            steps = make_log_bucket_position(steps, attention.position_buckets, attention.max_relative_positions)
        keys, queries = None, None
        if "c2p" in kinds:
            keys = linear(attention.key_proj if own else attention.pos_key_proj, distances)
        if "p2c" in kinds:
            queries = linear(attention.query_proj if own else attention.pos_query_proj, distances)
        keys, queries = (
            None if each is None else in_heads(each, attention.num_attention_heads) for each in (keys, queries)
        )
    return Disentangled(keys, queries, steps.long())


def _block(layer: Any, positions: Positions) -> Block:
    own, output = layer.attention.self, layer.attention.output
    return Block(
        query_key_value=joined(own.query_proj, own.key_proj, own.value_proj),
        mixed=output.dense,
        attention_norm=output.LayerNorm,
        feed=partial(feed_forward, layer),
        output_norm=layer.output.LayerNorm,
        positions=positions,
    )


FAMILY = Family(
    config=DebertaV2Config,
    model=DebertaV2Model,
    layout=AdapterLayout(model_class="DebertaV2AdapterModel", prefix="deberta.encoder.layer.{layer}.output.adapters"),
    embed=embed,
    blocks=blocks,
)
