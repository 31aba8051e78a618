"""Whether the holder of a claim lives: this host's processes first, then squeue."""

from __future__ import annotations

import shutil
import subprocess

from empslurm.store import Claim, Liveness, local_liveness

SQUEUE_TIMEOUT_S = 30


def queued_jobs() -> dict[str, str] | None:
    """State by job id ("1234_7" for array elements) of all jobs squeue knows; None when it does not answer."""
    if shutil.which("squeue") is None:
        return None
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i %T"],
            capture_output=True,
            text=True,
            timeout=SQUEUE_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "CONFIGURING"}


def liveness() -> Liveness:
    """A function of claims that asks squeue once at most. A requeued job is pending: its old claim is dead."""
    asked: list[dict[str, str] | None] = []

    def alive(claim: Claim) -> bool | None:
        if claim.job_id is None:
            return local_liveness(claim)
        if not asked:
            asked.append(queued_jobs())
        jobs = asked[0]
        return None if jobs is None else jobs.get(claim.job_id) in RUNNING

    return alive
