"""What was asked to run, as one file that both sides read, and beside it what became of sending it to Slurm.

runs/submissions/<id>/submission.jsonl     line 1: where data, cards and code are; then one pack per line
                      arrays/0001.json     written before sbatch: the packs of one array's elements, and a nonce
                      arrays/0001.job-123  written after it: the array's id
                      arrays/0001.void     it never reached Slurm
                      arrays/0001/         submitit's folder: the batch script, the callable, logs; which elements began
                      packs/0003.jsonl     what happened to pack 3: starts, ends, reasons
                      hold.json            why the rest of its packs must not start
                      cancelled            nothing more of it is to be sent
                      end.json             the job that tells people when all others have ended
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from empslurm import files, ids, provenance
from empslurm.cells import CELL_ID, Cell, from_identity
from empslurm.errors import DamagedError, StoreError
from empslurm.launch.profile import Line, NodeList
from empslurm.plan import Pack
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode
from empslurm.validation.constraints import Listed, Pattern, Range
from empslurm.validation.reader import shown

NAME = "submission.jsonl"
CANCELLED = "cancelled"
END = "end.json"
T = TypeVar("T")

StoredPath = Annotated[str, Pattern(regex=r"[^\0]{1,4096}", words="a path")]
Count = Annotated[int, Range(low=1)]


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node needs of a profile."""

    cpus: Count  # per job
    gpus: Annotated[int, Range(low=0)]  # per job
    num_processes: Count
    checkpoint_minutes: Annotated[float, Range(above=0)]
    requeues: Annotated[int, Range(low=0)]  # most restarts of one job
    grace_s: Annotated[float, Range(low=0)]  # for train processes to save and end
    packs_per_gpu: Count | None = None  # None, as older submissions have it: 1
    cpus_per_pack: Count | None = None  # None: a pack takes all that its slot has
    exclude: NodeList | None = None  # nodes that are never used
    exclusive: bool = False  # the job has its whole node
    python: Line | None = None  # that trains; None: the one that runs the element


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
    """Pack membership is fixed here, so that a requeue trains the same pack. `packs`: those that were asked for."""

    id: str
    manifest: str
    data_root: Path
    cards: tuple[Path, ...]
    packs: tuple[Pack, ...]
    settings: NodeSettings | None = None  # None: no job of Slurm runs it

    def path(self, root: RunsRoot) -> Path:
        """Where the submission is kept."""
        return root.submissions / self.id / NAME

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
    """Record a submission; its id sorts by time. Cards are copied: later edits are for later submissions."""
    submission_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{manifest}-{secrets.token_hex(3)}"
    folder = root.submissions.resolve() / submission_id
    made = Submission(
        id=submission_id,
        manifest=manifest,
        data_root=data_root.resolve(),
        cards=tuple(_copied(card, folder / "cards") for card in cards),
        packs=tuple(packs),
        settings=settings,
    )
    header = Header(
        id=made.id,
        manifest=manifest,
        data_root=str(made.data_root),
        cards=tuple(str(card) for card in made.cards),
        settings=settings,
        code=provenance.code(),
    )
    lines = [files.to_line(ids.plain(header))]
    for pack in packs:
        value = {"id": pack.id, "wave": pack.wave, "cells": [cell.identity() for cell in pack.cells]}
        lines.append(json.dumps(value, sort_keys=True, allow_nan=False))
    files.write_bytes(made.path(root), ("\n".join(lines) + "\n").encode())
    return made


def _copied(card: Path, folder: Path) -> Path:
    """A card, or a folder of cards, as it is now."""
    target = folder / card.name
    if card.is_dir():
        for part in sorted(card.glob("*.yaml")):
            files.write_bytes(target / part.name, part.read_bytes())
    else:
        files.write_bytes(target, card.read_bytes())
    return target


def load(path: Path, places: Sequence[int] | None = None) -> Submission:
    """Read a submission back, all of its packs or those at `places`. Raises DamagedError where ids do not match."""
    lines = files.read_bytes(path).splitlines()
    try:
        header: Header = decode.reader(Header)(files.parse_json(lines[0]))
        chosen = lines[1:] if places is None else [lines[1 + place] for place in places]
        return Submission(
            id=header.id,
            manifest=header.manifest,
            data_root=Path(header.data_root),
            cards=tuple(Path(card) for card in header.cards),
            packs=tuple(_pack(decode.reader(PackLine)(files.parse_json(line))) for line in chosen),
            settings=header.settings,
        )
    except (ValueError, IndexError, RecursionError) as error:
        raise DamagedError(f"{path} must be a submission as this version writes it, but is not: {error}") from error


def _pack(line: PackLine) -> Pack:
    pack = Pack(cells=tuple(from_identity(cell) for cell in line.cells), wave=line.wave)
    if pack.id != line.id:
        raise DamagedError(f"a stored pack must be {shown(line.id)}, but its cells make {pack.id}; submit again")
    return pack


# ---- arrays ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of a submission: what was, or may have been, given to sbatch in one call."""

    path: Path  # the marker
    nonce: str  # in the job's name, so that the queue can be asked for it
    name: str
    created: float  # Unix time
    elements: tuple[tuple[int, ...], ...]  # packs of each element, by place in the submission
    cells: tuple[tuple[str, ...], ...]  # the same as cell ids
    cluster: str | None  # that it was sent to; None: not known, as of earlier versions
    user: int | None  # who sent it; None: not known
    script: str  # digest of what its batch script was made from; empty: not known
    single: bool  # sent as no array, as earlier versions did with one element

    @property
    def folder(self) -> Path:
        """submitit's folder of this array."""
        return self.path.with_suffix("")

    @property
    def submission(self) -> Path:
        """The submission's file."""
        return self.path.parents[1] / NAME

    @property
    def job_id(self) -> str | None:
        """The array's id once it is known."""
        return next(iter(_job_ids(self.path)), None)

    def element_ids(self, job_id: str) -> list[str]:
        """Job ids of the elements as squeue writes them."""
        return [job_id] if self.single else [f"{job_id}_{place}" for place in range(len(self.elements))]

    def log(self, job_id: str) -> Path:
        """What an element says, on all of its attempts."""
        return self.folder / f"{job_id}_0_log.out"

    def note_start(self, job_id: str) -> None:
        """Note that an element has begun, whatever there is for it to do."""
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


def _job_ids(marker: Path) -> Iterator[str]:
    prefix = f"{marker.stem}.job-"
    return (path.name.removeprefix(prefix) for path in marker.parent.glob(f"{prefix}*"))


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
    folder = submission.path(root).parent / "arrays"
    taken = [int(path.stem) for path in folder.glob("[0-9]*.json")]
    nonce = secrets.token_hex(4)
    value = {
        "nonce": nonce,
        "name": f"{title[:60]}.{nonce}",
        "created": time.time(),
        "cluster": cluster,
        "user": os.getuid(),
        "script": script,
        "elements": [list(places) for places in elements],
        "cells": [[cell.id for place in places for cell in submission.packs[place].cells] for places in elements],
    }
    path = folder / f"{max(taken, default=0) + 1:04d}.json"
    files.write_json(path, value)
    return load_array(path)


def load_array(path: Path) -> Array:
    """Read a marker back. Raises DamagedError."""
    value = files.read_object(path)
    try:
        elements, cells = value["elements"], value["cells"]
        sound = len(elements) == len(cells) > 0 and all(CELL_ID.fullmatch(cell) for of in cells for cell in of)
        if not sound or not all(isinstance(place, int) for of in elements for place in of):
            raise ValueError("an element without its packs or cells")
        return Array(
            path=path.resolve(),
            nonce=str(value["nonce"]),
            name=str(value["name"]),
            created=float(value["created"]),
            elements=tuple(tuple(places) for places in elements),
            cells=tuple(tuple(of) for of in cells),
            cluster=_or_none(str, value.get("cluster")),
            user=_or_none(int, value.get("user")),
            script=str(value.get("script", "")),
            single=len(elements) == 1 and "cluster" not in value,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} must be an array's marker, but is not: {error}; move it away") from error


def _or_none(kind: type[T], value: object) -> T | None:
    if value is None or type(value) is kind:
        return value
    raise ValueError(f"{value!r} where a {kind.__name__} belongs")


def sent(root: RunsRoot) -> list[tuple[str, Array]]:
    """All arrays that Slurm has or has had, with their ids, oldest first. Damaged markers are left out."""
    found = []
    for job_id, marker in _known(root)[0]:
        with contextlib.suppress(StoreError, FileNotFoundError):
            found.append((job_id, load_array(marker)))
    return sorted(found, key=lambda item: item[1].created)


ARRAY_FILE = re.compile(r"(\d{4,})\.(?:(json)|(void)|job-(\d+))")


def scan(root: RunsRoot) -> tuple[dict[str, Path], list[Path]]:
    """All arrays there are by names alone: markers by job id, the newest of each, and markers whose fate is unknown."""
    known, unresolved = _known(root)
    return dict(known), unresolved


def _known(root: RunsRoot) -> tuple[list[tuple[str, Path]], list[Path]]:
    """As `scan`, but every marker with its job id: two clusters, or a controller that counts again, give one twice."""
    known: list[tuple[str, Path]] = []
    unresolved: list[Path] = []
    for folder in folders(root.submissions):
        markers: dict[str, Path] = {}
        settled: set[str] = set()
        for name in _names(folder / "arrays"):
            found = ARRAY_FILE.fullmatch(name)
            if found is None:
                continue
            number, is_marker, _, job_id = found.groups()
            if is_marker:
                markers[number] = folder / "arrays" / name
            else:
                settled.add(number)
            if job_id:
                known.append((job_id, folder / "arrays" / f"{number}.json"))
        unresolved += [path for number, path in sorted(markers.items()) if number not in settled]
    return known, unresolved


def folders(path: Path) -> list[Path]:
    """The folders in a folder, sorted; empty where it is absent. Raises StoreError."""
    return [path / name for name in _names(path) if (path / name).is_dir()]


def of_manifest(root: RunsRoot, manifest: str) -> list[Path]:
    """Folders of all submissions of a manifest, oldest first."""
    return [path for path in folders(root.submissions) if path.name.split("-", 1)[-1].rpartition("-")[0] == manifest]


def cancel(root: RunsRoot, manifest: str) -> list[Path]:
    """Have whoever still sends submissions of a manifest stop; the folders where that could not be written."""
    closed = []
    for folder in of_manifest(root, manifest):
        try:
            files.create_exclusive(folder / CANCELLED, b"")
        except StoreError:
            closed.append(folder)
    return closed


def end_jobs(root: RunsRoot, manifest: str) -> set[str]:
    """Names of the jobs that tell people when all others of a manifest have ended."""
    found = set()
    for folder in of_manifest(root, manifest):
        with contextlib.suppress(StoreError, FileNotFoundError):
            found.add(str(files.read_object(folder / END).get("name")))
    return found


def _names(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"{path} must be a folder that can be listed, but is not: {error.strerror}; mend it"
        ) from error
