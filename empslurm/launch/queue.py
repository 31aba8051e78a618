"""What Slurm's queue says: one squeue call, read into jobs. Nothing here needs accounting."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from empslurm.launch import environment, reasons

# When the controller is down, squeue fails only after about nine seconds.
SQUEUE_TIMEOUT_S = 60
COLUMNS = {  # squeue's fields with widths: a field that fills its column would run into the next
    "ArrayJobID": 14,
    "ArrayTaskID": 14,
    "JobID": 14,
    "State": 20,
    "RestartCnt": 8,
    "Reason": 200,
    "NodeList": 100,
    "Name": 100,
    "Cluster": 60,
}
SLOW = 10.0  # a question that took a second is not asked again for ten
MOST_NAMES = 500  # in one question: command lines have a maximum length
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "CONFIGURING", "STAGE_OUT"})
# squeue still shows such jobs for a while (Slurm's MinJobAge, five minutes by default).
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"}
    | {"TIMEOUT"}
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job or array element that the queue knows."""

    id: str  # "1234_7"; "1234" for a job that is not an array
    state: str  # as squeue writes it: PENDING, RUNNING, ...
    restarts: int
    reason: str
    node: str
    name: str
    cluster: str | None = None  # None: squeue does not say

    def is_called(self, name: str, cluster: str | None) -> bool:
        """Whether it has this name, which contains a nonce, on this cluster. `cluster` None: not known."""
        return self.name == name and (None in (self.cluster, cluster) or self.cluster == cluster)

    @property
    def runs(self) -> bool:
        """True while its processes may live."""
        return self.state in RUNNING

    @property
    def ended(self) -> bool:
        """True when it will never run again."""
        return self.state in ENDED

    @property
    def is_new(self) -> bool:
        """True while Slurm has not considered it yet, and so does not say what it waits for."""
        return self.state == "PENDING" and self.reason.strip("()") in ("", "None", "PartitionConfig")

    @property
    def fix(self) -> str | None:
        """What to do about a job that can never start as it is; None where it runs, or where waiting may help."""
        return None if self.runs or self.ended else reasons.fix_of(self.reason)

    @property
    def why(self) -> str:
        """For people: where it is, or what it waits for."""
        if self.runs:
            return f"job {self.id} is {self.state.lower()} on {self.node or 'its node'}"
        waits = "" if self.reason in ("None", "") else f" ({self.reason})"
        return f"job {self.id} is {self.state.lower()}{waits}"


def ask(names: Collection[str] = (), users: Collection[int] = ()) -> dict[str, Job] | None:
    """Jobs by id, also those that ended a moment ago; None when squeue does not answer.

    `names`: only jobs with these names; empty: all. `users`: only jobs of these user ids; empty: all.
    """
    if shutil.which("squeue") is None:
        return None
    layout = ",".join(f"{field}:{width}" for field, width in COLUMNS.items())
    chosen = [f"--user={','.join(map(str, sorted(users)))}"] if users else []
    chosen += [f"--name={','.join(sorted(names))}"] if 0 < len(names) <= MOST_NAMES else []
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--array", "--all", "--states=all", f"--Format={layout}", *chosen],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SQUEUE_TIMEOUT_S,
            check=True,
            env=environment.for_slurm(os.environ),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse(done.stdout.splitlines())


def parse(lines: Sequence[str]) -> dict[str, Job]:
    """Read jobs from squeue's columns of fixed width."""
    jobs = {}
    for line in lines:
        cut, start = [], 0
        for width in COLUMNS.values():
            cut.append(line[start : start + width].strip())
            start += width
        array, task, job, state, restarts, reason, node, name, cluster = cut
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
            cluster=None if cluster in ("", "N/A", "(null)") else cluster,
        )
    return jobs


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What squeue said, and when it was asked."""

    jobs: Mapping[str, Job] | None  # None: it did not answer
    asked: float  # Unix time


class Queue:
    """squeue's answer, asked for only when it is needed, and not more often than `every_s` allows."""

    def __init__(self, ask: Callable[[], Mapping[str, Job] | None], *, every_s: float = 0.0) -> None:
        """`every_s`: least time between two questions; a controller that answers slowly is asked more rarely."""
        self._ask, self._pause_s, self._every_s = ask, every_s, every_s
        self._answer: Answer | None = None

    def look(self, since: float = 0.0) -> Answer:
        """An answer to a question asked at `since` (Unix time) or later, if one may be asked now; else the last one."""
        last = self._answer
        now = time.time()
        if last is None or (last.asked < since and now - last.asked >= self._pause_s):
            begin = time.monotonic()
            self._answer = Answer(jobs=self._ask(), asked=now)
            self._pause_s = max(self._every_s, SLOW * (time.monotonic() - begin)) if self._every_s else 0.0
        assert self._answer is not None
        return self._answer

    @property
    def jobs(self) -> Mapping[str, Job] | None:
        """Jobs by id; asked for once or, with `every_s`, again at that pace. None when squeue does not answer."""
        return self.look(time.time() - self._every_s if self._every_s else 0.0).jobs
