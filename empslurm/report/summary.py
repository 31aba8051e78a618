"""The summary of a gather, saved next to its files: where no input changed, it is read back instead of recomputed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import empslurm
from empslurm import files, ids
from empslurm.errors import StoreError
from empslurm.gather import Gathered
from empslurm.reference import Rating
from empslurm.report.answer import Answer
from empslurm.report.formats import Table
from empslurm.report.pooling_tables import Contribution, Disagreement, PooledChange
from empslurm.report.settings_compared import PairOverSettings
from empslurm.validation import decode

NAME = "summary.json"
CODE = ("analysis", "gather", "reference", "report", "metrics.py")  # the code that decides a table's numbers


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that the terminal and `--json` show of a gather."""

    inputs: str  # digest of everything that the files depend on
    opening: tuple[str, ...]  # sentences about all settings together; `headline` starts with them too
    over_settings: tuple[PairOverSettings, ...]  # all pairs over all settings; empty without settings
    answers: tuple[Answer, ...]
    headline: tuple[str, ...]
    judged: bool  # whether any target has both a baseline and a transfer
    lacking: Mapping[str, str]  # what could not be computed, and why
    tables: tuple[Table, ...]  # for a terminal, on request
    too_large: tuple[str, ...]  # names of the other such tables, which are too large for a terminal
    contents: tuple[Mapping[str, str], ...]  # every table: name, number, title, caption, details
    files: tuple[str, ...]  # relative to the folder
    report: str
    pooled: tuple[PooledChange, ...] = ()  # of several labs
    labs: tuple[Contribution, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()  # runs on which labs disagree


@cache
def _code() -> str:
    """Digest of the code that makes tables: after a change of it they are made again."""
    digest = hashlib.sha256()
    for name in CODE:
        path = Path(empslurm.__file__).parent / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".py", ".csv", ".css", ".js"):
                digest.update(file.read_bytes())
    return digest.hexdigest()


def inputs_digest(gathered: Gathered, ratings: Sequence[Rating], *, grouped: bool, margin: float | None = None) -> str:
    """Digest of everything that the files depend on: results, ratings, options and code."""
    import pandas as pd

    digest = hashlib.sha256(_code().encode())
    for group in gathered.groups:
        digest.update(ids.canonical_json([group.name, group.setting, group.notes]).encode())
        digest.update(pd.util.hash_pandas_object(group.runs, index=False).to_numpy().tobytes())
    for lab in gathered.labs:
        counts = [lab.n_runs, lab.n_copies, lab.n_repeated, lab.n_disagreeing]
        digest.update(ids.canonical_json([lab.name, lab.kind, lab.group.setting, *counts]).encode())
        digest.update(pd.util.hash_pandas_object(lab.group.runs, index=False).to_numpy().tobytes())
    missing = [asdict(cell) for cell in gathered.missing]
    rest = [gathered.name, gathered.n_planned, missing, [repr(rating) for rating in ratings], grouped]
    rest += [repr(gathered.spent), repr(margin), repr(gathered.told), repr(gathered.remarks)]
    digest.update(ids.canonical_json(rest).encode())
    return digest.hexdigest()


def save(summary: Summary, folder: Path) -> None:
    """Write a summary next to its files."""
    files.write_json(folder / NAME, {**asdict(summary), "tables": [_plain(table) for table in summary.tables]})


def _plain(table: Table) -> dict[str, Any]:
    """A table as JSON: NaN and infinity are null."""
    rows = [[{**asdict(entry), "raw": _finite(entry.raw)} for entry in row] for row in table.rows]
    return {**asdict(table), "rows": rows, "origin": []}


def _finite(raw: object) -> object:
    return None if isinstance(raw, float) and not math.isfinite(raw) else raw


def load(folder: Path, inputs: str) -> Summary | None:
    """The saved summary, if its inputs are the same and all its files exist; else None."""
    try:
        summary: Summary = decode.load(folder / NAME, Summary)
    except (FileNotFoundError, StoreError):
        return None
    there = summary.inputs == inputs and all((folder / name).is_file() for name in summary.files)
    return summary if there else None
