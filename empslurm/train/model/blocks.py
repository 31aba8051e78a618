"""What the engine must know of a family of encoders: how its embeddings and its layers are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from empslurm.train.model.positions import ABSOLUTE, Positions

NO_NORM = nn.Identity()


@dataclass(frozen=True, kw_only=True)
class Block:
    """One frozen layer: attention and feed-forward, each added to what it read.

    Most families norm the sums (`attention_norm`, `output_norm`). Pre-norm families norm what the blocks read instead
    (`attention_reads`, and inside `feed`); their sums stay as they are.
    """

    query_key_value: nn.Linear  # one matrix (3 * hidden, hidden)
    mixed: nn.Linear  # the matrix after attention
    feed: Callable[[torch.Tensor], torch.Tensor]  # (n, hidden) -> (n, hidden)
    attention_norm: nn.Module = NO_NORM
    output_norm: nn.Module = NO_NORM
    attention_reads: nn.Module = NO_NORM
    positions: Positions = ABSOLUTE
    dropped_mixed: bool = True  # whether dropout follows `mixed`


@dataclass(frozen=True, kw_only=True)
class PlainUse:
    """Lines of Python that put a function `bottleneck` into a `layer` of plain transformers."""

    layers: str  # of `model`
    hook: tuple[str, ...]


# Before the norm of a layer's sum; after a layer without one.
BEFORE_NORM = PlainUse(
    layers="model.encoder.layer",
    hook=(
        "layer.output.LayerNorm.register_forward_pre_hook(",
        "    lambda m, x: x[0] + bottleneck(F.layer_norm(x[0], m.normalized_shape, m.weight, m.bias, m.eps)))",
    ),
)
AFTER_LAYER = PlainUse(
    layers="model.layers",
    hook=(
        "def hook(_, given, out):  # a tuple in transformers 4",
        "    if isinstance(out, tuple):",
        "        return (out[0] + bottleneck(out[0]), *out[1:])",
        "    return out + bottleneck(out)",
        "layer.register_forward_hook(hook)",
    ),
)


@dataclass(frozen=True, kw_only=True)
class AdapterLayout:
    """How adapters of the family are named on disk."""

    model_class: str  # the class that holds them
    prefix: str = "{model_type}.encoder.layer.{layer}.output.adapters"
    without_library: PlainUse | None = None  # where the library `adapters` (1.3) lacks the family

    @property
    def in_library(self) -> bool:
        """Whether the library `adapters` can load them."""
        return self.without_library is None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family's classes of `transformers`, and how the engine calls its parts.

    `embed(model, inputs)`: (n_rows, longest) ids to values (n_rows, longest, width), without dropout.
    """

    config: type[Any]
    model: type[Any]
    layout: AdapterLayout
    blocks: Callable[[Any], Sequence[Block]]
    embed: Callable[[Any, Mapping[str, torch.Tensor]], torch.Tensor]
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the model's class
    projected: Callable[[Any], nn.Module] = lambda model: NO_NORM  # between the embeddings' dropout and the layers
    last_norm: Callable[[Any], nn.Module] = lambda model: NO_NORM  # after the last layer
    rates: tuple[str, str] = ("hidden_dropout_prob", "attention_probs_dropout_prob")  # in the model's configuration


NO_POOLER = {"add_pooling_layer": False}


def embed(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """`Family.embed` of most families: by the model's own module, with token types where it knows two."""
    known = getattr(model.config, "type_vocab_size", 0) > 1
    arguments = {"token_type_ids": inputs["token_type_ids"]} if known and "token_type_ids" in inputs else {}
    values: torch.Tensor = model.embeddings(inputs["input_ids"], **arguments)
    return values


def joined(query: nn.Linear, key: nn.Linear, value: nn.Linear) -> nn.Linear:
    """One matrix for the three; their own weights become views of it, so that memory holds them once."""
    parts = (query, key, value)
    weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
    bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
    matrix = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    matrix.weight, matrix.bias = weight, bias
    for part, rows, values in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight, part.bias = (nn.Parameter(each, requires_grad=False) for each in (rows, values))
    return matrix


def in_heads(values: torch.Tensor, n_heads: int) -> torch.Tensor:
    """(n, n_heads * width) -> (n_heads, n, width)."""
    return values.view(len(values), n_heads, -1).transpose(0, 1)


def linear(layer: nn.Linear, values: torch.Tensor) -> torch.Tensor:
    """A layer's product in float32, whatever the type of its weights."""
    return functional.linear(values.float(), layer.weight.float(), None if layer.bias is None else layer.bias.float())
