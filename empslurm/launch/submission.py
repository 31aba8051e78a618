"""A submission: the packs to run, in one file that the submitting process and the jobs read."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from empslurm import files, ids, provenance
from empslurm.cells import Cell, from_identity
from empslurm.errors import DamagedError, StoreError
from empslurm.launch import notes
from empslurm.launch.profile import CarbonIntensity, Line, NodeList, Profile, Tracker
from empslurm.launch.submission_dir import SubmissionDir, of_manifest, refuse_file
from empslurm.plan import Pack
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode
from empslurm.validation.constraints import Later, Listed, Pattern, Range
from empslurm.validation.reader import shown

StoredPath = Annotated[str, Pattern(regex=r"[^\0]{1,4096}", words="a path")]
Count = Annotated[int, Range(low=1)]


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """The part of a profile that a node needs."""

    cpus: Count  # per job
    gpus: Annotated[int, Range(low=0)]  # per job
    num_processes: Count
    checkpoint_minutes: Annotated[float, Range(above=0)]
    requeues: Annotated[int, Range(low=0)]  # most restarts of one job
    grace_s: Annotated[float, Range(low=0)]  # for train processes to save and end
    packs_per_gpu: Count | None = None  # None, in older submissions: 1
    cpus_per_pack: Count | None = None  # None: a pack takes all that its slot has
    exclude: NodeList | None = None  # nodes that are never used
    exclusive: bool = False  # the job has its whole node
    python: Line | None = None  # for training; None: the one that runs the element
    trackers: Annotated[tuple[Tracker, ...], Listed(at_least=0), Later()] = ()  # that record loss curves
    grid_g_per_kwh: CarbonIntensity | None = None  # of the electricity; None: not stated


def node_settings(profile: Profile) -> NodeSettings:
    """Take from a profile what a node needs, as the submission stores it."""
    lead = profile.signal_lead_s
    return NodeSettings(
        cpus=profile.cpus,
        gpus=profile.gpus,
        num_processes=profile.num_processes,
        checkpoint_minutes=profile.checkpoint_minutes,
        requeues=profile.requeues,
        # The rest of the lead is for receiving the signal, for Slurm's own work and for exiting.
        grace_s=float(lead - 10 if lead >= 40 else lead * 0.75),
        packs_per_gpu=profile.packs_per_gpu,
        cpus_per_pack=profile.cpus_per_pack,
        exclude=profile.exclude,
        exclusive=profile.exclusive,
        python=profile.python,
        trackers=profile.trackers,
        grid_g_per_kwh=profile.grid_g_per_kwh,
    )


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line of a submission."""

    id: str
    manifest: str
    data_root: StoredPath
    cards: tuple[StoredPath, ...]
    settings: NodeSettings | None
    code: object  # for people: the commit that submitted


@dataclass(frozen=True, kw_only=True)
class PackLine:
    """Every other line: a pack's cells as their identities."""

    id: str
    wave: Literal[0, 1]
    cells: Annotated[tuple[object, ...], Listed()]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Packs to run. Their cells are fixed here, so that a requeued job trains the same ones. `packs`: those loaded."""

    id: str
    manifest: str
    data_root: Path
    cards: tuple[Path, ...]
    packs: tuple[Pack, ...]
    settings: NodeSettings | None = None  # None: it does not run on Slurm

    def folder(self, root: RunsRoot) -> SubmissionDir:
        """Where the submission is kept."""
        return SubmissionDir(root.submissions / self.id)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, pack by pack."""
        return tuple(cell for pack in self.packs for cell in pack.cells)


def create(
    root: RunsRoot,
    manifest: str,
    data_root: Path,
    cards: Sequence[Path],
    packs: Sequence[Pack],
    settings: NodeSettings | None = None,
) -> Submission:
    """Record a submission; its id sorts by time. Cards are copied: later edits affect later submissions only."""
    refuse_file(root)
    submission_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{manifest}-{secrets.token_hex(3)}"
    folder = SubmissionDir(root.submissions.resolve() / submission_id)
    submission = Submission(
        id=submission_id,
        manifest=manifest,
        data_root=data_root.resolve(),
        cards=tuple(_copied(card, folder.cards) for card in cards),
        packs=tuple(packs),
        settings=settings,
    )
    header = Header(
        id=submission.id,
        manifest=manifest,
        data_root=str(submission.data_root),
        cards=tuple(str(card) for card in submission.cards),
        settings=settings,
        code=provenance.code(),
    )
    lines = [files.to_line(ids.plain(header))]
    for pack in packs:
        value = {"id": pack.id, "wave": pack.wave, "cells": [cell.identity() for cell in pack.cells]}
        lines.append(json.dumps(value, sort_keys=True, allow_nan=False))
    files.write_bytes(folder.file, ("\n".join(lines) + "\n").encode())
    return submission


def _copied(card: Path, folder: Path) -> Path:
    """Copy a card, or a folder of cards; return the copy's path."""
    target = folder / card.name
    if card.is_dir():
        for part in sorted(card.glob("*.yaml")):
            files.write_bytes(target / part.name, part.read_bytes())
    else:
        files.write_bytes(target, card.read_bytes())
    return target


def load(path: Path, indices: Sequence[int] | None = None) -> Submission:
    """Read a submission back, all of its packs or those with these indices.

    Raises DamagedError where a line does not fit or ids do not match.
    """
    lines = files.read_bytes(path).splitlines()
    try:
        header: Header = decode.reader(Header)(files.parse_json(lines[0]))
        chosen = lines[1:] if indices is None else [lines[1 + index] for index in indices]
        return Submission(
            id=header.id,
            manifest=header.manifest,
            data_root=Path(header.data_root),
            cards=tuple(Path(card) for card in header.cards),
            packs=tuple(_pack(decode.reader(PackLine)(files.parse_json(line)), path) for line in chosen),
            settings=header.settings,
        )
    except (ValueError, IndexError, RecursionError) as error:
        raise DamagedError(
            f"{path} must be a submission as this version writes it, but is not: {error}; submit again"
        ) from error


def _pack(line: PackLine, path: Path) -> Pack:
    pack = Pack(cells=tuple(from_identity(cell, path) for cell in line.cells), wave=line.wave)
    if pack.id != line.id:
        raise DamagedError(
            f"a stored pack must have the id {shown(line.id)}, but its cells give {pack.id}; submit again"
        )
    return pack


# ---- cancelling ------------------------------------------------------------------------------------------------------


def cancel(root: RunsRoot, manifest: str) -> list[Path]:
    """Stop processes that still send submissions of a manifest; return the folders where that could not be noted."""
    closed = []
    for submission in of_manifest(root, manifest):
        try:
            files.create_exclusive(submission.cancelled, b"")
        except StoreError:
            closed.append(submission.path)
    return closed


@dataclass(frozen=True, kw_only=True)
class EndJob:
    """The job that reports when all others have ended."""

    name: str


def note_end_job(submission: SubmissionDir, name: str) -> None:
    """Note the name of the job that reports at the end, before it is sent, for `cancel`."""
    files.write_json(submission.end, ids.plain(EndJob(name=name)))


def end_jobs(root: RunsRoot, manifest: str) -> set[str]:
    """Names of the jobs that report when all others of a manifest have ended."""
    jobs = set()
    for submission in of_manifest(root, manifest):
        with contextlib.suppress(StoreError, FileNotFoundError):
            jobs.add(end_job(submission))
    return jobs


def end_job(submission: SubmissionDir) -> str:
    """The name of the job that reports at the end of a submission. Raises FileNotFoundError, StoreError."""
    return notes.read(EndJob, submission.end, "a note of the last job").name
