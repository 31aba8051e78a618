"""RoBERTa (Liu et al. 2019): BERT's layers; positions are counted from behind the padding token's id."""

from transformers import RobertaConfig, RobertaModel

from empslurm.train.model.blocks import NO_POOLER, AdapterLayout, Family, embed
from empslurm.train.model.families.bert import blocks

FAMILY = Family(
    config=RobertaConfig,
    model=RobertaModel,
    arguments=NO_POOLER,
    layout=AdapterLayout(model_class="RobertaAdapterModel"),
    embed=embed,
    blocks=blocks,
)
