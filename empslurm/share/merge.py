"""Take the finished cells of other runs roots and bundles into a runs root.

A cell is taken in as training leaves it: under a claim of this process, into the claim's own output folder, its result
last and with its seal. So two imports at once, or an import beside training, cannot take one cell twice; after an
interruption a cell is pending or lost, never done without being so; and a result that is there is never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from empslurm import files, metrics
from empslurm.errors import DamagedError, EmpslurmError, StoreError, UsageError
from empslurm.gather.verify import PARTS, TOLERANCE, verify
from empslurm.launch.liveness import liveness
from empslurm.launch.states import queue_of
from empslurm.share import bundle as bundles
from empslurm.share.inputs import is_runs_root
from empslurm.store.cell_folder import PROVENANCE, CellDir
from empslurm.store.claims import Claim, Liveness
from empslurm.store.folders import walk
from empslurm.store.results import LEFT_OUT, left_out
from empslurm.store.runs import RunsRoot

# What becomes of a cell of another runs root.
Fate = Literal["linked", "copied", "completed", "here", "not compared", "running", "differs", "refused", "unfinished"]
FATES: tuple[Fate, ...] = get_args(Fate)
TAKEN: tuple[Fate, ...] = ("linked", "copied")
BAD: tuple[Fate, ...] = ("differs", "refused")
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One cell of another runs root, and what becomes of it here."""

    id: str
    origin: str  # the input as it was named
    fate: Fate
    why: str = ""  # of a cell that is not taken
    n_bytes: int = 0  # of its files
    without_adapter: bool = False  # a bundle's cell whose adapter was left out: no transfer can start from it


@dataclass(frozen=True, kw_only=True)
class Source:
    """An open input."""

    origin: str
    root: RunsRoot


@contextlib.contextmanager
def opened(paths: Sequence[Path], into: RunsRoot) -> Iterator[tuple[Source, ...]]:
    """Open runs roots and bundles; bundles are unpacked while the `with` block runs.

    Raises UsageError for what is neither, or is `into` itself; DamagedError for a bundle that was changed.
    """
    for path in paths:
        if not bundles.is_bundle(path) and not is_runs_root(path):
            found = "is a folder without cells/" if path.is_dir() else "is a file" if path.exists() else "is not there"
            raise UsageError(
                f"{path} must be a runs root (a folder with cells/) or a bundle, but {found}; name the folder that has "
                "cells/"
            )
        if path.resolve() == into.path.resolve():
            raise UsageError(
                f"the runs root to import must be another one, but {path} is the one to import into; name the other "
                "one, or the one to import into with --runs"
            )
    with ExitStack() as stack:
        yield tuple(Source(origin=str(path), root=_root(path, stack)) for path in paths)


def _root(path: Path, stack: ExitStack) -> RunsRoot:
    return stack.enter_context(bundles.opened(path)).root if bundles.is_bundle(path) else RunsRoot(path)


def merge(
    sources: Sequence[Source], into: RunsRoot, *, dry_run: bool, advance: Callable[[], None] = lambda: None
) -> Iterator[Step]:
    """Verify every finished cell of `sources`, and take into `into` what it lacks. `dry_run`: say so only.

    Yields one step per cell; a cell that several sources have is taken from the first, and compared with the others.
    `advance` is called after each. Raises StoreError where `into` cannot be written.
    """
    alive = liveness(queue_of(into))
    taken: dict[str, Mapping[str, Any]] = {}  # a dry run writes nothing that the next source could be compared with
    for source in sources:
        for cell in source.root.cells():
            step, result = _step(cell, source.origin, into.cell(cell.id), alive, taken.get(cell.id), dry_run=dry_run)
            if result is not None and step.fate in TAKEN:
                taken[cell.id] = result
            advance()
            yield step


def n_cells(sources: Sequence[Source]) -> int:
    """How many cells `merge` looks at."""
    return sum(len(source.root.ids()) for source in sources)


def _step(
    cell: CellDir,
    origin: str,
    here: CellDir,
    alive: Liveness,
    taken: Mapping[str, Any] | None,
    *,
    dry_run: bool,
) -> tuple[Step, Mapping[str, Any] | None]:
    """One cell: look at it, verify it, compare it with what is here, take it."""
    step = Step(id=cell.id, origin=origin, fate="unfinished")
    try:
        result = cell.result() if _verified(cell) else None
    except StoreError as error:
        return replace(step, fate="refused", why=str(error)), None
    if result is None:
        return replace(step, why="it has no result"), None
    step = replace(step, n_bytes=_size(cell, result), without_adapter=(cell.path / LEFT_OUT).is_file())
    known = taken
    if known is None:
        state = here.state(alive)
        if state.state == "running":
            return replace(step, fate="running", why=state.why), None
        try:
            known = here.result()
        except StoreError as error:
            return replace(step, fate="differs", why=f"the result here is damaged: {error}"), None
    if known is not None:
        if result == known and taken is None and (missing := _missing(cell, here)):
            return _completed(step, cell, here, result, missing, dry_run=dry_run), None
        return _compared(step, result, known), None
    if dry_run:
        return replace(step, fate="linked" if _same_device(cell, here) else "copied"), result
    try:
        return _taken(step, cell, here, result, alive), result
    except DamagedError as error:
        return replace(step, fate="refused", why=str(error)), None


def _verified(cell: CellDir) -> bool:
    """Whether a cell has a result, whose seal, files and scores all match. Raises StoreError naming the file."""
    try:
        return verify(cell) is not None
    except EmpslurmError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{cell.result_file} must be a result of this version, but is not ({type(error).__name__}: {error}); "
            "import it with the version that wrote it"
        ) from error


def _compared(step: Step, result: Mapping[str, Any], known: Mapping[str, Any]) -> Step:
    """A cell that is here: the same scores, or not; of kinds without scores the same files, or not."""
    compared = False
    for part in PARTS:
        mine, theirs = (metrics.from_json(one[part]) if part in one else {} for one in (known, result))
        for name in mine.keys() & theirs.keys():
            compared = True
            if not np.isclose(mine[name], theirs[name], rtol=0, atol=TOLERANCE, equal_nan=True):
                return replace(
                    step,
                    fate="differs",
                    why=f"its {part} {name} is {theirs[name]:.6f}, and {mine[name]:.6f} here; the one here is kept",
                )
    mine, theirs = ({k: v for k, v in one["files"].items() if k != PROVENANCE} for one in (known, result))
    if not compared and mine != theirs:
        return replace(step, fate="not compared", why="it has no scores, and its files differ; the one here is kept")
    return replace(step, fate="here")


def _size(cell: CellDir, result: Mapping[str, Any]) -> int:
    total = 0
    for path in (cell.result_file, *(cell.path / result["output"] / name for name in result["files"])):
        with contextlib.suppress(OSError):  # left out of a bundle
            total += path.stat().st_size
    return total


def _same_device(cell: CellDir, here: CellDir) -> bool:
    """Whether a hard link can be tried."""
    folder = here.path
    while not folder.exists():
        folder = folder.parent
    return cell.path.stat().st_dev == folder.stat().st_dev


# ---- what a bundle left out ------------------------------------------------------------------------------------------


def _missing(cell: CellDir, here: CellDir) -> tuple[str, ...]:
    """Files of a result that were left out here and are there."""
    try:
        away = left_out(here.path)
    except DamagedError:  # then the cell here is told as damaged by what reads it
        return ()
    return () if not away or away & left_out(cell.path) else tuple(sorted(away))


def _completed(
    step: Step, cell: CellDir, here: CellDir, result: Mapping[str, Any], names: Sequence[str], *, dry_run: bool
) -> Step:
    """Put the files beside those that are here, each whole at once, then take away the note that they are not there.

    They are those that the result's seal names, so that only they can be meant, also if two imports do this at once.
    """
    old, new = (one.path / str(result["output"]) for one in (cell, here))
    with files.storage_errors(new, "written"):
        step = replace(step, fate="completed", n_bytes=sum((old / name).stat().st_size for name in names))
        for name in () if dry_run else names:
            beside = here.path / f".{secrets.token_hex(4)}.tmp"
            try:
                _place([(old / name, beside)])
                if files.sha256_file(beside) != result["files"][name]:  # the other runs root has changed meanwhile
                    return replace(step, fate="refused", why=f"{old / name} does not match its checksum; import again")
                files.make_folder((new / name).parent)
                os.replace(beside, new / name)
                files.sync_folder((new / name).parent)
            finally:
                beside.unlink(missing_ok=True)
        if not dry_run:
            (here.path / LEFT_OUT).unlink(missing_ok=True)
            files.sync_folder(here.path)
    return step


# ---- taking a cell ---------------------------------------------------------------------------------------------------


def _taken(step: Step, cell: CellDir, here: CellDir, result: Mapping[str, Any], alive: Liveness) -> Step:
    files.create_exclusive(here.identity_file, files.read_bytes(cell.identity_file))
    here.identity()
    claim = here.take(alive)
    if claim is None:  # another process finished or claimed it in the meantime
        known = here.result()
        return (
            replace(step, fate="running", why=here.state(alive).why)
            if known is None
            else _compared(step, result, known)
        )
    try:
        return _into(step, cell, here, result, claim)
    finally:
        here.release(claim)


def _into(step: Step, cell: CellDir, here: CellDir, result: Mapping[str, Any], claim: Claim) -> Step:
    """Link or copy the output, then the result. The claim keeps other processes from the folder."""
    output, final = here.output(claim), here.path / str(result["output"])
    with files.storage_errors(output, "written"):
        for folder in {output, final}:  # leftovers of an ended process: nobody else may be writing there
            shutil.rmtree(folder, ignore_errors=True)
        old = cell.path / str(result["output"])
        linked = _place((path, output / path.relative_to(old)) for path in walk(old))
        here.check(claim)
        if output != final:
            os.rename(output, final)
        files.sync_folder(here.path)
    with contextlib.suppress(OSError):
        (here.path / LEFT_OUT).unlink(missing_ok=True)  # of an import that was interrupted
    for name in (here.parameters_file.name, here.history_file.name, LEFT_OUT):
        if (cell.path / name).is_file():
            files.create_exclusive(here.path / name, files.read_bytes(cell.path / name))
    here.verify(result)  # a copy may have gone wrong, and the other runs root may have changed meanwhile
    won = files.create_exclusive(here.result_file, files.to_json(result))
    here.tidy()
    known = here.result()
    if not won and known is not None:
        return _compared(step, result, known)
    return replace(step, fate="linked" if linked else "copied")


def _place(pairs: Iterable[tuple[Path, Path]]) -> bool:
    """Hard-link every file to its new place, or copy it where links are refused; whether all are links."""
    linked, folders = True, set()
    for old, new in pairs:
        files.make_folder(new.parent)
        folders.add(new.parent)
        if linked:
            try:
                os.link(old, new, follow_symlinks=False)
                continue
            except OSError as error:
                if error.errno not in NO_LINK:
                    raise
                linked = False
        shutil.copyfile(old, new, follow_symlinks=False)
        files.sync_file(new)
    for folder in folders:  # the result must not be on the disk before what it names
        files.sync_folder(folder)
    return linked
