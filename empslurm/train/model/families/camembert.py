"""CamemBERT (Martin et al. 2020): RoBERTa in French. The library `adapters` lacks it."""

from transformers import CamembertConfig, CamembertModel

from empslurm.train.model.blocks import BEFORE_NORM, NO_POOLER, AdapterLayout, Family, embed
from empslurm.train.model.families.bert import blocks

FAMILY = Family(
    config=CamembertConfig,
    model=CamembertModel,
    arguments=NO_POOLER,
    layout=AdapterLayout(
        model_class="CamembertModel",
        prefix="roberta.encoder.layer.{layer}.output.adapters",
        without_library=BEFORE_NORM,
    ),
    embed=embed,
    blocks=blocks,
)
