"""The families of encoders: what must be known about each without torch. Their model code is in `train/model/families`.

A further family is one entry here and one module there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from empslurm.config import ADAPTER_KINDS, BANKED

EVERY_KIND = tuple(ADAPTER_KINDS)


@dataclass(frozen=True, kw_only=True)
class FamilyFacts:
    """What a plan must know about a family. A `_key` names an entry of config.json."""

    source: str  # who proposed it
    adapter_kinds: tuple[str, ...] = EVERY_KIND  # others need the library `adapters`, which lacks some families
    hidden_key: str = "hidden_size"
    layers_key: str = "num_hidden_layers"


# By the `model_type` of config.json.
FAMILIES: Mapping[str, FamilyFacts] = {
    "bert": FamilyFacts(source="Devlin et al. (2019)"),
    "roberta": FamilyFacts(source="Liu et al. (2019)"),
    "xlm-roberta": FamilyFacts(source="Conneau et al. (2020)"),
    "camembert": FamilyFacts(source="Martin et al. (2020)", adapter_kinds=BANKED),
    "electra": FamilyFacts(source="Clark et al. (2020)"),
    "distilbert": FamilyFacts(source="Sanh et al. (2019)", hidden_key="dim", layers_key="n_layers"),
    "mpnet": FamilyFacts(source="Song et al. (2020)", adapter_kinds=BANKED),
    "deberta-v2": FamilyFacts(source="He et al. (2021)"),  # versions 2 and 3
    "modernbert": FamilyFacts(source="Warner et al. (2024)", adapter_kinds=BANKED),
}
