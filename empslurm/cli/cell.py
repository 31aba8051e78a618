"""`show` and `logs`: one cell."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from empslurm.cells import differences
from empslurm.cli.completion import cell_ids, completed
from empslurm.cli.names import cell_of
from empslurm.cli.output import Output
from empslurm.errors import DamagedError, StoreError, UnknownCellError
from empslurm.launch.lookup import log_of_job, newest_log
from empslurm.launch.states import queue_of, states
from empslurm.store.cell_folder import CellDir
from empslurm.store.runs import RunsRoot

FOLLOW_S = 1.0
CELL_HELP = "name a cell: its id, or enough of its beginning to identify it, or a Slurm id such as 1234_7"


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    completed(parser.add_argument("cell", metavar="CELL", help=CELL_HELP), cell_ids)
    if verb == "logs":
        parser.add_argument("-f", "--follow", action="store_true", help="keep printing new lines until the cell ends")


def started(folder: CellDir, root: RunsRoot) -> CellDir:
    """A cell that has a folder. Raises UnknownCellError for one that was sent and has not started."""
    if folder.path.is_dir():
        return folder
    state = states((folder.id,), root)[folder.id]
    why = f" ({state.why})" if state.why else ""
    raise UnknownCellError(
        f"{folder.id} must have started to be shown, but is {state.state}{why}; run this again when it runs"
    )


def describe(folder: CellDir, root: RunsRoot) -> dict[str, Any]:
    """Everything that the folder of a cell says, as JSON values."""
    state = states((folder.id,), root)[folder.id]
    value: dict[str, Any] = {"id": folder.id, "folder": str(folder.path), "state": state.state, "why": state.why}
    value["identity"] = folder.identity()
    value["claims"] = [vars(claim) for claim in folder.claims()]
    progress = folder.progress()
    value["progress"] = progress.known if progress else {}
    if state.state == "done" and (result := folder.result()) is not None:
        value["result"] = {key: item for key, item in result.items() if key != "files"}
        value["files"] = sorted(str(folder.path / str(result["output"]) / name) for name in result["files"])
    value["error"] = folder.error()
    return value


def _show(folder: CellDir, root: RunsRoot, out: Output) -> int:
    value = describe(folder, root)
    rows = _scores(value["result"], folder) if "result" in value else []
    out.document(value)
    out.line(f"{value['id']}: {value['state']}{' (' + value['why'] + ')' if value['why'] else ''}", style="bold")
    if rows:
        out.table(f"best epoch {value['result'].get('best_epoch')}", ("metric", "validation", "test"), rows)
    if value["error"]:
        out.line(f"last failure: {value['error'].get('class')}: {value['error'].get('message')}", style="red")
    flat = [(key, entry) for key, entry, _ in differences(value["identity"], {})]
    flat = [pair for key, entry in flat for pair in _flatten(key, entry)]
    out.table("identity", ("field", "value"), flat)
    out.line(f"folder: {value['folder']}")
    return 0


def _scores(result: Mapping[str, Any], folder: CellDir) -> list[tuple[Any, ...]]:
    """Rows of metric, validation and test score; embeddings have none. Raises DamagedError."""
    try:
        return [(name, result["validation"][name], value) for name, value in result.get("test", {}).items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{folder.result_file} must hold scores of both parts, but does not; move the folder away and submit again"
        ) from error


def _flatten(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flatten(f"{prefix}.{key}", item)]
    return [(prefix, str(value))]


def _logs(name: str, root: RunsRoot, out: Output, *, follow: bool) -> int:
    """Print the log of the newest attempt, or of the named job. `follow`: go on with the file of the next attempt."""
    named = log_of_job(root, name)
    folder, path = named or (cell_of(root, name), None)
    path = path or newest_log(folder, root)
    if path is None and not follow:
        raise UnknownCellError(
            f"{folder.id} must have started to have a log, but nothing has run it yet; run this again when it runs"
        )
    if path is not None and not path.exists() and not follow:
        raise UnknownCellError(
            f"the log of {folder.id} was at {path}, but is gone and cannot be restored; "
            f"`empslurm show {folder.id}` prints the last failure"
        )
    log = _Log(path, out)
    ended = not follow
    while not ended:
        ended = _has_ended(folder, root)
        log.show(whole=False)
        time.sleep(FOLLOW_S)  # after the end too: a cell's last lines are written just after its result
        log.move(newest_log(folder, root))
    log.show()
    out.document({"id": folder.id, "file": str(log.path) if log.path else None, "text": "".join(log.shown)})
    return 0


def _has_ended(folder: CellDir, root: RunsRoot) -> bool:
    """Whether nothing runs the cell and no job has it; while squeue does not answer, only a done cell has ended."""
    queue = queue_of(root)
    state = states((folder.id,), root, queue)[folder.id].state
    unknown = state != "done" and queue.jobs is None and shutil.which("squeue") is not None
    return not (unknown or state in ("running", "queued"))


class _Log:
    """A log that grows, printed from where it was last read."""

    def __init__(self, path: Path | None, out: Output) -> None:
        self.path, self.shown = path, list[str]()
        self._out, self._position = out, 0

    def move(self, path: Path | None) -> None:
        """Go on with the beginning of another file, after all of this one."""
        if path != self.path:
            self.show()
            self.path, self._position = path, 0

    def show(self, *, whole: bool = True) -> None:
        """Print what was added. `whole`: also a line that has no end yet. Raises StoreError."""
        fresh = b"" if self.path is None else _added(self.path, self._position)
        if not whole:
            fresh = fresh[: fresh.rfind(b"\n") + 1]
        if fresh:
            self._position += len(fresh)
            self.shown.append(fresh.decode(errors="replace"))
            self._out.line(self.shown[-1].rstrip("\n"))


def _added(path: Path, position: int) -> bytes:
    """The bytes of a log from `position` on; none where it is not a regular file. Raises StoreError."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as stream:
            stream.seek(position)
            return stream.read()
    except OSError as error:
        raise StoreError(f"{path} must be readable, but is not: {error.strerror}; get read access") from error


@contextmanager
def missing_files() -> Iterator[None]:
    """Turn a file that is missing in a cell's folder into a sentence. Raises StoreError."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename} must be there, but is missing; submit the manifest again") from error


def run(options: argparse.Namespace, out: Output) -> int:
    root = RunsRoot(options.runs)
    with missing_files():
        if options.verb == "logs":
            return _logs(options.cell, root, out, follow=options.follow)
        return _show(started(cell_of(root, options.cell), root), root, out)
