"""XLM-R: RoBERTa's layers with a vocabulary for a hundred languages."""

from empslurm.backbones.families.facts import ABSOLUTE, ROBERTA, FamilyFacts, after_padding

FACTS = FamilyFacts(source="Conneau et al. (2020)", keys=ROBERTA, others=ABSOLUTE, max_tokens=after_padding)
