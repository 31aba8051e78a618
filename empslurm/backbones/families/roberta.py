"""RoBERTa: BERT's layers; positions are counted from behind the padding token's."""

from empslurm.backbones.families.facts import ABSOLUTE, ROBERTA, FamilyFacts, after_padding

FACTS = FamilyFacts(source="Liu et al. (2019)", keys=ROBERTA, others=ABSOLUTE, max_tokens=after_padding)
