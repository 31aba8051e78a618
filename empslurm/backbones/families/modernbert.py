"""ModernBERT: rotated positions, gated feed-forward layers, and attention within a window in most layers."""

from typing import Annotated

from empslurm.backbones.families.facts import (
    NOT_IN_LIBRARY,
    SIZES,
    Activation,
    Depth,
    Epsilon,
    FamilyFacts,
    Fixed,
    Key,
    Rate,
    Refused,
    Theta,
    TokenId,
    Values,
)
from empslurm.validation.constraints import Range

Window = Annotated[int, Range(low=2, high=1_000_000)]
_FROM_5 = "transformers 5 wrote it, and 4.57 reads the file without it; write what it says as {} instead"


def _problem(values: Values) -> str:
    width, n_heads = values["hidden_size"], values["num_attention_heads"]
    if width // n_heads % 2:
        return (
            f"hidden_size / num_attention_heads must be even, since positions rotate pairs, but is {width // n_heads}"
        )
    return ""


FACTS = FamilyFacts(
    source="Warner et al. (2024)",
    keys={
        **SIZES,
        "hidden_activation": Key(Activation, "gelu"),
        "norm_eps": Key(Epsilon, 1e-5),
        "norm_bias": Key(bool, False),
        "attention_bias": Key(bool, False),
        "mlp_bias": Key(bool, False),
        "embedding_dropout": Key(Rate, 0.0),
        "attention_dropout": Key(Rate, 0.0),
        "mlp_dropout": Key(Rate, 0.0),
        "global_attn_every_n_layers": Key(Depth, 3),
        "local_attention": Key(Window, 128),
        "global_rope_theta": Key(Theta, 160_000.0),
        "local_rope_theta": Key(Theta | None, 10_000.0),
        "pad_token_id": Key(TokenId | None, 50_283),
    },
    others={
        "rope_theta": Refused("this family has global_rope_theta and local_rope_theta"),
        "rope_scaling": Fixed((None,), "stretched positions are not in the engine"),
        "rope_parameters": Refused(_FROM_5.format("global_rope_theta and local_rope_theta")),
        "layer_types": Refused(_FROM_5.format("global_attn_every_n_layers")),
    },
    without=NOT_IN_LIBRARY,
    problem=_problem,
)
