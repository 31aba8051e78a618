"""What is asked of Slurm's controller besides sbatch and squeue, patient with one that is busy or away."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence

from empslurm.errors import SchedulerError

COMMAND_TIMEOUT_S = 120
DEFAULT_MAX_ARRAY = 1001  # Slurm's own default of MaxArraySize
PATIENCE_S = 600.0
RETRY_S = 5.0
AWAY = re.compile(
    r"unable to contact|connection refused|connect failure|timed out|zero bytes|temporarily|communication|"
    r"try again|not responding|socket|controller|slurmctld",
    re.IGNORECASE,
)


def run(*command: str) -> tuple[bool, str]:
    """Whether a command succeeded, and what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return False, str(error)
    return done.returncode == 0, (done.stdout if done.returncode == 0 else done.stderr).strip()


def patiently(*command: str, patience_s: float = PATIENCE_S) -> tuple[bool, str]:
    """As `run`, but again for as long as the controller does not answer."""
    end = time.monotonic() + patience_s
    while True:
        good, said = run(*command)
        if good or not AWAY.search(said) or time.monotonic() > end:
            return good, said
        time.sleep(RETRY_S)


def max_array_size() -> int:
    """The cluster's MaxArraySize: the most elements of one array. Raises SchedulerError when it does not answer."""
    good, said = patiently("scontrol", "show", "config", patience_s=60)
    if not good:
        raise SchedulerError(f"Slurm's controller must answer to submit, but says: {said}; try `sinfo`, then again")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
    return max(1, int(found.group(1))) if found else DEFAULT_MAX_ARRAY


def requeue(job_id: str, *, exclude: Sequence[str] = (), delay_s: int = 0) -> str:
    """Queue this process's own job again, elsewhere or later if asked for; what Slurm objects, empty when it is done.

    Only a pending job can be changed. It is that from the requeue on, while its processes get their time to end.
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
    """End jobs and array elements. Raises SchedulerError when Slurm refuses."""
    for start in range(0, len(job_ids), 500):
        good, said = patiently("scancel", *job_ids[start : start + 500], patience_s=60)
        if not good:
            raise SchedulerError(f"the jobs must be cancelled, but Slurm says: {said}; try again")
