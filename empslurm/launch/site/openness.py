"""Which files below the runs root other users of the machine can read: texts, predictions, adapters, submissions."""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from empslurm.launch.site.checks import Check
from empslurm.store.results import OUTPUT
from empslurm.store.runs import RunsRoot

LIMIT_S = 3.0  # a large runs root on a slow file system is not walked to its end
CLOCK_EVERY = 256  # entries between two checks of the time


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Number of files that others can read, one of them, and whether time ran out before all were checked."""

    n_files: int
    example: str
    cut: bool


def check(root: RunsRoot, limit_s: float = LIMIT_S) -> Check:
    """The files that others can read, with the command that closes them. Access control lists are not read."""
    opened = look(root, limit_s)
    what, path = "privacy", root.path
    if opened.n_files:
        count = f"{'at least ' if opened.cut else ''}{opened.n_files:,} file{'s' if opened.n_files > 1 else ''}"
        text = f"other users of this machine can read {count} below {path}, such as {opened.example}"
        return Check(what=what, ok=False, found=text, fix=f"run `chmod -R o-rwx {shlex.quote(str(path))}`")
    if opened.cut:
        text = f"no file that others can read was found below {path} in {limit_s:g} s; the rest was not looked at"
        return Check(what=what, ok=None, found=text)
    return Check(what=what, ok=True, found=f"no other user can read texts or results below {path}")


def look(root: RunsRoot, limit_s: float = LIMIT_S) -> Opened:
    """Count the files that others can read, by the modes of each file and of every folder above it, up to /."""
    top = root.path.resolve()
    end, n_files, example = time.monotonic() + limit_s, 0, ""
    if not all(_lets_pass(folder) for folder in (top, *top.parents)):
        return Opened(n_files=0, example="", cut=False)
    entries = (entry for folder in _trees(top) for entry in _below(folder))
    for n_seen, entry in enumerate(entries):
        if entry is not None and _is_open(entry):
            n_files, example = n_files + 1, example or entry.path
        if n_seen % CLOCK_EVERY == 0 and time.monotonic() > end:
            return Opened(n_files=n_files, example=example, cut=True)
    return Opened(n_files=n_files, example=example, cut=False)


def _trees(top: Path) -> Iterator[str]:
    """The folders with texts, and with what was computed from them, that others may enter."""
    here = RunsRoot(top)
    yield from (str(folder) for folder in (here.prepared, here.submissions) if _lets_pass(folder))
    if _lets_pass(here.cells_folder):
        for cell in _folders(str(here.cells_folder)):
            yield from (entry.path for entry in _folders(cell.path) if OUTPUT.fullmatch(entry.name))


def _below(folder: str) -> Iterator[os.DirEntry[str] | None]:
    """Every file below a folder, however deep; None for each folder, so that the time is checked there too.

    Folders that others may not enter are left out, links are not followed.
    """
    waiting = [folder]
    while waiting:
        yield None
        for entry in _scan(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting += [entry.path] if _lets_pass(Path(entry.path)) else []
            else:
                yield entry


def _folders(folder: str) -> Iterator[os.DirEntry[str]]:
    """The folders in a folder that others may enter."""
    for entry in _scan(folder):
        if entry.is_dir(follow_symlinks=False) and _lets_pass(Path(entry.path)):
            yield entry


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # removed meanwhile, or closed to this user too
        return []


def _lets_pass(folder: Path) -> bool:
    """Whether others may enter a folder; False where there is none."""
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and bool(mode & stat.S_IXOTH)


def _is_open(entry: os.DirEntry[str]) -> bool:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)
