"""How well sources suit targets before training, kept in the runs root: suitability/READING.json, a file per target.

A reading is what was read: a task's training texts, with how they are cut, and the metric of their answers. The values
of a source are those of its cell, so they never change; a larger sample of texts replaces a smaller one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from empslurm import files, ids
from empslurm.cells import CellId
from empslurm.errors import StoreError
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode
from empslurm.validation.constraints import Name, Range

VERSION = 1  # raised when an estimator or the choice of texts changes; older files are then made again


@dataclass(frozen=True, kw_only=True)
class Suitability:
    """The values of some sources for one target."""

    target: Name
    version: Annotated[int, Range(low=1)]
    most: Annotated[int, Range(low=1)]  # texts that were wanted
    n_texts: Annotated[int, Range(low=0)]  # of the training part that were read
    seconds: Annotated[float, Range(low=0)]  # that reading and estimating took
    values: Mapping[CellId, Mapping[str, float | None]]  # source's cell -> estimator -> value; None: undefined


def reading(target: str, data: Mapping[str, Any], max_length: int, metric: str) -> str:
    """The name of a reading. `data`: as in a cell's identity; its share of the training part and labels are whole."""
    kept = {name: data[name] for name in ("dataset", "raw", "split", "use")}
    return f"{target}-{ids.digest([kept, max_length, metric], 12)}"


def read(root: RunsRoot, name: str) -> Suitability | None:
    """What is known of one reading; None where nothing is, or nothing that this version can use."""
    try:
        found: Suitability = decode.load(_file(root, name), Suitability)
    except (FileNotFoundError, StoreError):  # a damaged file is made again
        return None
    return found if found.version == VERSION else None


def add(root: RunsRoot, name: str, fresh: Suitability) -> Suitability:
    """Keep values beside those that are there, if they were made from the same texts; return all of them."""
    there = read(root, name)
    if there is not None and (there.most, there.n_texts) == (fresh.most, fresh.n_texts):
        fresh = replace(fresh, values={**there.values, **fresh.values}, seconds=there.seconds + fresh.seconds)
    files.make_folder(root.suitability)
    files.write_json(_file(root, name), asdict(fresh))
    return fresh


def _file(root: RunsRoot, name: str) -> Path:
    return root.suitability / f"{name}.json"
