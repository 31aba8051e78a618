"""Calls to Slurm's controller other than sbatch and squeue, patient with one that is busy or down."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from empslurm.errors import SchedulerError
from empslurm.launch import environment

COMMAND_TIMEOUT_S = 120
DEFAULT_MAX_ARRAY = 1001  # Slurm's own default of MaxArraySize
PATIENCE_S = 600.0
RETRY_S = 5.0
# Slurm's messages about a controller that cannot be reached or is too busy at the moment.
AWAY = re.compile(
    r"unable to contact slurm|unable to establish c\w+|communication connection failure|connection (refused|timed out)|"
    r"(message|communication) \w+ failure|\((connect|send|receive|shutdown) failure\)|socket timed out|zero bytes were|"
    r"backup controller in standby|temporarily un(able|available)|timed out after \d",
    re.IGNORECASE,
)
# sbatch prints Slurm's verdict last; the text before it may be a site's own message to its users.
VERDICT = re.compile(r"(?:job submission failed|allocation failure): ?(.*)", re.IGNORECASE)

# What scancel says about a job that has already ended.
HAS_ENDED = re.compile(r"invalid job id|already complet\w+|job/step already", re.IGNORECASE)


def is_away(said: str) -> bool:
    """Whether a command failed because the controller did not answer, so that it may succeed later."""
    verdicts = VERDICT.findall(said)
    return AWAY.search(verdicts[-1] if verdicts else said) is not None


def words(said: str) -> str:
    """Slurm's own message in a command's output; the last line where no line is marked as Slurm's."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    messages = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines if line.startswith("sbatch:")]
    messages += [match[1] for line in lines if (match := VERDICT.search(line)) and not line.startswith("sbatch:")]
    return "; ".join(dict.fromkeys(messages or lines[-1:])) or "nothing"


def run(*command: str, text: str | None = None) -> tuple[bool, str]:
    """Whether a command succeeded, and what it said: on standard output, or else on standard error.

    `text`: its standard input.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            input=text,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env=environment.for_slurm(os.environ),
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, str(error)
    good = done.returncode == 0
    return good, (done.stdout.strip() if good else "") or done.stderr.strip()


def patiently(*command: str, patience_s: float = PATIENCE_S, text: str | None = None) -> tuple[bool, str]:
    """As `run`, but try again while the controller does not answer, for `patience_s` at most."""
    end = time.monotonic() + patience_s
    while True:
        good, said = run(*command, text=text)
        if good or not is_away(said) or time.monotonic() > end:
            return good, said
        time.sleep(RETRY_S)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the controller says about itself."""

    name: str | None  # None: it does not say
    max_array: int  # most elements of one array
    hides_jobs: bool  # of other users


@cache
def cluster() -> Cluster:
    """The cluster that answers here; asked for once. Raises SchedulerError when none answers."""
    good, said = patiently("scontrol", "show", "config", patience_s=60)
    if not good:
        raise SchedulerError(
            f"Slurm's controller must answer, but says: {said}; wait until `sinfo` answers, then try again"
        )
    fields = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", said, re.MULTILINE))
    most = fields.get("MaxArraySize", "")
    return Cluster(
        name=fields.get("ClusterName"),
        max_array=max(1, int(most)) if most.isdigit() else DEFAULT_MAX_ARRAY,
        hides_jobs="jobs" in fields.get("PrivateData", "").split(","),
    )


def requeue(job_id: str, *, exclude: Sequence[str] = (), delay_s: int = 0) -> str:
    """Queue this process's own job again, elsewhere or later if asked; return Slurm's objection, empty on success.

    Only a pending job can be changed. The job is pending from the requeue on, while its processes still have time to
    end.
    """
    good, said = patiently("scontrol", "requeue", job_id)
    if not good:
        return said or "nothing"
    changes = [f"ExcNodeList={','.join(exclude)}"] if exclude else []
    changes += [f"StartTime=now+{delay_s}"] if delay_s else []
    if changes:
        run("scontrol", "update", f"JobId={job_id}", *changes)
    return ""


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs and array elements; jobs that have already ended are no error. Raises SchedulerError."""
    refused = ""
    for start in range(0, len(job_ids), 500):
        good, said = patiently("scancel", *job_ids[start : start + 500], patience_s=60)
        left = [line for line in said.splitlines() if not HAS_ENDED.search(line)]
        refused = refused or ("" if good else "; ".join(left))
    if refused:
        raise SchedulerError(f"the jobs must be cancelled, but Slurm says: {refused}; run the same command again")
