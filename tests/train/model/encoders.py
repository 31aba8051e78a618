"""Small random encoders of every family, and plain transformers with the bottleneck written out, to compare with."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from empslurm.backbones.families import FAMILIES
from empslurm.train.data.batch import Batch
from empslurm.train.model.bottleneck import ACTIVATIONS
from empslurm.train.model.dropout import KeyedDropout, MaskBox
from empslurm.train.model.families import family

VOCABULARY = 200
LONGEST = 40


def _bert_like(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice((1, 2, 4))
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * rng.choice((8, 12)),
        "num_hidden_layers": rng.choice((2, 3)),
        "num_attention_heads": heads,
        "intermediate_size": rng.choice((20, 48)),
        "hidden_act": rng.choice(("gelu", "relu", "silu")),
        "max_position_embeddings": LONGEST + 2,
        "initializer_range": 0.2,
    }


def _typed(rng: random.Random) -> dict[str, Any]:
    return {**_bert_like(rng), "type_vocab_size": rng.choice((1, 2))}


def _electra(rng: random.Random) -> dict[str, Any]:
    return {**_typed(rng), "embedding_size": rng.choice((8, 16, 24))}


def _distilbert(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice((1, 2, 4))
    return {
        "vocab_size": VOCABULARY,
        "dim": heads * 8,
        "hidden_dim": 40,
        "n_layers": 2,
        "n_heads": heads,
        "max_position_embeddings": LONGEST,
        "activation": rng.choice(("gelu", "relu")),
        "initializer_range": 0.2,
        "sinusoidal_pos_embds": rng.choice((False, True)),
    }


def _mpnet(rng: random.Random) -> dict[str, Any]:
    return {**_bert_like(rng), "relative_attention_num_buckets": 32}


def _deberta(rng: random.Random) -> dict[str, Any]:
    return {
        **_typed(rng),
        "type_vocab_size": rng.choice((0, 2)),
        "relative_attention": True,
        "max_relative_positions": rng.choice((-1, 6, 64)),
        "position_buckets": rng.choice((-1, 4, 16)),
        "pos_att_type": rng.choice((["p2c", "c2p"], ["c2p"], ["p2c"])),
        "share_att_key": rng.choice((False, True)),
        "norm_rel_ebd": rng.choice(("none", "layer_norm")),
        "position_biased_input": rng.choice((False, True)),
        "pad_token_id": 0,
    }


def _modernbert(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice((1, 2, 4))
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * 8,
        "num_hidden_layers": 4,
        "num_attention_heads": heads,
        "intermediate_size": 24,
        "max_position_embeddings": LONGEST,
        "local_attention": rng.choice((4, 8, 128)),
        "global_attn_every_n_layers": rng.choice((1, 2, 3)),
        "norm_bias": rng.choice((False, True)),
        "attention_bias": rng.choice((False, True)),
        "mlp_bias": rng.choice((False, True)),
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "reference_compile": False,
    }


CONFIGS: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "bert": _typed,
    "roberta": _typed,
    "xlm-roberta": _bert_like,
    "camembert": _bert_like,
    "electra": _electra,
    "distilbert": _distilbert,
    "mpnet": _mpnet,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
}
assert set(CONFIGS) == set(FAMILIES)


def random_encoder(model_type: str, seed: int, **changes: Any) -> Any:
    """A random encoder of a random small shape, in eval mode, without any dropout."""
    known, values = family(model_type), CONFIGS[model_type](random.Random(f"{model_type} {seed}"))
    config = known.config(**{**values, **dict.fromkeys(known.rates, 0.0), **changes})
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = known.model(config, **known.arguments)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name.lower():
                value += 0.1 * torch.randn(value.shape)
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class Written:
    """A bottleneck as the definition has it: one per layer, trainable."""

    down: nn.Linear
    up: nn.Linear
    non_linearity: str

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.up(ACTIVATIONS[self.non_linearity](self.down(values)))
        return added


class AdaptedNorm(nn.Module):
    """The norm of a layer's sum, with adapters before it: each reads the norm of the sum so far and adds to it."""

    def __init__(self, norm: nn.Module, adapters: list[Written]) -> None:
        super().__init__()
        self.norm, self.adapters = norm, adapters

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for adapter in self.adapters:
            values = values + adapter(self.norm(values))
        normed: torch.Tensor = self.norm(values)
        return normed


# Where the norm after the feed-forward block is, by family; None: there is none (pre-norm).
OUTPUT_NORM: Mapping[str, str | None] = {
    **dict.fromkeys(FAMILIES, "output.LayerNorm"),
    "distilbert": "output_layer_norm",
    "modernbert": None,
}


def layers_of(model: Any) -> Any:
    """The layers of a plain model."""
    holder = getattr(model, "encoder", None) or getattr(model, "transformer", None)
    return model.layers if holder is None else holder.layer


def write_out(model: Any, stacks: list[list[Written]]) -> None:
    """Put adapters into a plain model: `stacks[layer]`, from the bottom to the top of each stack."""
    where = OUTPUT_NORM[model.config.model_type]
    for layer, adapters in zip(layers_of(model), stacks, strict=True):
        if where is None:
            layer.register_forward_hook(lambda _module, _given, output, adapters=adapters: _added(output, adapters))
            continue
        *path, last = where.split(".")
        holder = layer.get_submodule(".".join(path))
        setattr(holder, last, AdaptedNorm(getattr(holder, last), adapters))


def _added(output: Any, adapters: list[Written]) -> Any:
    """A layer's output with what the adapters add: the values, or with transformers 4 a tuple that begins with them."""
    values = output[0] if isinstance(output, tuple) else output
    for adapter in adapters:
        values = values + adapter(values)
    return (values, *output[1:]) if isinstance(output, tuple) else values


# Places of dropout in transformers, and ours. What is not here has none in the engine.
PLACES = (
    (r"embeddings\.(dropout|drop)$", "embeddings.dropout", 0),
    (r"layers?\.(\d+)\.attention\.(self|attn)\.dropout$", "layer.{0}.attention.self.dropout", 1),
    (r"transformer\.layer\.(\d+)\.attention\.dropout$", "layer.{0}.attention.self.dropout", 1),
    (r"encoder\.layer\.(\d+)\.attention\.(output\.)?dropout$", "layer.{0}.attention.output.dropout", 0),
    (r"layers\.(\d+)\.attn\.out_drop$", "layer.{0}.attention.output.dropout", 0),
    (r"layer\.(\d+)\.(output|ffn)\.dropout$", "layer.{0}.output.dropout", 0),
)


def weights_are_dropped_by_a_module(model_type: str) -> bool:
    """Whether plain transformers calls a module for the dropout of attention weights, so that it can be replaced."""
    called = (
        {"mpnet", "deberta-v2"} if int(transformers.__version__.split(".")[0]) > 4 else {*FAMILIES} - {"modernbert"}
    )
    return model_type in called


def key_dropout(model: Any, hidden: float, weights: float) -> MaskBox:
    """Replace the dropout of a plain model by keyed dropout at the engine's places."""
    box, rates = MaskBox(), (hidden, weights)
    if model.config.model_type == "modernbert":  # its places differ, see the family's module
        for index, layer in enumerate(model.layers):
            layer.attn.out_drop = nn.Dropout(0.0)
            layer.mlp = nn.Sequential(layer.mlp, KeyedDropout(f"layer.{index}.output.dropout", hidden, box))
    for name, module in list(model.named_modules()):
        for child, dropout in list(module.named_children()):
            if isinstance(dropout, nn.Dropout):
                path = f"{name}.{child}"
                found = next(
                    ((match, site, rates[at]) for pattern, site, at in PLACES if (match := re.search(pattern, path))),
                    None,
                )
                keyed = (
                    nn.Identity() if found is None else KeyedDropout(found[1].format(*found[0].groups()), found[2], box)
                )
                vars(keyed)["p"] = 0.0  # read where weights are not dropped by a module
                setattr(module, child, keyed.train())
    return box


def batch(model: Any, *, padded: bool, pairs: bool, seed: int = 0, rows: int = 5, length: int = 17) -> Batch:
    """Random texts for an encoder; `pairs`: the second half of each text is a second segment."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, VOCABULARY, (rows, length))
    real = np.ones_like(ids, dtype=bool)
    if padded:
        for row, kept in enumerate(rng.integers(4, length, rows - 1)):
            real[row, kept:] = False
    ids[~real] = model.config.pad_token_id or 0
    inputs = {"input_ids": ids}
    if padded:
        inputs["attention_mask"] = real.astype(np.int64)
    if pairs:
        inputs["token_type_ids"] = (real & (np.arange(length) >= length // 2)).astype(np.int64)
    return Batch.of(inputs, real, torch.device("cpu"))


def plain_inputs(model: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """The arguments of the plain model: token types only where it has two."""
    wanted = getattr(model.config, "type_vocab_size", 0) > 1
    return {name: value for name, value in batch.inputs.items() if wanted or name != "token_type_ids"}
