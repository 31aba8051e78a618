"""Records as flat columns: what CSV, Parquet and DataFrames share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from empslurm.scoring.choose import Group

HEAD = {"file": "string", "row": "int", "n_tokens": "int", "error": "string"}


def columns(groups: Sequence[Group]) -> dict[str, str]:
    """Name -> type (string, int, float) of every column, in order.

    Per classification: M (the label), M:p:LABEL (probability), M:sd:LABEL and M:agreement; per regression: M and
    M:spread. M:flags are joined by spaces.
    """
    made = dict(HEAD)
    for group in groups:
        name, labels = group.name, group.measure.labels
        if group.measure.kind == "classification":
            made[name] = "string"
            made |= {f"{name}:p:{label}": "float" for label in labels}
            made |= {f"{name}:sd:{label}": "float" for label in labels}
            made[f"{name}:agreement"] = "float"
        else:
            made |= {name: "float", f"{name}:spread": "float"}
        made[f"{name}:flags"] = "string"
    return made


def flatten(record: Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """A record as the values of `columns`; None where there is nothing."""
    made: dict[str, Any] = {name: record.get(name) for name in HEAD}
    for group in groups:
        name, labels = group.name, group.measure.labels
        scored = (record.get("measures") or {}).get(name) or {}
        if group.measure.kind == "classification":
            made[name] = scored.get("label")
            probabilities, spread = scored.get("probabilities") or {}, scored.get("spread") or {}
            made |= {f"{name}:p:{label}": probabilities.get(label) for label in labels}
            made |= {f"{name}:sd:{label}": spread.get(label) for label in labels}
            made[f"{name}:agreement"] = scored.get("agreement")
        else:
            made |= {name: scored.get("value"), f"{name}:spread": scored.get("spread")}
        made[f"{name}:flags"] = " ".join(scored["flags"]) if scored else None
    return made
