"""ELECTRA (Clark et al. 2020): BERT's layers; embeddings may be narrower, and are then projected."""

from typing import Any

from torch import nn
from transformers import ElectraConfig, ElectraModel

from empslurm.train.model.blocks import NO_NORM, AdapterLayout, Family, embed
from empslurm.train.model.families.bert import blocks


def projected(model: Any) -> nn.Module:
    """The projection of the embeddings to the layers' width."""
    found: nn.Module = getattr(model, "embeddings_project", NO_NORM)
    return found


FAMILY = Family(
    config=ElectraConfig,
    model=ElectraModel,
    layout=AdapterLayout(model_class="ElectraAdapterModel"),
    embed=embed,
    projected=projected,
    blocks=blocks,
)
