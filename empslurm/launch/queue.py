"""What Slurm's queue says: one squeue call, read into jobs. Nothing here needs accounting."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# A controller that is away lets squeue fail only after some nine seconds.
SQUEUE_TIMEOUT_S = 60
COLUMNS = {  # squeue's fields with widths: a field that fills its column would run into the next
    "ArrayJobID": 14,
    "ArrayTaskID": 14,
    "JobID": 14,
    "State": 20,
    "RestartCnt": 8,
    "Reason": 60,
    "NodeList": 60,
    "Name": 100,
}
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "CONFIGURING", "STAGE_OUT"})


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job or array element that the queue knows."""

    id: str  # "1234", or "1234_7" for an array element
    state: str  # as squeue writes it: PENDING, RUNNING, ...
    restarts: int
    reason: str
    node: str
    name: str

    @property
    def runs(self) -> bool:
        """True while its processes may live."""
        return self.state in RUNNING

    @property
    def why(self) -> str:
        """For people: where it is, or what it waits for."""
        if self.runs:
            return f"job {self.id} is {self.state.lower()} on {self.node or 'its node'}"
        waits = "" if self.reason in ("None", "") else f" ({self.reason})"
        return f"job {self.id} is {self.state.lower()}{waits}"


def ask(*options: str) -> dict[str, Job] | None:
    """Jobs by id, of all users or those that squeue's `options` select; None when squeue does not answer."""
    if shutil.which("squeue") is None:
        return None
    layout = ",".join(f"{field}:{width}" for field, width in COLUMNS.items())
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--array", f"--Format={layout}", *options],
            capture_output=True,
            text=True,
            timeout=SQUEUE_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse(done.stdout.splitlines())


def parse(lines: Sequence[str]) -> dict[str, Job]:
    """Jobs of squeue's columns of fixed width."""
    jobs = {}
    for line in lines:
        cut, start = [], 0
        for width in COLUMNS.values():
            cut.append(line[start : start + width].strip())
            start += width
        array, task, job, state, restarts, reason, node, name = cut
        if not state:
            continue
        job_id = f"{array}_{task}" if task.isdigit() else job
        jobs[job_id] = Job(
            id=job_id,
            state=state,
            restarts=int(restarts) if restarts.isdigit() else 0,
            reason=reason,
            node=node,
            name=name,
        )
    return jobs
