"""CamemBERT: RoBERTa's layers, trained on French."""

from empslurm.backbones.families.facts import ABSOLUTE, NOT_IN_LIBRARY, ROBERTA, FamilyFacts, after_padding

FACTS = FamilyFacts(
    source="Martin et al. (2020)", keys=ROBERTA, others=ABSOLUTE, without=NOT_IN_LIBRARY, max_tokens=after_padding
)
