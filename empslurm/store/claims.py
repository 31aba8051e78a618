"""Who runs a cell: its claims, and whether the process behind one lives.

claims/0001.json        who runs it; the highest number holds the cell, older ones are history
claims/0001.beat        the last heartbeat of its process
claims/0001.released    its process has finished with the cell
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from empslurm import files
from empslurm.errors import DamagedError, StoreError
from empslurm.store.folders import names
from empslurm.validation import decode
from empslurm.validation.constraints import Later

CLAIM_FILE = re.compile(r"[0-9]{4,9}\.json")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who runs a cell: job id, restart count and nonce together identify one start of one job."""

    number: int
    nonce: str
    host: str
    pid: int
    process_start: float  # in clock ticks since boot: differs if the pid is reused
    started: float  # Unix time
    job_id: str | None = None  # as squeue prints it, e.g. "1234_7"
    restart_count: int = 0
    log: str | None = None  # the process's log file
    kernel: Annotated[str, Later()] = ""  # boot and PID namespace: hosts and containers may share a name
    job_name: str | None = None  # with a nonce, since Slurm may reuse job ids
    cluster: str | None = None  # the Slurm cluster of the job

    @property
    def who(self) -> str:
        """The holder's name in messages."""
        return f"job {self.job_id}" if self.job_id else f"process {self.pid} on {self.host}"


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A claim's last heartbeat."""

    time: float  # Unix time


Liveness = Callable[[Claim], bool | None]  # None: unknown


def process_start(pid: int) -> float | None:
    """Start time of a process on this host in clock ticks since boot; None when it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else float(fields[19])


@cache
def kernel() -> str:
    """The scope in which process ids are unique: this boot of this machine, and this process's PID namespace."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def local_liveness(claim: Claim) -> bool | None:
    """Whether the claiming process lives; None if this host cannot know."""
    if claim.host != socket.gethostname() or claim.kernel != kernel() or claim.job_id is not None:
        return None
    return process_start(claim.pid) == claim.process_start


def of_this_process(
    number: int, *, job_id: str | None, restart_count: int, log: str | None, job_name: str | None, cluster: str | None
) -> Claim:
    """A new claim of this process."""
    return Claim(
        number=number,
        nonce=secrets.token_hex(8),
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()) or 0.0,
        started=time.time(),
        job_id=job_id,
        restart_count=restart_count,
        log=log,
        kernel=kernel(),
        job_name=job_name,
        cluster=cluster,
    )


class ClaimFolder:
    """The claims of one cell."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _files(self) -> list[Path]:
        """Claim files, oldest first. Raises StoreError if the folder cannot be listed: that must not mean no claim."""
        return [self.path / name for name in sorted(names(self.path, CLAIM_FILE), key=lambda name: int(name[:-5]))]

    def all(self) -> list[Claim]:
        """All claims, oldest first."""
        return [_read(path) for path in self._files()]

    def newest(self) -> Claim | None:
        """The claim that holds the cell, if there ever was one."""
        claims = self._files()
        return _read(claims[-1]) if claims else None

    def add(self, claim: Claim) -> bool:
        """Create a claim exclusively: of several processes that want the same number, one wins."""
        return files.create_exclusive(self._file(claim, "json"), files.to_json(asdict(claim)))

    def release(self, claim: Claim) -> None:
        """Note that the claim's process has finished with the cell.

        If the note cannot be written (a full disk), the end of the process has the same effect a little later.
        """
        with contextlib.suppress(StoreError):
            files.create_exclusive(self._file(claim, "released"), b"")
        with contextlib.suppress(OSError):
            self._file(claim, "beat").unlink(missing_ok=True)

    def is_released(self, claim: Claim) -> bool:
        """Whether the claim's process has noted that it has finished."""
        return self._file(claim, "released").exists()

    def beat(self, claim: Claim) -> None:
        """Write a heartbeat of the claim's process; a failure is ignored."""
        with contextlib.suppress(StoreError):
            files.write_json(self._file(claim, "beat"), asdict(Beat(time=time.time())))

    def last_beat(self, claim: Claim) -> float:
        """Unix time of the claim's last heartbeat; 0 if there is none, or it cannot be read."""
        try:
            beat: Beat = decode.load(self._file(claim, "beat"), Beat)
        except (FileNotFoundError, StoreError):
            return 0.0
        return beat.time

    def _file(self, claim: Claim, ending: str) -> Path:
        return self.path / f"{claim.number:04d}.{ending}"


def _read(path: Path) -> Claim:
    """Read a claim. A damaged one has no owner, but counts as held since it was written: its process may still live.

    Raises StoreError if it cannot be read.
    """
    number = int(path.stem)  # whatever the file says
    try:
        claim: Claim = decode.reader(Claim)({**files.read_object(path), "number": number})
        return claim
    except (decode.Unfit, DamagedError, FileNotFoundError):  # not found: a dangling link
        pass
    written = 0.0
    with contextlib.suppress(OSError):
        written = path.lstat().st_mtime
    return Claim(number=number, nonce="", host="?", pid=0, process_start=0.0, started=written)
