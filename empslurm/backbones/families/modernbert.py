"""ModernBERT: rotated positions, gated feed-forward layers, and attention within a window in most layers."""

from collections.abc import Mapping
from typing import Annotated, Any

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
_FROM_5 = "transformers 5 wrote it, and 4.57 reads only what {} can say"
ROPES = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}  # by a layer's reach
FULL, NEAR = ROPES
GLOBAL_THETA = 160_000.0  # the default
_LAYERS = "global_attn_every_n_layers"


def _older(written: Mapping[str, Any]) -> dict[str, Any]:
    """The file with the keys of transformers 5 as those of 4.57, where these can say the same; else they stay."""
    older = dict(written)
    thetas, every = _thetas(older.get("rope_parameters")), _every(older.get("layer_types"), older)
    if thetas and all(older.get(key, theta) == theta for key, theta in thetas.items()):
        older.update(thetas)
        del older["rope_parameters"]
    if every and older.get(_LAYERS, every) == every:
        older[_LAYERS] = every
        del older["layer_types"]
    if older.get("local_rope_theta", 0) is None:  # the same as in other layers
        older["local_rope_theta"] = older.get("global_rope_theta", GLOBAL_THETA)
    return older


def _thetas(ropes: Any) -> dict[str, Any]:
    """The old keys for `rope_parameters`; empty where they cannot say it."""
    if not isinstance(ropes, dict) or set(ropes) != set(ROPES):
        return {}
    if any(not isinstance(rope, dict) or set(rope) != {"rope_type", "rope_theta"} for rope in ropes.values()):
        return {}
    if any(rope["rope_type"] != "default" or type(rope["rope_theta"]) not in (int, float) for rope in ropes.values()):
        return {}
    return {key: ropes[reach]["rope_theta"] for reach, key in ROPES.items()}


def _every(reaches: Any, written: Mapping[str, Any]) -> int:
    """Each how many layers attention is not within a window, from `layer_types`; 0 where that is not regular."""
    if not isinstance(reaches, list) or not reaches or len(reaches) != written.get("num_hidden_layers"):
        return 0
    every = reaches.index(FULL, 1) if FULL in reaches[1:] else written.get(_LAYERS, len(reaches))
    if type(every) is not int or every < 1:
        return 0
    return every if reaches == [NEAR if index % every else FULL for index in range(len(reaches))] else 0


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
        _LAYERS: Key(Depth, 3),
        "local_attention": Key(Window, 128),
        "global_rope_theta": Key(Theta, GLOBAL_THETA),
        "local_rope_theta": Key(Theta, 10_000.0),
        "pad_token_id": Key(TokenId | None, 50_283),
    },
    others={
        "rope_theta": Refused("this family has global_rope_theta and local_rope_theta"),
        "rope_scaling": Fixed((None,), "stretched positions are not in the engine"),
        "rope_parameters": Refused(_FROM_5.format("global_rope_theta and local_rope_theta")),
        "layer_types": Refused(_FROM_5.format(_LAYERS)),
    },
    without=NOT_IN_LIBRARY,
    problem=_problem,
    rewrite=_older,
)
