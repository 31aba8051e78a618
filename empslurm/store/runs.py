"""The runs root: every path, every read and every write; a cell's state is computed from what is there.

runs/cells/<id>/cell.json               identity, written once
                claims/0001.json        who runs it; the highest number holds the cell, older ones are history
                claims/0001.beat        when its process last said that it lives
                checkpoint/             sealed files, the last good one kept until the next is verified
                metrics.jsonl           one line per evaluation, for people who watch
                progress.json           where training stands, replaced every few seconds
                output-0001/            adapter/, predictions.parquet, provenance.json of claim 1
                result.json             written last, by exclusive link; names its output and every checksum
                error.json              the last failure: class, sentence, traceback tail
runs/prepared/                          parsed and tokenised data under content digests
runs/submissions/                       what was sent to Slurm
runs/searches/<study>/journal.log       what a search's sampler knows; made again from the trials' cells when lost
runs/gathered/                          derived; delete at will
"""

from __future__ import annotations

import contextlib
import math
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
from types import UnionType
from typing import Any, Literal

from empslurm import files, ids
from empslurm.cells import CELL_ID, Cell
from empslurm.errors import ClaimLostError, DamagedError, StoreError, UnknownCellError

State = Literal["done", "failed", "running", "queued", "lost", "pending"]  # queued: only Slurm's queue tells
CLAIM_FILE = re.compile(r"[0-9]{4,9}\.json")
OUTPUT = re.compile(r"output-[0-9]{4,9}")
HEARTBEAT_STALE_S = 900.0  # a claim whose process cannot be seen: after this silence it is lost


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
    kernel: str = ""  # boot and process name space: hosts, and containers on one host, may share a name
    job_name: str | None = None  # with a nonce; ids of jobs may occur again
    cluster: str | None = None  # that has the job

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


@cache
def kernel() -> str:
    """What process ids are unique within: this boot of this machine, and this process's name space."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def local_liveness(claim: Claim) -> bool | None:
    """Whether the claiming process lives, as far as this host can tell."""
    if claim.host != socket.gethostname() or claim.kernel != kernel() or claim.job_id is not None:
        return None
    return process_start(claim.pid) == claim.process_start


@dataclass(frozen=True, kw_only=True)
class CellState:
    """A cell's computed state and the sentence that explains it."""

    state: State
    why: str = ""
    claim: Claim | None = None
    flags: tuple[str, ...] = ()  # of a done one: as its result has them, see `metrics.FLAGS`


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

    def _claim_files(self) -> list[Path]:
        """Oldest first. Raises StoreError where the folder cannot be listed: that must not look like no claim."""
        folder = self.path / "claims"
        return [folder / name for name in sorted(_names(folder, CLAIM_FILE), key=lambda name: int(name[:-5]))]

    def claims(self) -> list[Claim]:
        """All claims, oldest first."""
        return [_read_claim(path) for path in self._claim_files()]

    def claim(self) -> Claim | None:
        """The claim that holds the cell, if there ever was one."""
        there = self._claim_files()
        return _read_claim(there[-1]) if there else None

    def take(
        self,
        alive: Liveness,
        *,
        job_id: str | None = None,
        restart_count: int = 0,
        log: str | None = None,
        job_name: str | None = None,
        cluster: str | None = None,
    ) -> Claim | None:
        """Claim the cell for this process, or return None when it is done or a living process holds it.

        The next number is created exclusively: of several processes that find the same dead claim, one wins.
        """
        if self.tidy():
            return None
        last = self.claim()
        if last is not None and not self._released(last):
            of_this_job = job_id is not None and (last.job_id, last.job_name) == (job_id, job_name)
            # Slurm started this very job again, so that its earlier start is over.
            over = of_this_job and last.restart_count < restart_count
            newer_self = of_this_job and last.restart_count > restart_count
            if newer_self or (not over and self.holder_lives(last, alive)):
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
            kernel=kernel(),
            job_name=job_name,
            cluster=cluster,
        )
        path = self.path / "claims" / f"{claim.number:04d}.json"
        if not files.create_exclusive(path, files.to_json(asdict(claim))):
            return None
        if self.tidy():  # the holder before committed while this process looked at its claim
            self.release(claim)
            return None
        files.sweep(self.path / "checkpoint")
        return claim

    def release(self, claim: Claim) -> None:
        """Say that the claim's process is through with the cell, whatever came of it.

        Where no note can be written any more (a full disk), the end of the process says the same a little later.
        """
        with contextlib.suppress(StoreError):
            files.create_exclusive(self.path / "claims" / f"{claim.number:04d}.released", b"")
        with contextlib.suppress(OSError):
            (self.path / "claims" / f"{claim.number:04d}.beat").unlink(missing_ok=True)

    def _released(self, claim: Claim) -> bool:
        return (self.path / "claims" / f"{claim.number:04d}.released").exists()

    def beat(self, claim: Claim) -> None:
        """Say that the claim's process lives, for those who cannot see it; a beat that fails is not missed."""
        with contextlib.suppress(StoreError):
            files.write_json(self.path / "claims" / f"{claim.number:04d}.beat", {"time": time.time()})

    def holder_lives(self, claim: Claim, alive: Liveness) -> bool:
        """Whether the claim's process lives; where nobody can tell, a stale heartbeat decides."""
        known = self._known(claim, alive)
        return self._silence_s(claim) < HEARTBEAT_STALE_S if known is None else known

    @staticmethod
    def _known(claim: Claim, alive: Liveness) -> bool | None:
        known = alive(claim)
        return local_liveness(claim) if known is None else known

    def _silence_s(self, claim: Claim) -> float:
        """Seconds since the claim's last sign of life."""
        now = time.time()
        beat = _numbers(self.path / "claims" / f"{claim.number:04d}.beat")
        beats = (claim.started, *(note.get("time", 0.0) for note in (beat, self.progress())))
        # A beat from the future is a clock that is wrong or a file that lies: it counts for nothing.
        return min((max(0.0, now - beat) for beat in beats if beat < now + HEARTBEAT_STALE_S), default=math.inf)

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

    def progress(self) -> dict[str, float]:
        """The numbers of the progress note; empty when there is none that can be read."""
        return _numbers(self.path / "progress.json")

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
        sums = {path.relative_to(folder).as_posix(): _checksum(path) for path in _walk(folder)}
        if not sums:
            raise StoreError(f"{folder} must hold what {self.id} gave, but is empty; run the cell again")
        for name in sums:  # libraries wrote some of them, and do not flush
            files.sync_file(folder / name)
        value = {**result, "id": self.id, "claim": claim.number, "output": folder.name, "files": sums}
        value["seal"] = ids.digest(value)
        won = files.create_exclusive(self.path / "result.json", files.to_json(value))
        self.tidy()
        return won

    def tidy(self) -> bool:
        """Whether the cell is done; then what led there is removed: checkpoints, failures, outputs that lost.

        A process that was killed right after its commit leaves this to whoever comes next. Raises DamagedError.
        """
        result = self.result()
        if result is None:
            return False
        for name in ("checkpoint", *_names(self.path, OUTPUT)):
            if name != result["output"]:
                shutil.rmtree(self.path / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.path / "error.json").unlink(missing_ok=True)
        files.sweep(self.path)
        return True

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
        output, sums = value.get("output"), value.get("files")
        named = isinstance(output, str) and OUTPUT.fullmatch(output)
        if not named or not isinstance(sums, dict) or not all(isinstance(item, str) for item in sums.values()):
            raise DamagedError(
                f"{path} must name its output and the checksums of its files, but does not; run it again"
            )
        return value

    def verify(self, result: Mapping[str, Any]) -> Path:
        """Check every file of a result's output; return the output folder. Raises DamagedError naming the file."""
        folder = self.path / str(result["output"])
        there = {path.relative_to(folder).as_posix() for path in _walk(folder)}
        for name, expected in result["files"].items():
            if name not in there:
                raise DamagedError(
                    f"{folder / name} must be part of the result of {self.id}, but is missing; move the cell's folder "
                    "away and run it again"
                )
            if _checksum(folder / name) != expected:
                raise DamagedError(
                    f"{folder / name} must match its checksum in result.json, but does not; move the folder away"
                )
        foreign = sorted(there - set(result["files"]))
        if foreign:
            raise DamagedError(
                f"{folder / foreign[0]} must be named in result.json to be there, but is not; move the file away"
            )
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
        except StoreError as unreadable:
            return {"class": "damaged", "message": str(unreadable)}

    def state(self, alive: Liveness) -> CellState:
        """Result: done; living claim: running; error of the last claim: failed; dead claim: lost; else pending."""
        try:
            if (result := self.result()) is not None:
                flags = result.get("flags")
                return CellState(state="done", flags=tuple(map(str, flags if isinstance(flags, list) else ())))
            claim = self.claim()
        except StoreError as error:
            return CellState(state="failed", why=str(error))
        if claim is None:
            return CellState(state="pending")
        if not self._released(claim):
            known = self._known(claim, alive)
            silence_s = self._silence_s(claim)
            if known or (known is None and silence_s < HEARTBEAT_STALE_S):
                unseen = "" if known else f", which cannot be seen; its last sign of life is {silence_s:.0f} s old"
                return CellState(state="running", why=f"{claim.who}{unseen}", claim=claim)
        failure = self.error()
        if failure is not None and failure.get("claim") == claim.number:
            return CellState(state="failed", why=f"{failure.get('class')}: {failure.get('message')}", claim=claim)
        return CellState(state="lost", why=f"{claim.who} ended without a result", claim=claim)


def _numbers(path: Path) -> dict[str, float]:
    """The numbers of a small note; empty when there is none that can be read."""
    try:
        note = files.read_object(path)
    except (FileNotFoundError, StoreError):
        return {}
    return {key: value for key, value in note.items() if _is_number(value)}


def _sealed(value: Mapping[str, Any]) -> bool:
    """Whether the seal of a result fits all the rest of it."""
    unsealed = {key: item for key, item in value.items() if key != "seal"}
    try:
        return bool(value.get("seal") == ids.digest_json(unsealed))
    except ValueError:  # NaN, which is no JSON
        return False


def _walk(folder: Path) -> Iterator[Path]:
    """All that is no folder below a folder, sorted; links are not followed."""
    found = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return iter(sorted(found))


def _checksum(path: Path) -> str:
    """sha256 of a regular file. Raises DamagedError for anything else, StoreError where it cannot be read."""
    try:
        if path.is_symlink() or not path.is_file():
            raise DamagedError(f"{path} must be a regular file, but is not; move it away")
        return files.sha256_file(path)
    except OSError as error:
        raise StoreError(f"{path} must be readable, but is not: {error.strerror or error}; get read access") from error


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Names in a folder that wholly match; none where it is absent. Raises StoreError where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if pattern.fullmatch(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"{folder} must be a folder that can be listed, but is not: {error.strerror or error}; mend that first"
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_claim(path: Path) -> Claim:
    """A claim; a damaged one has no owner but counts as held since it was written, so that nobody living loses it.

    Raises StoreError where it cannot be read.
    """
    number = int(path.stem)
    try:
        value = {**files.read_object(path), "number": number}
        given = {**NEWER_CLAIM_FIELDS, **value}
        if all(isinstance(given.get(name), kind) for name, kind in CLAIM_FIELDS.items()):
            return Claim(**value)
    except (DamagedError, FileNotFoundError, TypeError):  # absent: a link to nowhere
        pass
    written = 0.0
    with contextlib.suppress(OSError):
        written = path.lstat().st_mtime
    return Claim(number=number, nonce="", host="?", pid=0, process_start=0.0, started=written)


CLAIM_FIELDS: Mapping[str, type | UnionType] = {
    "nonce": str,
    "host": str,
    "pid": int,
    "process_start": int | float,
    "started": int | float,
    "job_id": str | None,
    "restart_count": int,
    "log": str | None,
    "kernel": str,
    "job_name": str | None,
    "cluster": str | None,
}
NEWER_CLAIM_FIELDS: Mapping[str, object] = {"kernel": "", "job_name": None, "cluster": None}  # absent from old claims


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
    def searches(self) -> Path:
        return self.path / "searches"

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

    def ids(self) -> list[str]:
        """The ids of all cells there are, sorted; foreign names are left alone. Raises StoreError."""
        return _names(self.path / "cells", CELL_ID)

    def cells(self) -> list[CellDir]:
        """All cells there are, sorted by id. Raises StoreError."""
        return [CellDir(self.path / "cells" / name) for name in self.ids()]

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
