"""Load a frozen backbone from local files."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, BertConfig
from transformers.utils import logging as transformers_logging

from empslurm.backbones import resolve
from empslurm.config import Backbone, Training
from empslurm.errors import BackboneError

FAMILIES = ("bert", "roberta")


def quiet() -> None:
    """Silence the libraries' messages: our own messages and the provenance have what a user must know."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|adapters|huggingface_hub).*")


def _path(backbone: Backbone) -> Path:
    resolved = resolve(backbone)
    if resolved.path is None:
        raise BackboneError(resolved.problem)
    return resolved.path


def load_encoder(backbone: Backbone) -> Any:
    """The plain encoder, without pooler, head or adapters. Raises BackboneError."""
    quiet()
    if backbone.name == "tiny":
        return _tiny()
    path = _path(backbone)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        if config.model_type in FAMILIES:
            return AutoModel.from_pretrained(
                path, config=config, local_files_only=True, use_safetensors=True, add_pooling_layer=False
            )
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"backbone {backbone.name} must load as an encoder of the families {', '.join(FAMILIES)}, but does "
            f"not: {str(error).splitlines()[0]}; save it again by `save_pretrained`"
        ) from error
    raise BackboneError(
        f"backbone {backbone.name} must be of the families {', '.join(FAMILIES)}, but is {config.model_type}; name "
        "another backbone in the manifest"
    )


def load_model(backbone: Backbone, training: Training) -> Any:
    """The same encoder as a model of the `adapters` library, without adapters or heads, every parameter frozen.

    Only for cells that need that library: importing it takes seconds.
    """
    import adapters

    logging.getLogger("adapters").setLevel(logging.ERROR)
    encoder = load_encoder(backbone)
    attention = "eager" if training.attention_dropout > 0 else "sdpa"  # fused attention would draw its own mask
    encoder.config.hidden_dropout_prob = training.dropout
    encoder.config.attention_probs_dropout_prob = training.attention_dropout
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
        return AutoModel.from_config(config, add_pooling_layer=False)
