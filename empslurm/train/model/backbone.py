"""Load a frozen backbone from local files."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import BertConfig, BertModel
from transformers.utils import logging as transformers_logging

from empslurm.backbones import resolve
from empslurm.config import LIBRARY, Backbone, Training, library_problem
from empslurm.errors import BackboneError, UsageError
from empslurm.provenance import installed
from empslurm.train.model.families import family

# StrictDataclassError: the configurations of transformers 5 check their values.
LOADING_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)


def quiet() -> None:
    """Silence the libraries' messages: our own messages and the provenance have what a user must know."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|adapters|huggingface_hub).*")


def load_encoder(backbone: Backbone) -> Any:
    """The plain encoder, without pooler, head or adapters. Raises BackboneError."""
    quiet()
    if backbone.name == "tiny":
        return _tiny()
    resolved = resolve(backbone)
    if resolved.path is None:
        raise BackboneError(resolved.problem)
    known = family(resolved.family)
    try:
        model, loaded = known.model.from_pretrained(
            resolved.path,
            config=known.config(**resolved.values),
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,  # some are stored in half precision
            output_loading_info=True,
            **known.arguments,
        )
    except LOADING_ERRORS as error:
        raise BackboneError(
            f"backbone {backbone.name} must load as an encoder of the family {resolved.family}, but does not: "
            f"{(str(error).strip().splitlines() or [type(error).__name__])[0]}; save it again by `save_pretrained`"
        ) from error
    lacking = sorted(loaded["missing_keys"])
    if lacking:  # the library would draw them at random
        raise BackboneError(
            f"backbone {backbone.name} must hold every weight of its encoder, but lacks {lacking[0]}"
            f"{f' and {len(lacking) - 1:,} more' if len(lacking) > 1 else ''}; save the whole model by "
            "`save_pretrained`"
        )
    return model


def load_model(backbone: Backbone, training: Training) -> Any:
    """The same encoder as a model of the `adapters` library, without adapters or heads, every parameter frozen.

    Only for cells that need that library: importing it takes seconds. Raises UsageError where it is not installed.
    """
    if not installed(LIBRARY):
        raise UsageError(library_problem("this cell's adapter"))
    import adapters

    logging.getLogger("adapters").setLevel(logging.ERROR)
    encoder = load_encoder(backbone)
    known = family(encoder.config.model_type)
    fused = training.attention_dropout == 0 and known.model._supports_sdpa  # else it would draw its own mask
    attention = "sdpa" if fused else "eager"
    for name, rate in zip(known.rates, (training.dropout, training.attention_dropout), strict=True):
        setattr(encoder.config, name, rate)
    model = adapters.AutoAdapterModel.from_config(encoder.config, attn_implementation=attention)
    model.base_model.load_state_dict(encoder.state_dict(), strict=False)  # only the pooler is missing, and it is unused
    model.requires_grad_(False)
    return model


def _tiny() -> Any:
    """A two-layer BERT with fixed random weights, for tests: it learns little but runs at once."""
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240612)
        return BertModel(config, add_pooling_layer=False)
