"""DeBERTa, versions 2 and 3: attention to content and to relative position, by separate products."""

from typing import Annotated, Any, Literal

from empslurm.backbones.families.facts import (
    LAYERS,
    LEFT_OUT,
    Distance,
    Epsilon,
    FamilyFacts,
    Fixed,
    Key,
    TokenId,
    Values,
    Width,
)
from empslurm.validation.constraints import Listed, Range

Segments = Annotated[int, Range(low=0, high=1_000)]
Parts = Annotated[tuple[Literal["c2p", "p2c"], ...], Listed(at_least=1)]


def _parts(value: Any) -> Any:
    """Published files have `p2c|c2p`; a list is what transformers writes."""
    return [part.strip() for part in value.lower().split("|")] if isinstance(value, str) else value


def _problem(values: Values) -> str:
    if not values["relative_attention"]:
        return "relative_attention must be true, as in every published model and in the engine, but is false"
    width, n_heads, n_buckets = values["hidden_size"], values["num_attention_heads"], values["position_buckets"]
    if values.get("embedding_size", width) != width:
        return f"embedding_size must be hidden_size, {width}, but is {values['embedding_size']}"
    if values.get("attention_head_size", width // n_heads) != width // n_heads:
        return (
            f"attention_head_size must be hidden_size / num_attention_heads, {width // n_heads}, but is "
            f"{values['attention_head_size']}"
        )
    distance = values["max_relative_positions"]
    farthest = distance if distance > 0 else values["max_position_embeddings"]
    if n_buckets > 0 and not (n_buckets >= 2 and n_buckets // 2 < farthest - 1):
        return (
            f"position_buckets must be -1, or at least 2 and its half below the largest distance, {farthest - 1}, but "
            f"is {n_buckets}"
        )
    return ""


# A model without a position table reads any length; max_position_embeddings is then what it was trained on.
FACTS = FamilyFacts(
    source="He et al. (2021)",
    keys={
        **LAYERS,
        "layer_norm_eps": Key(Epsilon, 1e-7),
        "type_vocab_size": Key(Segments, 0),
        "pad_token_id": Key(TokenId, 0),
        "relative_attention": Key(bool, False),
        "pos_att_type": Key(Parts, rewrite=_parts),
        "position_buckets": Key(Distance, -1),
        "max_relative_positions": Key(Distance, -1),
        "position_biased_input": Key(bool, True),
        "share_att_key": Key(bool, False),
        "norm_rel_ebd": Key(Literal["none", "layer_norm"], "none"),
        "embedding_size": Key(Width, LEFT_OUT),
        "attention_head_size": Key(Width, LEFT_OUT),
    },
    others={
        "conv_kernel_size": Fixed(
            (0, None), "a convolution over neighbouring tokens, as in deberta-v2-xlarge, is not in the engine"
        )
    },
    without={"prompt_tuning": "in the library `adapters` a text's prediction would depend on the padding of its batch"},
    problem=_problem,
)
