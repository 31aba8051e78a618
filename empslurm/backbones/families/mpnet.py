"""MPNet: BERT's layers without segments, with a bias of attention by distance that all layers share."""

from typing import Annotated

from empslurm.backbones.families.facts import LAYERS, NOT_IN_LIBRARY, FamilyFacts, Key, TokenId, Values
from empslurm.validation.constraints import Range

PADDING = 1  # its positions are counted from here, whatever `pad_token_id` says
# Half of the buckets are for each direction, half of these for single distances, up to the largest distance of 128.
Buckets = Annotated[int, Range(low=4, high=510)]


def _behind_padding(values: Values) -> int:
    return int(values["max_position_embeddings"] - PADDING - 1)


FACTS = FamilyFacts(
    source="Song et al. (2020)",
    keys={
        **LAYERS,
        "relative_attention_num_buckets": Key(Buckets, 32),
        "pad_token_id": Key(TokenId, PADDING),
    },
    without=NOT_IN_LIBRARY,
    max_tokens=_behind_padding,
)
