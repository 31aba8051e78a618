"""The runs root: every path, every read and every write; a cell's state is computed from what is there.

runs/cells/<id>/cell.json               identity, written once
                claims/0001.json        who runs it; the highest number holds the cell, older ones are history
                checkpoint/             sealed files, the last good one kept until the next is verified
                metrics.jsonl           one line per evaluation, for people who watch
                progress.json           where training stands, replaced every few seconds
                output-0001/            adapter/, predictions.parquet, provenance.json of claim 1
                result.json             written last, by exclusive link; names its output and every checksum
                error.json              the last failure: class, sentence, traceback tail
runs/prepared/                          parsed and tokenised data under content digests
runs/submissions/                       what was sent to Slurm
runs/gathered/                          derived; delete at will
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from empslurm import files, ids
from empslurm.cells import Cell
from empslurm.errors import ClaimLostError, DamagedError, StoreError, UnknownCellError

State = Literal["done", "failed", "running", "queued", "lost", "pending"]  # queued: only Slurm's queue tells
CELL_ID = re.compile(r"[a-z0-9_]+(--[a-z0-9_]+)?-s\d+(-[a-z0-9.]+)*-[0-9a-f]{12}")
HEARTBEAT_STALE_S = 900.0  # a claim of another host that no scheduler knows: after this silence it is lost


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who runs a cell: job id, restart count and nonce together name one incarnation of one job."""

    number: int
    nonce: str
    host: str
    pid: int
    process_start: float  # seconds since boot, in clock ticks: a pid that was reused has another
    started: float  # Unix time
    job_id: str | None = None  # as squeue prints it, e.g. "1234_7"
    restart_count: int = 0
    log: str | None = None  # the file that the process writes what it says to

    @property
    def who(self) -> str:
        """For people."""
        return f"job {self.job_id}" if self.job_id else f"process {self.pid} on {self.host}"


Liveness = Callable[[Claim], bool | None]  # True, False, or None: cannot tell


def process_start(pid: int) -> float | None:
    """Start time of a process on this host in clock ticks since boot; None when it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else float(fields[19])


def local_liveness(claim: Claim) -> bool | None:
    """Whether the claiming process lives, as far as this host can tell."""
    if claim.host != socket.gethostname() or claim.job_id is not None:
        return None
    return process_start(claim.pid) == claim.process_start


@dataclass(frozen=True, kw_only=True)
class CellState:
    """A cell's computed state and the sentence that explains it."""

    state: State
    why: str = ""
    claim: Claim | None = None


class CellDir:
    """One cell's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    # ---- identity -----------------------------------------------------------------------------------------------

    def create(self, cell: Cell) -> None:
        """Write the identity once; an existing one must be equal. Raises DamagedError when it is not."""
        if not files.create_exclusive(self.path / "cell.json", files.to_json(cell.identity())):
            self.identity()

    def identity(self) -> dict[str, Any]:
        """The stored identity, checked against the folder's name. Raises FileNotFoundError, DamagedError."""
        value = files.read_object(self.path / "cell.json")
        if not self.id.endswith("-" + ids.digest(value, 12)):
            raise DamagedError(
                f"{self.path / 'cell.json'} must hold the identity of {self.id}, but does not; move it away"
            )
        return value

    # ---- claims -------------------------------------------------------------------------------------------------

    def claims(self) -> list[Claim]:
        """All claims, oldest first; an unreadable one counts with no owner, so that numbering goes on."""
        return [self._read_claim(path) for path in self._claim_files()]

    def _claim_files(self) -> list[Path]:
        folder = f"{self.path}/claims"
        try:
            names = sorted(name for name in os.listdir(folder) if name[:1].isdigit() and name.endswith(".json"))
        except FileNotFoundError:
            return []
        return [Path(folder, name) for name in names]

    def _read_claim(self, path: Path) -> Claim:
        try:
            return Claim(**files.read_object(path))
        except (DamagedError, TypeError, FileNotFoundError):
            number = int(path.stem) if path.stem.isdigit() else 0
            return Claim(number=number, nonce="", host="?", pid=0, process_start=0, started=0)

    def claim(self) -> Claim | None:
        """The claim that holds the cell, if there ever was one."""
        held = self._claim_files()
        return self._read_claim(held[-1]) if held else None

    def take(
        self, alive: Liveness, *, job_id: str | None = None, restart_count: int = 0, log: str | None = None
    ) -> Claim | None:
        """Claim the cell for this process, or return None when a living process holds it.

        The next number is created exclusively: of several processes that find the same dead claim, one wins.
        """
        last = self.claim()
        if last is not None and not self._released(last) and self.holder_lives(last, alive):
            return None
        pid = os.getpid()
        claim = Claim(
            number=(last.number if last else 0) + 1,
            nonce=secrets.token_hex(8),
            host=socket.gethostname(),
            pid=pid,
            process_start=process_start(pid) or 0.0,
            started=time.time(),
            job_id=job_id,
            restart_count=restart_count,
            log=log,
        )
        path = self.path / "claims" / f"{claim.number:04d}.json"
        return claim if files.create_exclusive(path, files.to_json(asdict(claim))) else None

    def release(self, claim: Claim) -> None:
        """Say that the claim's process is through with the cell, whatever came of it."""
        files.create_exclusive(self.path / "claims" / f"{claim.number:04d}.released", b"")

    def _released(self, claim: Claim) -> bool:
        return (self.path / "claims" / f"{claim.number:04d}.released").exists()

    def holder_lives(self, claim: Claim, alive: Liveness) -> bool:
        """Whether the claim's process lives; where nobody can tell, a stale heartbeat decides."""
        known = alive(claim)
        if known is None:
            known = local_liveness(claim)
        if known is None:
            beat = max(claim.started, float(self.progress().get("time", 0.0)))
            known = time.time() - beat < HEARTBEAT_STALE_S
        return known

    def check(self, claim: Claim) -> None:
        """Raise ClaimLostError unless `claim` still holds the cell. Called before every commit."""
        held = self.claim()
        if held is None or held.nonce != claim.nonce:
            who = held.who if held else "nobody"
            raise ClaimLostError(
                f"{self.id} must be held by {claim.who} to be written, but is held by {who}; it stops here"
            )

    # ---- progress -----------------------------------------------------------------------------------------------

    def write_progress(self, value: Mapping[str, Any]) -> None:
        """Replace the progress note; `time` is added."""
        files.write_json(self.path / "progress.json", {**value, "time": time.time()})

    def progress(self) -> dict[str, Any]:
        """The progress note, empty when there is none."""
        try:
            return files.read_object(self.path / "progress.json")
        except (FileNotFoundError, StoreError):
            return {}

    # ---- outcome ------------------------------------------------------------------------------------------------

    def output(self, claim: Claim) -> Path:
        """The folder that the claim's process writes its adapter and predictions to."""
        return self.path / f"output-{claim.number:04d}"

    def commit(self, claim: Claim, result: Mapping[str, Any]) -> bool:
        """Seal the claim's output and link the result exclusively. False: another incarnation was first.

        Every file of the output enters the result with its sha256.
        """
        self.check(claim)
        folder = self.output(claim)
        sums = {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in _walk(folder)}
        value = {**result, "id": self.id, "claim": claim.number, "output": folder.name, "files": sums}
        value["seal"] = ids.digest(value)
        won = files.create_exclusive(self.path / "result.json", files.to_json(value))
        if won:
            (self.path / "error.json").unlink(missing_ok=True)
            shutil.rmtree(self.path / "checkpoint", ignore_errors=True)
        return won

    def result(self) -> dict[str, Any] | None:
        """The result, whose seal and id must match; None when there is none. Raises DamagedError."""
        path = self.path / "result.json"
        try:
            value = files.read_object(path)
        except FileNotFoundError:
            return None
        if value.get("id") != self.id or not _sealed(value):
            raise DamagedError(
                f"{path} must be the sealed result of {self.id}, but does not match; move the folder away"
            )
        return value

    def verify(self, result: Mapping[str, Any]) -> Path:
        """Check every file of a result's output; return the output folder. Raises DamagedError naming the file."""
        folder = self.path / str(result["output"])
        for name, expected in result["files"].items():
            path = folder / name
            if not path.resolve().is_relative_to(self.path.resolve()) or not path.is_file():
                raise DamagedError(
                    f"{path} must be part of the result of {self.id}, but is missing; run the cell again"
                )
            if files.sha256_file(path) != expected:
                raise DamagedError(f"{path} must match its checksum in result.json, but does not; move the folder away")
        return folder

    def fail(self, claim: Claim, *, kind: str, message: str, traceback: str = "") -> None:
        """Record the last failure, unless the cell belongs to somebody else by now."""
        self.check(claim)
        error = {"class": kind, "message": message, "traceback": traceback, "claim": claim.number, "time": time.time()}
        files.write_json(self.path / "error.json", error)

    def error(self) -> dict[str, Any] | None:
        """The last failure, if any."""
        try:
            return files.read_object(self.path / "error.json")
        except FileNotFoundError:
            return None
        except DamagedError as damaged:
            return {"class": "damaged", "message": str(damaged)}

    def state(self, alive: Liveness) -> CellState:
        """Result: done; living claim: running; error of the last claim: failed; dead claim: lost; else pending."""
        try:
            if self.result() is not None:
                return CellState(state="done")
        except StoreError as error:
            return CellState(state="failed", why=str(error))
        claim = self.claim()
        if claim is None:
            return CellState(state="pending")
        if not self._released(claim) and self.holder_lives(claim, alive):
            return CellState(state="running", why=claim.who, claim=claim)
        failure = self.error()
        if failure is not None and failure.get("claim") == claim.number:
            return CellState(state="failed", why=f"{failure.get('class')}: {failure.get('message')}", claim=claim)
        return CellState(state="lost", why=f"{claim.who} ended without a result", claim=claim)


def _sealed(value: Mapping[str, Any]) -> bool:
    """Whether the seal of a result fits all the rest of it."""
    unsealed = {key: item for key, item in value.items() if key != "seal"}
    try:
        return bool(value.get("seal") == ids.digest_json(unsealed))
    except ValueError:  # NaN, which is no JSON
        return False


def _walk(folder: Path) -> Iterator[Path]:
    """All regular files below a folder, sorted."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


class RunsRoot:
    """The folder that is the database."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def prepared(self) -> Path:
        return self.path / "prepared"

    @property
    def submissions(self) -> Path:
        return self.path / "submissions"

    @property
    def gathered(self) -> Path:
        return self.path / "gathered"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def cell(self, cell_id: str) -> CellDir:
        """The folder of a cell, there or not. Raises UnknownCellError for what cannot be an id."""
        if not CELL_ID.fullmatch(cell_id):
            raise UnknownCellError(f"a cell id must look like epitome_er-s1-0123456789ab, but is {cell_id!r}")
        return CellDir(self.path / "cells" / cell_id)

    def cell_ids(self) -> list[str]:
        """Ids of all cells there are, sorted; foreign names are left alone."""
        try:
            return sorted(name for name in os.listdir(self.path / "cells") if CELL_ID.fullmatch(name))
        except FileNotFoundError:
            return []

    def cells(self) -> list[CellDir]:
        """All cells there are, sorted by id."""
        return [CellDir(self.path / "cells" / name) for name in self.cell_ids()]

    def find(self, name: str) -> CellDir:
        """The one cell whose id starts with `name`. Raises UnknownCellError when none or several do."""
        found = [cell for cell in self.cells() if cell.id.startswith(name)] if name else []
        exact = [cell for cell in found if cell.id == name]
        if len(exact) == 1 or len(found) == 1:
            return (exact or found)[0]
        if not found:
            raise UnknownCellError(
                f"{name!r} must be the id of a cell in {self.path}, but none starts so; see `status`"
            )
        raise UnknownCellError(
            f"{name!r} must name one cell, but {len(found)} start so: {', '.join(cell.id for cell in found[:5])}, ..."
        )


@cache
def default_runs() -> Path:
    """EMPSLURM_RUNS, or runs/ here."""
    return Path(os.environ.get("EMPSLURM_RUNS", "runs"))
