"""BERT, and what has its layers: MiniLM, BERTweet's and most sentence encoders' students."""

from empslurm.backbones.families.facts import ABSOLUTE, BERT, FamilyFacts

FACTS = FamilyFacts(source="Devlin et al. (2019)", keys=BERT, others=ABSOLUTE)
