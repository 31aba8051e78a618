"""Arrays of a submission: a marker is written before sbatch and resolved after it.

So the next `submit` knows what Slurm has or may have, whatever ends the submitting process.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from empslurm import files, ids
from empslurm.cells import CELL_ID
from empslurm.errors import StoreError
from empslurm.launch import notes
from empslurm.launch.submission import Submission
from empslurm.launch.submission_dir import SubmissionDir, every
from empslurm.store.folders import names
from empslurm.store.runs import RunsRoot
from empslurm.validation.constraints import Listed, Pattern, Range

ARRAY_FILE = re.compile(r"\d{4,}\.(json|void|job-\d+)")

Index = Annotated[int, Range(low=0)]
CellId = Annotated[str, Pattern(regex=CELL_ID.pattern, words="a cell id")]


@dataclass(frozen=True, kw_only=True)
class Marker:
    """The content of an array's marker file. Earlier versions left out the fields that may be None."""

    nonce: str
    name: str
    created: float
    elements: Annotated[tuple[tuple[Index, ...], ...], Listed(at_least=1)]
    cells: tuple[tuple[CellId, ...], ...]
    cluster: str | None = None
    user: int | None = None
    script: str | None = None

    def __post_init__(self) -> None:
        if len(self.elements) != len(self.cells):
            raise ValueError("elements and cells must have equal lengths")


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of a submission: what was, or may have been, given to sbatch in one call."""

    path: Path  # the marker
    nonce: str  # in the job's name, so that the queue can be asked for it
    name: str
    created: float  # Unix time
    elements: tuple[tuple[int, ...], ...]  # the packs of each element, by their index in the submission
    cells: tuple[tuple[str, ...], ...]  # the same as cell ids
    cluster: str | None  # that it was sent to; None: not known (earlier versions)
    user: int | None  # who sent it; None: not known
    script: str  # digest of what its batch script was made from; empty: not known
    single: bool  # sent as a plain job, as earlier versions did with one element

    @property
    def folder(self) -> Path:
        """submitit's folder of this array."""
        return self.path.with_suffix("")

    @property
    def submission(self) -> SubmissionDir:
        """The submission that it is a part of."""
        return SubmissionDir(self.path.parents[1])

    def element_ids(self, job_id: str) -> list[str]:
        """Job ids of the elements as squeue writes them."""
        return [job_id] if self.single else [f"{job_id}_{task}" for task in range(len(self.elements))]

    def log(self, job_id: str) -> Path:
        """The log of an element, over all of its attempts."""
        return self.folder / f"{job_id}_0_log.out"

    def note_start(self, job_id: str) -> None:
        """Note that an element has begun, even if it finds nothing to do."""
        with contextlib.suppress(StoreError):
            files.create_exclusive(self.folder / f"{job_id}.started", b"")

    def has_started(self, job_id: str) -> bool:
        """Whether an element has ever begun; False too for elements of earlier versions."""
        return (self.folder / f"{job_id}.started").exists()

    def resolve(self, job_id: str) -> None:
        """Note the id that sbatch gave."""
        files.create_exclusive(self.path.with_name(f"{self.path.stem}.job-{job_id}"), b"")

    def void(self) -> None:
        """Note that Slurm never got it."""
        files.create_exclusive(self.path.with_suffix(".void"), b"")

    def discard(self) -> None:
        """Forget it: sbatch refused it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.path.unlink()


def mark(
    root: RunsRoot,
    submission: Submission,
    elements: Sequence[Sequence[int]],
    title: str,
    *,
    cluster: str | None = None,
    script: str = "",
) -> Array:
    """Write the marker of an array that is about to be given to sbatch."""
    folder = submission.folder(root).arrays
    taken = [int(path.stem) for path in folder.glob("[0-9]*.json")]
    nonce = secrets.token_hex(4)
    cells = tuple(tuple(cell.id for index in indices for cell in submission.packs[index].cells) for indices in elements)
    marker = Marker(
        nonce=nonce,
        name=f"{title[:60]}.{nonce}",
        created=time.time(),
        cluster=cluster,
        user=os.getuid(),
        script=script,
        elements=tuple(map(tuple, elements)),
        cells=cells,
    )
    path = folder / f"{max(taken, default=0) + 1:04d}.json"
    write_marker(path, marker)
    return load_array(path)


def write_marker(path: Path, marker: Marker) -> None:
    """Write what `load_array` reads."""
    files.write_json(path, ids.plain(marker))


def load_array(path: Path) -> Array:
    """Read a marker back. Raises FileNotFoundError, DamagedError, StoreError."""
    value = files.read_object(path)
    marker = notes.parse(Marker, value, path, "an array's marker")
    return Array(
        path=path.resolve(),
        nonce=marker.nonce,
        name=marker.name,
        created=marker.created,
        elements=marker.elements,
        cells=marker.cells,
        cluster=marker.cluster,
        user=marker.user,
        script=marker.script or "",
        single=len(marker.elements) == 1 and "cluster" not in value,
    )


def sent(root: RunsRoot) -> list[tuple[str, Array]]:
    """All arrays that Slurm has or has had, with their ids, oldest first. Damaged markers are left out."""
    arrays = []
    for job_id, marker in _known(root)[0]:
        with contextlib.suppress(StoreError, FileNotFoundError):
            arrays.append((job_id, load_array(marker)))
    return sorted(arrays, key=lambda item: item[1].created)


def scan(root: RunsRoot) -> tuple[dict[str, Path], list[Path]]:
    """List all arrays by file names alone: the newest marker of each job id, and the markers not yet resolved."""
    known, unresolved = _known(root)
    return dict(known), unresolved


def _known(root: RunsRoot) -> tuple[list[tuple[str, Path]], list[Path]]:
    """As `scan`, but with all markers of a job id: two clusters, or a controller that lost its state, may repeat it."""
    known: list[tuple[str, Path]] = []
    unresolved: list[Path] = []
    for submission in every(root):
        markers: dict[str, Path] = {}
        settled: set[str] = set()
        for name in names(submission.arrays, ARRAY_FILE):
            number, _, ending = name.partition(".")
            if ending == "json":
                markers[number] = submission.arrays / name
                continue
            settled.add(number)
            if ending != "void":
                known.append((ending.removeprefix("job-"), submission.arrays / f"{number}.json"))
        unresolved += [path for number, path in sorted(markers.items()) if number not in settled]
    return known, unresolved
