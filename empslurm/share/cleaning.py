"""What nothing needs in a runs root, and its removal.

Three classes of things are looked at: what cells leave behind, copies of the code, and data that was prepared for
training. `KINDS` says what goes, `KEPT` why the rest stays. Results, claims, tables, logs, journals of searches and
what `suggest` has read always stay; so does every file that empslurm did not write. No link is followed.

Nothing is removed that a living process holds, that a job in the queue may read, or that an unfinished cell needs; the
cells of all submissions count, also those that never started. What cannot be known counts as needed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from empslurm import files
from empslurm.cells import CELL_ID, Cell, from_identity
from empslurm.errors import EmpslurmError, SchedulerError, StoreError, UsageError
from empslurm.launch import markers, scontrol, snapshot
from empslurm.launch import queue as queues
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import liveness
from empslurm.launch.queue import Queue
from empslurm.launch.states import owner, queue_of, why_hidden
from empslurm.launch.submission_dir import SubmissionDir, every
from empslurm.store.folders import names
from empslurm.store.results import OUTPUT
from empslurm.store.runs import RunsRoot
from empslurm.tasks import survey
from empslurm.tasks.prepare import Prepared, TaskTable, folder_name, load_task
from empslurm.tasks.schema import Dataset
from empslurm.train.data import tokens

DAY_S, HOUR_S = 86_400.0, 3_600.0
# Kind -> why nothing needs it.
KINDS: Mapping[str, str] = {
    "cells": "left behind by finished cells: checkpoints, other outputs, errors",
    "code": "copies of the code that no job in the queue reads",
    "tokens": "tokens that no unfinished cell needs; made again when they are needed",
    "parsed": "parsed data that no unfinished cell needs; made again from the raw data when it is needed",
    "caches": "verified results as earlier versions kept them",
    "temporary": "files of processes that ended more than a day ago while writing them",
}
# Why something that was looked at stays.
OF_RESULT = "part of a result"
UNFINISHED = "belongs to a cell without a result, which goes on from it"
HELD = "a living process holds its cell"
DAMAGED = "its cell's result is damaged, so a person must look at it"
CURRENT_CODE = "the next submission from here uses it"
OF_JOBS = "a job that may be queued or running reads it"
UNSURE_JOBS = "Slurm does not say which jobs are left"
NEEDED = "an unfinished cell needs it"
UNSURE_CELLS = "what some unfinished cells need cannot be known"
RECENT = "made within the last hour, so a command may be about to use it"
READ_BY_GATHER = "gather and plan read it"
CACHE = "gather reads it instead of all results"
BEING_WRITTEN = "may be being written"
KEPT = (
    *(OF_RESULT, UNFINISHED, HELD, DAMAGED, CURRENT_CODE, OF_JOBS, UNSURE_JOBS, NEEDED, UNSURE_CELLS, RECENT),
    *(READ_BY_GATHER, CACHE, BEING_WRITTEN),
)
# Folders of the runs root in which nothing is looked at, since people or later commands read what is there.
FOR_PEOPLE = ("submissions", "searches", "suitability", "trackers", "probes")

# Files of a cell that always stay.
OF_CELL = frozenset(
    ("cell.json", "claims", "parameters.json", "metrics.jsonl", "progress.json", "result.json", "left-out.json")
)
SNAPSHOT = re.compile(r"[0-9a-f]{16}")
IN_SCRIPT = re.compile(r"/code/([0-9a-f]{16})\b")
PARSED = re.compile(r"[a-z0-9_]+-[0-9a-f]{12}")
TOKENS = re.compile(r"[0-9a-f]{24}")
CACHES = re.compile(r"verified-[0-9]+\.parquet")
READ = re.compile(r"checksums\.json|(audit|tokens)-[0-9a-f]+\.json")
# Names of files and folders that are renamed when they are whole.
TEMPORARY = re.compile(r"\..+\.tmp|\.[a-z0-9_-]+\.[0-9]+\.[0-9a-f]{12}")
ANY = re.compile(r"(?s).+")


@dataclass(frozen=True, kw_only=True)
class Spare:
    """A file or folder that nothing needs."""

    kind: str  # a key of KINDS
    path: Path
    n_inodes: int  # itself and all that is in it
    n_bytes: int  # of the files in it

    @property
    def why(self) -> str:
        return KINDS[self.kind]


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Everything that was looked at: what nothing needs, what stays and why, and what empslurm did not write."""

    root: RunsRoot
    spare: tuple[Spare, ...]
    kept: Mapping[Path, str]  # -> one of KEPT
    unknown: tuple[Path, ...]


@dataclass(kw_only=True)
class _Seen:
    """What one look finds."""

    spare: dict[Path, str] = field(default_factory=dict)  # -> kind
    kept: dict[Path, str] = field(default_factory=dict)
    unknown: list[Path] = field(default_factory=list)


# ---- finding ---------------------------------------------------------------------------------------------------------


def find(root: RunsRoot) -> Cleaning:
    """Look at everything; writes nothing. Raises UsageError without a runs root, StoreError for unreadable folders."""
    refuse(root)
    seen = _Seen()
    for look in LOOKS.values():
        look(root, seen)
    known = {*FOR_PEOPLE, "cells", "code", "prepared", "gathered"}
    for path in _entries(root.path):
        if path == root.digests:
            seen.kept[path] = READ_BY_GATHER
        elif path.name not in known:
            seen.unknown.append(path)
    spare = tuple(Spare(kind=kind, path=path, **_size(path)) for path, kind in seen.spare.items())
    order = list(KINDS)
    return Cleaning(
        root=root,
        spare=tuple(sorted(spare, key=lambda entry: (order.index(entry.kind), str(entry.path)))),
        kept=seen.kept,
        unknown=tuple(seen.unknown),
    )


def refuse(root: RunsRoot) -> None:
    """Raise UsageError where there is no runs root."""
    if not root.path.is_dir():
        raise UsageError(f"the runs root must be a folder, but {root.path} is none; name it with --runs")


def _entries(folder: Path) -> list[Path]:
    """All entries of a folder; none where it is absent or a link."""
    return [] if folder.is_symlink() else [folder / name for name in names(folder, ANY)]


def _size(path: Path) -> dict[str, int]:
    """`n_inodes` and `n_bytes` of a file or a folder with all that is in it; links are counted, not followed."""
    n_inodes = n_bytes = 0
    for entry in _walk(path):
        with contextlib.suppress(OSError):
            status = os.lstat(entry)
            n_inodes += 1
            n_bytes += 0 if os.path.isdir(entry) and not os.path.islink(entry) else status.st_size
    return {"n_inodes": n_inodes, "n_bytes": n_bytes}


def _walk(path: Path) -> Iterator[str]:
    yield str(path)
    if path.is_dir() and not path.is_symlink():
        for parent, folders, own in os.walk(path):
            yield from (os.path.join(parent, name) for name in (*folders, *own))


def _age_s(path: Path) -> float:
    """Seconds since a file or folder was changed; 0 where that is not known."""
    try:
        return max(0.0, time.time() - os.lstat(path).st_mtime)
    except OSError:
        return 0.0


def _temporary(path: Path, seen: _Seen) -> bool:
    """Sort an entry that is renamed when it is whole; False for any other."""
    if not TEMPORARY.fullmatch(path.name):
        return False
    if _age_s(path) > DAY_S:
        seen.spare[path] = "temporary"
    else:
        seen.kept[path] = BEING_WRITTEN
    return True


# ---- cells -----------------------------------------------------------------------------------------------------------


def _look_at_cells(root: RunsRoot, seen: _Seen) -> None:
    alive = liveness(queue_of(root), ask_again=False)
    for path in _entries(root.cells_folder):
        if not CELL_ID.fullmatch(path.name) or path.is_symlink():
            seen.unknown.append(path)
            continue
        cell = root.cell(path.name)
        own = (cell.checkpoints.name, cell.error_file.name)
        there = []
        for entry in _entries(path):
            if entry.name in own or OUTPUT.fullmatch(entry.name) or TEMPORARY.fullmatch(entry.name):
                there.append(entry)
            elif entry.name not in OF_CELL:
                seen.unknown.append(entry)
        if len(there) == 1 and OUTPUT.fullmatch(there[0].name) and cell.result_file.exists():
            seen.kept[there[0]] = OF_RESULT  # nothing else is there, so nothing has to be read
            continue
        try:
            result = cell.result()
            spare = cell.spare() if result is not None else []
            if spare and result is not None:  # a damaged result may need its checkpoint again
                cell.verify(result)
        except StoreError:
            seen.kept |= dict.fromkeys(there, DAMAGED)
            continue
        if result is None:
            for entry in there:
                seen.kept[entry] = UNFINISHED
            continue
        # Only a cell with something to remove needs a look at its holder, which may have to ask Slurm.
        is_held = bool(spare) and cell.held(alive)
        for entry in there:
            if entry.name == result["output"]:
                seen.kept[entry] = OF_RESULT
            elif is_held:
                seen.kept[entry] = HELD
            elif entry in spare and not entry.is_symlink():
                seen.spare[entry] = "cells"
            else:
                seen.unknown.append(entry)


# ---- code ------------------------------------------------------------------------------------------------------------


def _look_at_code(root: RunsRoot, seen: _Seen) -> None:
    entries = _entries(root.code)
    if not entries:
        return
    needed = _code_of_jobs(root)
    own = ""
    with contextlib.suppress(EmpslurmError):
        own = snapshot.name()
    for path in entries:
        if _temporary(path, seen):
            continue
        if not SNAPSHOT.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            seen.unknown.append(path)
        elif path.name == own:
            seen.kept[path] = CURRENT_CODE
        elif needed is None:
            seen.kept[path] = UNSURE_JOBS
        elif path.name in needed:
            seen.kept[path] = OF_JOBS
        elif _age_s(path) < HOUR_S:
            seen.kept[path] = RECENT  # a submission may be about to send jobs that read it
        else:
            seen.spare[path] = "code"


def _code_of_jobs(root: RunsRoot) -> set[str] | None:
    """Names of the snapshots that jobs may still read; None where that cannot be known.

    A job's batch script names its snapshot. The job that reports at the end reads that of its submission's arrays. A
    probe of `doctor` is in no submission: while one may run, all are kept.
    """
    if _entries(root.probes):
        return None
    queue = queue_of(root)
    needed: set[str] = set()
    for submission in every(root):
        try:
            is_open = _is_open(submission, queue)
        except (StoreError, FileNotFoundError):
            return None
        if is_open:
            scripts = _scripts(submission)
            if not scripts:
                return None
            needed |= scripts
    return needed


def _is_open(submission: SubmissionDir, queue: Queue) -> bool:
    """Whether a job of a submission may still start or run. Raises StoreError where a note of it is damaged."""
    by_number: dict[str, list[str]] = {}
    for name in names(submission.arrays, markers.ARRAY_FILE):
        number, _, ending = name.partition(".")
        by_number.setdefault(number, []).append(ending)
    for number, endings in by_number.items():
        if "void" in endings:
            continue
        array = markers.load_array(submission.arrays / f"{number}.json")
        jobs = [ending.removeprefix("job-") for ending in endings if ending.startswith("job-")]
        if not jobs or queue.jobs is None or _hidden(array):
            return True
        for job in jobs:
            found = (queue.jobs.get(element) for element in array.element_ids(job))
            if any(item is not None and not item.ended and item.is_called(array.name, array.cluster) for item in found):
                return True
    return bool(by_number) and _end_job_waits(submission)


def _hidden(array: markers.Array) -> bool:
    """Whether squeue may not show the jobs of an array here. What cannot be known counts as hidden."""
    sender = array.user if array.user is not None else owner(array)
    if array.cluster is None and sender == os.getuid():
        return False
    try:
        scontrol.cluster()
    except SchedulerError:
        return True
    return bool(why_hidden(replace(array, user=sender)))


def _end_job_waits(submission: SubmissionDir) -> bool:
    """Whether the job that reports at the end of a submission may still run."""
    if not submission.end.is_file():
        return False
    name = submissions.end_job(submission)
    jobs = queues.ask({name})
    return jobs is None or any(job.name == name and not job.ended for job in jobs.values())


def _scripts(submission: SubmissionDir) -> set[str]:
    """The snapshots that a submission's batch scripts name."""
    found: set[str] = set()
    for folder in _entries(submission.arrays):
        for path in _entries(folder) if folder.is_dir() else ():
            if path.suffix == ".sh":
                with contextlib.suppress(OSError):
                    found.update(IN_SCRIPT.findall(path.read_text(errors="replace")))
    return found


# ---- prepared data ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Names of prepared folders that unfinished cells need. None: it cannot be known, so all are kept."""

    parsed: frozenset[str] | None
    tokens: frozenset[str] | None


def _look_at_prepared(root: RunsRoot, seen: _Seen) -> None:
    folder = root.prepared / tokens.FOLDER
    entries, of_tokens = _entries(root.prepared), _entries(folder)
    if not entries:
        return
    needs = needs_of(root)
    for path in entries:
        if path == folder or _temporary(path, seen):
            continue
        if READ.fullmatch(path.name):
            seen.kept[path] = READ_BY_GATHER
        elif PARSED.fullmatch(path.name):
            _sort(path, "parsed", needs.parsed, seen)
        else:
            seen.unknown.append(path)
    for path in of_tokens:
        if _temporary(path, seen):
            continue
        if TOKENS.fullmatch(path.name):
            _sort(path, "tokens", needs.tokens, seen)
        else:
            seen.unknown.append(path)


def _sort(path: Path, kind: str, needed: frozenset[str] | None, seen: _Seen) -> None:
    if path.is_symlink() or not path.is_dir():
        seen.unknown.append(path)
    elif needed is None:
        seen.kept[path] = UNSURE_CELLS
    elif path.name in needed:
        seen.kept[path] = NEEDED
    elif _age_s(path) < HOUR_S:
        seen.kept[path] = RECENT
    else:
        seen.spare[path] = kind


def needs_of(root: RunsRoot) -> Needs:
    """What the unfinished cells of a runs root need: those that began, and those of any submission."""
    datasets: dict[str, list[Dataset]] = {}
    cells: dict[str, Cell] = {}
    try:
        _add(datasets, survey(()).known.datasets)
        for submission in every(root):
            if not submission.file.is_file():
                continue
            loaded = submissions.load(submission.file)
            _add(datasets, survey([card for card in loaded.cards if card.exists()]).known.datasets)
            cells |= {cell.id: cell for cell in loaded.cells}
        for folder in root.cells():
            if folder.id not in cells and not folder.result_file.exists() and folder.identity_file.exists():
                cell = from_identity(folder.identity(), folder.identity_file)
                cells[cell.id] = cell
    except EmpslurmError:
        return Needs(parsed=None, tokens=None)
    unfinished = [cell for name, cell in cells.items() if not root.cell(name).result_file.exists()]
    if any(cell.data.dataset not in datasets for cell in unfinished):
        return Needs(parsed=None, tokens=None)
    parsed = {
        name: dataset
        for cell in unfinished
        for dataset in datasets[cell.data.dataset]
        for name in _parsed(cell, dataset)
    }
    return Needs(parsed=frozenset(parsed), tokens=_tokens(root, unfinished, datasets))


def _add(datasets: dict[str, list[Dataset]], more: Mapping[str, Dataset]) -> None:
    """Add the datasets of a registry: two cards of one name may have been in use."""
    for name, dataset in more.items():
        if dataset not in datasets.setdefault(name, []):
            datasets[name].append(dataset)


def _parsed(cell: Cell, dataset: Dataset) -> list[str]:
    """The folders that a cell's parsed data may be in."""
    return [folder_name(dataset, form, cell.data.raw) for form in dataset.forms] if cell.data.raw is not None else []


def _tokens(root: RunsRoot, cells: list[Cell], datasets: Mapping[str, list[Dataset]]) -> frozenset[str] | None:
    """The tokens that cells need; None where they cannot be told, since the parsed data is not there."""

    tables: dict[tuple[object, ...], TaskTable] = {}

    def table(dataset: Dataset, name: str, cell: Cell) -> TaskTable:
        key = (name, cell.target, cell.data.use, cell.data.labels)
        if key not in tables:
            task = next(task for task in dataset.tasks if task.id == cell.target)
            prepared = Prepared(dataset=dataset, folder=root.prepared / name)
            tables[key] = load_task(prepared, task, cell.data.use, cell.data.labels)
        return tables[key]

    found: set[str] = set()
    for cell in cells:
        training = cell.settled_training
        if training is None or cell.backbone_digest is None:
            continue
        for dataset in datasets[cell.data.dataset]:
            there = [name for name in _parsed(cell, dataset) if (root.prepared / name).is_dir()]
            if not there and _entries(root.prepared / tokens.FOLDER):
                return None
            for name in there:
                try:
                    rows = table(dataset, name, cell)
                except Exception:  # a damaged folder: pyarrow raises many kinds
                    return None
                found.add(tokens.name_of(rows, cell.backbone_digest, training.max_length))
    return frozenset(found)


# ---- what gather keeps -----------------------------------------------------------------------------------------------


def _look_at_gathered(root: RunsRoot, seen: _Seen) -> None:
    from empslurm.gather.cache import NAME

    for path in _entries(root.gathered):
        if _temporary(path, seen):
            continue
        if CACHES.fullmatch(path.name) and not path.is_symlink():
            if path.name == NAME:
                seen.kept[path] = CACHE
            elif _number(path.name) < _number(NAME):
                seen.spare[path] = "caches"


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name))


LOOKS: Mapping[str, Callable[[RunsRoot, _Seen], None]] = {
    "cells": _look_at_cells,
    "code": _look_at_code,
    "prepared": _look_at_prepared,
    "gathered": _look_at_gathered,
}


# ---- removing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was removed, and why some entries were not."""

    spare: tuple[Spare, ...]
    failed: Mapping[Path, str]


def remove(cleaning: Cleaning, advance: Callable[[int], None] = lambda n: None) -> Removed:
    """Remove what was found, after another look at each class: meanwhile a process may have begun to need something.

    Only for the process that holds the lock of submissions. `advance(n)`: n more entries are done.
    """
    root, removed = cleaning.root, []
    failed: dict[Path, str] = {}
    for look in LOOKS.values():
        stamp = _stamp(root)
        seen = _Seen()
        look(root, seen)
        for entry in (entry for entry in cleaning.spare if _looked_at_by(look, entry, root)):
            if _stamp(root) != stamp:  # a local run has begun: it may need what nothing needed
                stamp, seen = _stamp(root), _Seen()
                look(root, seen)
            if entry.path not in seen.spare:
                failed[entry.path] = seen.kept.get(entry.path, "it is gone or has changed")
            elif problem := _remove(entry.path):
                failed[entry.path] = problem
            else:
                removed.append(entry)
            advance(1)
    return Removed(spare=tuple(removed), failed=failed)


def _looked_at_by(look: Callable[[RunsRoot, _Seen], None], entry: Spare, root: RunsRoot) -> bool:
    return LOOKS[entry.path.relative_to(root.path).parts[0]] is look


def _stamp(root: RunsRoot) -> tuple[object, ...]:
    """Changes when a submission is made or a cell begins for the first time."""
    times = []
    for folder in (root.submissions, root.cells_folder):
        with contextlib.suppress(OSError):
            times.append(folder.stat().st_mtime_ns)
    return tuple(times)


def _remove(path: Path) -> str:
    """Remove a file or a folder, a folder as a whole first: nobody may find half of it. Returns why it failed."""
    try:
        if path.is_dir() and not path.is_symlink():
            gone = path.with_name(f".{path.name.lstrip('.')}.{secrets.token_hex(6)}.tmp")
            path.rename(gone)
            shutil.rmtree(gone)
        else:
            path.unlink()
        files.sync_folder(path.parent)
    except OSError as error:
        return f"the file system says: {error.strerror or error}"
    return ""
