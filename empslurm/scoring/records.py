"""Records as flat columns: what CSV, Parquet and DataFrames share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from empslurm.errors import UsageError
from empslurm.scoring.selection import Group

PLACE = {"file": "string", "row": "int"}
READ = {"n_tokens": "int", "error": "string"}


def check_kept(names: Iterable[str], groups: Sequence[Group]) -> None:
    """Raise UsageError if a kept column has the name of another column of the output."""
    own = {*columns(groups), "measures"}
    for name in names:
        if name in own:
            raise UsageError(
                f"a kept column must have a name that the output does not use, but {name} is there already; rename it "
                "in the input"
            )


def columns(groups: Sequence[Group], kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name -> type (string, int, float, bool) of every column, in order. kept: those of the input.

    Per classification: M (the label), M:p:LABEL (probability), M:sd:LABEL and M:agreement; per regression: M and
    M:spread. M:flags are joined by spaces.
    """
    types = {**PLACE, **(kept or {}), **READ}
    for group in groups:
        name, labels = group.name, group.measure.labels
        if group.measure.kind == "classification":
            types[name] = "string"
            types |= {f"{name}:p:{label}": "float" for label in labels}
            types |= {f"{name}:sd:{label}": "float" for label in labels}
            types[f"{name}:agreement"] = "float"
        else:
            types |= {name: "float", f"{name}:spread": "float"}
        types[f"{name}:flags"] = "string"
    return types


def flatten(record: Mapping[str, Any], groups: Sequence[Group], kept: Iterable[str] = ()) -> dict[str, Any]:
    """A record as the values of `columns`; None where there is nothing."""
    cells: dict[str, Any] = {name: record.get(name) for name in (*PLACE, *kept, *READ)}
    for group in groups:
        name, labels = group.name, group.measure.labels
        scored = (record.get("measures") or {}).get(name) or {}
        if group.measure.kind == "classification":
            cells[name] = scored.get("label")
            probabilities, spread = scored.get("probabilities") or {}, scored.get("spread") or {}
            cells |= {f"{name}:p:{label}": probabilities.get(label) for label in labels}
            cells |= {f"{name}:sd:{label}": spread.get(label) for label in labels}
            cells[f"{name}:agreement"] = scored.get("agreement")
        else:
            cells |= {name: scored.get("value"), f"{name}:spread": scored.get("spread")}
        cells[f"{name}:flags"] = " ".join(scored["flags"]) if scored else None
    return cells
