"""MPNet: BERT's layers without segments, with a bias of attention by distance that all layers share."""

from empslurm.backbones.families.facts import LAYERS, NOT_IN_LIBRARY, FamilyFacts, Fixed, Key, TokenId, Values

PADDING = 1  # its positions are counted from here, whatever `pad_token_id` says


def _behind_padding(values: Values) -> int:
    return int(values["max_position_embeddings"] - PADDING - 1)


FACTS = FamilyFacts(
    source="Song et al. (2020)",
    keys={
        **LAYERS,
        "pad_token_id": Key(TokenId, PADDING),
    },
    others={
        "relative_attention_num_buckets": Fixed((32,), "transformers sorts distances into 32, whatever the key says")
    },
    without=NOT_IN_LIBRARY,
    max_tokens=_behind_padding,
)
