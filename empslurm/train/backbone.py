"""Load a frozen backbone and its tokenizer from local files."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import adapters
import torch
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from empslurm.backbones import resolve
from empslurm.config import Backbone, Training
from empslurm.errors import BackboneError

FAMILIES = ("bert", "roberta")


def quiet() -> None:
    """Silence the libraries' chatter: what a user must know is in our own sentences and in provenance."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|adapters|huggingface_hub).*")


def _path(backbone: Backbone) -> Path:
    resolved = resolve(backbone)
    if resolved.path is None:
        raise BackboneError(resolved.problem)
    return resolved.path


def load_tokenizer(backbone: Backbone) -> PreTrainedTokenizerBase:
    """The backbone's fast tokenizer, from local files only."""
    tokenizer = AutoTokenizer.from_pretrained(_path(backbone), use_fast=True, local_files_only=True)
    tokenizer.model_max_length = 10**9  # lengths are cut by our own rule, so the library's warning would be noise
    return tokenizer


def load_model(backbone: Backbone, training: Training) -> Any:
    """An AutoAdapterModel without adapters or heads, every parameter frozen. Raises BackboneError."""
    quiet()
    dropout = {"hidden_dropout_prob": training.dropout, "attention_probs_dropout_prob": training.attention_dropout}
    if backbone.name == "tiny":
        model = _tiny(dropout)
    else:
        path = _path(backbone)
        try:
            model = adapters.AutoAdapterModel.from_pretrained(
                path, local_files_only=True, use_safetensors=True, attn_implementation="sdpa", **dropout
            )
        except (OSError, ValueError) as error:
            raise BackboneError(
                f"backbone {backbone.name} must load as an encoder of the families {', '.join(FAMILIES)}, but does "
                f"not: {str(error).splitlines()[0]}"
            ) from error
    if model.config.model_type not in FAMILIES:
        raise BackboneError(
            f"backbone {backbone.name} must be of the families {', '.join(FAMILIES)}, but is {model.config.model_type}"
        )
    model.requires_grad_(False)
    return model


def _tiny(dropout: dict[str, float]) -> Any:
    """A two-layer BERT with random weights that are always the same: for tests, learns little, runs at once."""
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        attn_implementation="sdpa",
        **dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240612)
        return adapters.AutoAdapterModel.from_config(config)
