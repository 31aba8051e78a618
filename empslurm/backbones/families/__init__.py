"""The families of encoders: what must be known about each without torch. Their model code is in `train/model/families`.

A further family is a module here, its entry in FAMILIES, and a module there.
"""

from collections.abc import Mapping

from empslurm.backbones.families import (
    bert,
    camembert,
    deberta_v2,
    distilbert,
    electra,
    modernbert,
    mpnet,
    roberta,
    xlm_roberta,
)
from empslurm.backbones.families.facts import FamilyFacts

# By the `model_type` of config.json.
FAMILIES: Mapping[str, FamilyFacts] = {
    "bert": bert.FACTS,
    "roberta": roberta.FACTS,
    "xlm-roberta": xlm_roberta.FACTS,
    "camembert": camembert.FACTS,
    "electra": electra.FACTS,
    "distilbert": distilbert.FACTS,
    "mpnet": mpnet.FACTS,
    "deberta-v2": deberta_v2.FACTS,
    "modernbert": modernbert.FACTS,
}
__all__ = ["FAMILIES", "FamilyFacts"]
