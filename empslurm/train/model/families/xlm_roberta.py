"""XLM-R (Conneau et al. 2020): RoBERTa in a hundred languages."""

from transformers import XLMRobertaConfig, XLMRobertaModel

from empslurm.train.model.blocks import NO_POOLER, AdapterLayout, Family, embed
from empslurm.train.model.families.bert import blocks

FAMILY = Family(
    config=XLMRobertaConfig,
    model=XLMRobertaModel,
    arguments=NO_POOLER,
    layout=AdapterLayout(model_class="XLMRobertaAdapterModel", prefix="roberta.encoder.layer.{layer}.output.adapters"),
    embed=embed,
    blocks=blocks,
)
