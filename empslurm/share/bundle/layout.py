"""What is where in a bundle, and the types of its own notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from empslurm.config import Backbone
from empslurm.launch.cost import Spent
from empslurm.validation.constraints import Later, Range

VERSION = 1
ZIP = ".zip"
CRATE = "ro-crate-metadata.json"
CHECKSUMS = "checksums.txt"  # of all other files, as `sha256sum --check` reads it
STUDY = "study.json"
PLAN = "plan.jsonl"  # the identity of every planned cell, in the plan's order
SPLITS = "splits.json"
README, ENVIRONMENT, ZENODO = "README.md", "environment.txt", "zenodo.json"
PROJECT = "study"  # the manifest, its cards and its preset, as in the project's folder
RUNS = "runs"  # a runs root
TABLES = "tables"  # what `gather` writes
EVALS = "every_eval_ever"

# What each of them is, for the crate and the README. A folder's name ends in /.
PARTS: Mapping[str, str] = {
    README: "What this is, and how to open it",
    f"{TABLES}/": "Tables, figures and the page of the results (report.html)",
    f"{PROJECT}/": "The manifest, its cards of datasets and its presets",
    f"{RUNS}/": "The cells: identity, sealed result, predictions without texts, provenance",
    f"{EVALS}/": "The scores and predictions in the schema of Every Eval Ever",
    STUDY: "The study: what was planned, the digests of data and backbones, what the jobs cost",
    PLAN: "The identity of every planned cell",
    SPLITS: "Digests of the data and of its splits",
    ENVIRONMENT: "Packages that the results were made with",
    ZENODO: "Metadata for a deposit at Zenodo",
    CHECKSUMS: "sha256 of every other file",
}


@dataclass(frozen=True, kw_only=True)
class StudyNote:
    """study.json: what a study needs to be opened without its data and its machine."""

    version: Annotated[int, Range(low=1)]
    empslurm: str  # the release that wrote the bundle
    name: str
    manifest: str  # its path in the bundle
    n_cells: int  # planned
    n_done: int
    raw: Mapping[str, str]  # dataset id -> digest of its raw files
    samples: tuple[str, ...]  # those of `raw` that are the invented sample
    notes: Mapping[str, str]  # dataset id -> what a reader must know of its data
    backbones: tuple[Backbone, ...]  # in the manifest's order
    models: Mapping[str, str]  # name of a backbone or encoder -> digest
    adapters: bool  # whether the adapters' files are there
    spent: Spent | None
    made: str  # when the newest result was, as ISO 8601
    unsearched: Annotated[tuple[str, ...], Later()] = field(default=())  # datasets whose texts were not searched for


def is_zip(path: Path) -> bool:
    """Whether a bundle is, or will be, a zip file: its name says so."""
    return path.suffix.lower() == ZIP


def is_foreign(name: str) -> bool:
    """Whether a file is one that desktops leave in folders; it is no part of a bundle."""
    return name in (".DS_Store", "Thumbs.db") or name.startswith("._")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a bundle: bytes, or a file to copy. `sha256`: what a seal says that it must be."""

    path: str  # in the bundle
    source: Path | None = None
    data: bytes = b""
    sha256: str | None = None

    @property
    def n_bytes(self) -> int:
        """Its size. Raises OSError."""
        return len(self.data) if self.source is None else self.source.stat().st_size
