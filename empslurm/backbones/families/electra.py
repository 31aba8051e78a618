"""ELECTRA: BERT's layers behind embeddings that may be narrower."""

from empslurm.backbones.families.facts import ABSOLUTE, BERT, FamilyFacts, Key, Width

FACTS = FamilyFacts(source="Clark et al. (2020)", keys={**BERT, "embedding_size": Key(Width)}, others=ABSOLUTE)
