"""The summary of a gather, saved next to its files: where no input changed, it is read back instead of recomputed."""

from __future__ import annotations

import hashlib
import math
import platform
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import empslurm
from empslurm import files, ids, provenance
from empslurm.errors import StoreError
from empslurm.gather import Gathered
from empslurm.launch.cost import Spent
from empslurm.reference import Rating
from empslurm.report.answer import Answer
from empslurm.report.formats import Table
from empslurm.report.pooling_tables import Contribution, Disagreement, PooledChange
from empslurm.report.settings_compared import PairOverSettings
from empslurm.validation import decode

NAME = "summary.json"
CODE = ("analysis", "gather", "reference", "report", "metrics.py")  # the code that decides a table's numbers
DRAWING = ("matplotlib", "pillow", "fonttools")
ZLIB = "zlib"  # which packs pictures and PDF files
# Packages whose version may change the digits of a table, or the bytes of a figure.
PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "scikit-learn", "krippendorff", "pyarrow", *DRAWING)
# Of the page: the version and the time that wrote it.
MADE_BY = re.compile(rb"<dt>made by</dt><dd>empslurm [\w.+-]+, \d{4}-\d\d-\d\d \d\d:\d\d UTC</dd>")
SHORT = 12  # hex digits that are kept of a seal


@dataclass(frozen=True, kw_only=True)
class StoredRating:
    """One rated aspect of a task; null: an annotator gave no rating."""

    task: str
    aspect: str
    annotators: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the files were made from and with, so that `verify` can make them again and tell what has changed since."""

    grouped: bool
    margin: float | None
    ratings: tuple[StoredRating, ...]
    results: Mapping[str, str]  # cell -> the first digits of its result's seal; empty without a runs root
    leaks: str  # digest of the pairs that leak, by split rule or audit
    suitability: str  # digest of what `suggest` has kept of the pairs
    spent: Spent | None  # time of the study's jobs
    samples: tuple[str, ...]  # digests of the raw data that are the invented sample
    code: str  # digest of the code that decides the numbers
    versions: Mapping[str, str]  # of Python, empslurm and the packages that compute and draw
    summary: str  # digest of all other fields of the summary
    sums: Mapping[str, str]  # file -> its sha256

    def ratings_of(self) -> tuple[Rating, ...]:
        """The ratings as an analysis takes them."""
        return tuple(
            Rating(
                task=item.task,
                aspect=item.aspect,
                annotators=item.annotators,
                values=tuple(math.nan if value is None else value for value in item.values),
            )
            for item in self.ratings
        )


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
    made: Made | None = None  # None: an earlier version wrote it


@cache
def code_digest() -> str:
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

    digest = hashlib.sha256(code_digest().encode())
    for group in gathered.groups:
        digest.update(ids.canonical_json([group.name, group.setting, group.notes]).encode())
        digest.update(pd.util.hash_pandas_object(group.runs, index=False).to_numpy().tobytes())
    for lab in gathered.labs:
        counts = [lab.n_runs, lab.n_copies, lab.n_repeated, lab.n_disagreeing]
        digest.update(ids.canonical_json([lab.name, lab.kind, lab.group.setting, *counts]).encode())
        digest.update(pd.util.hash_pandas_object(lab.group.runs, index=False).to_numpy().tobytes())
    missing = [asdict(cell) for cell in gathered.missing]
    rest = [gathered.name, gathered.n_planned, missing, [repr(rating) for rating in ratings], grouped]
    rest += [repr(gathered.spent), repr(margin), leaks_digest(gathered), suitability_digest(gathered)]
    rest += [repr(gathered.told), repr(gathered.remarks)]
    digest.update(ids.canonical_json(rest).encode())
    return digest.hexdigest()


def leaks_digest(gathered: Gathered) -> str:
    """Digest of the pairs that leak: an audit may have found more since."""
    return ids.digest([[group.name, sorted(map(list, group.leaks.items()))] for group in gathered.groups], SHORT)


def suitability_digest(gathered: Gathered) -> str:
    """Digest of what `suggest` has kept of the pairs: it may have read more since."""
    return ids.digest(
        [
            [group.name, repr(sorted((pair, sorted(values.items())) for pair, values in group.suitability.items()))]
            for group in gathered.groups
        ],
        SHORT,
    )


def _samples(gathered: Gathered) -> tuple[str, ...]:
    """Digests of the raw data of cells that rest on the invented sample."""
    settings = {text for group in gathered.groups for text in group.runs["setting"][group.runs["data"] == "sample"]}
    return tuple(sorted({str(files.parse_json(text.encode())["data"]["raw"]) for text in settings}))


def versions() -> dict[str, str]:
    """The versions that decide the digits of tables and the bytes of figures; a package that is absent is left out."""
    known = {
        "python": platform.python_version(),
        "empslurm": empslurm.__version__,
        ZLIB: zlib.ZLIB_RUNTIME_VERSION,
    }
    return known | {name: found for name in PACKAGES if (found := provenance.version(name)) is not None}


def seals(gathered: Gathered) -> dict[str, str]:
    """Cell -> the first digits of its result's seal; empty for results without seals."""
    return {
        str(cell): str(seal)[:SHORT]
        for group in gathered.groups
        for cell, seal in zip(group.runs["id"], group.runs["seal"], strict=True)
        if isinstance(seal, str)
    }


def with_made(
    summary: Summary,
    folder: Path,
    gathered: Gathered,
    ratings: Sequence[Rating],
    *,
    grouped: bool,
    margin: float | None,
) -> Summary:
    """The summary with what its files, which are in `folder`, were made from and with."""
    made = Made(
        grouped=grouped,
        margin=margin,
        ratings=tuple(
            StoredRating(
                task=rating.task,
                aspect=rating.aspect,
                annotators=tuple(rating.annotators),
                values=tuple(None if value != value else value for value in rating.values),
            )
            for rating in ratings
        ),
        results=seals(gathered),
        leaks=leaks_digest(gathered),
        suitability=suitability_digest(gathered),
        spent=gathered.spent,
        samples=_samples(gathered),
        code=code_digest(),
        versions=versions(),
        summary=digest_of(summary),
        sums={name: sum_of(folder / name) for name in summary.files},
    )
    return replace(summary, made=made)


def sum_of(path: Path) -> str:
    """sha256 of a written file; of a page without the line that says when it was made. Raises OSError."""
    if path.suffix == ".html":
        return files.sha256_bytes(MADE_BY.sub(b"", path.read_bytes(), count=1))
    return files.sha256_file(path)


def digest_of(summary: Summary) -> str:
    """Digest of all that a summary says, without what it was made with."""
    return ids.digest({name: value for name, value in _json(summary).items() if name != "made"})


def save(summary: Summary, folder: Path) -> None:
    """Write a summary next to its files."""
    files.write_json(folder / NAME, _json(summary))


def _json(summary: Summary) -> dict[str, Any]:
    return {**asdict(summary), "tables": [_plain(table) for table in summary.tables]}


def _plain(table: Table) -> dict[str, Any]:
    """A table as JSON: NaN and infinity are null."""
    rows = [[{**asdict(entry), "raw": _finite(entry.raw)} for entry in row] for row in table.rows]
    return {**asdict(table), "rows": rows, "origin": []}


def _finite(raw: object) -> object:
    return None if isinstance(raw, float) and not math.isfinite(raw) else raw


def load(folder: Path, inputs: str) -> Summary | None:
    """The saved summary, if its inputs are the same and all its files are there as they were written; else None."""
    try:
        summary: Summary = decode.load(folder / NAME, Summary)
    except (FileNotFoundError, StoreError):
        return None
    if summary.made is None or summary.inputs != inputs or summary.made.summary != digest_of(summary):
        return None
    try:
        same = all(sum_of(folder / name) == summary.made.sums.get(name) for name in summary.files)
    except OSError:
        return None
    return summary if same else None
