"""Whether the holder of a claim is alive: by squeue for jobs, by its process on this host or in this very job.

A job is recognised by its id and its name, which contains a nonce: ids start at 1 again when a controller loses its
state, and two clusters that share a file system give the same ids. A job that squeue does not show may still be alive:
it may belong to another user and be hidden from this one. Then only the claim's heartbeat can show it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any

from empslurm.launch.queue import Answer, Job, Queue
from empslurm.store.claims import Claim, Liveness, local_liveness, process_start

LOG_VARIABLE = "EMPSLURM_LOG"
ARRAY_VARIABLE = "EMPSLURM_ARRAY"  # the marker of the array that this process is an element of
NAME_VARIABLE = "EMPSLURM_JOB_NAME"  # the array's name, as Slurm has it
CLOCKS_S = 60.0  # clocks of two machines may differ by this much
BELIEVED_S = 60.0  # how long a job that squeue showed as running counts as running
OUR_NAME = re.compile(r".+\.[0-9a-f]{8}")


def job_identity() -> dict[str, Any]:
    """Job, restart count and log file of this process, as claims store them.

    Outside an element of an array there is no job: Slurm's variables would be those of an interactive allocation.
    """
    variables = os.environ
    if not variables.get(ARRAY_VARIABLE):
        return {"job_id": None, "restart_count": 0, "log": variables.get(LOG_VARIABLE)}
    return {
        "job_id": f"{variables.get('SLURM_ARRAY_JOB_ID')}_{variables.get('SLURM_ARRAY_TASK_ID')}",
        "restart_count": int(variables.get("SLURM_RESTART_COUNT", "0") or 0),
        "log": variables.get(LOG_VARIABLE),
        "job_name": variables.get(NAME_VARIABLE),
        "cluster": variables.get("SLURM_CLUSTER_NAME"),
    }


def liveness(queue: Queue, *, ask_again: bool = True) -> Liveness:
    """Make a function that judges claims: True (alive), False (dead), or None where only the heartbeat can show it.

    An incarnation is a job with a restart count. The older claims of a requeued job are dead, wherever they were made.
    For claims of this process's own incarnation, the claiming process itself is checked.

    Only an answer of squeue that is newer than a claim can show that it is dead: its job may have started after an
    older one. Without `ask_again` squeue is not asked again for this; a later answer can judge the same claim.
    """
    own = job_identity()
    first_seen: dict[str, float] = {}  # by nonce: when each claim was first seen, and so existed

    def alive(claim: Claim) -> bool | None:
        if claim.job_id is None:
            return local_liveness(claim)
        if (claim.job_id, claim.job_name) == (own["job_id"], own.get("job_name")):
            same = claim.restart_count == own["restart_count"] and claim.host == socket.gethostname()
            return same and process_start(claim.pid) == claim.process_start
        now = time.time()
        since = min(claim.started + CLOCKS_S, first_seen.setdefault(claim.nonce, now))
        answer = queue.look(now - BELIEVED_S)
        if _verdict(answer, claim):
            return True
        if answer.asked < since and ask_again:
            answer = queue.look(since)
        known = _verdict(answer, claim)
        return known if known or answer.asked >= since else None

    return alive


def _verdict(answer: Answer, claim: Claim) -> bool | None:
    """What squeue's answer says about a claim; None where it says nothing."""
    job = (answer.jobs or {}).get(str(claim.job_id))
    if job is None or not is_of(job, claim) or job.restarts < claim.restart_count:
        return None
    return job.runs and job.restarts == claim.restart_count


def is_of(job: Job, claim: Claim) -> bool:
    """Whether a job is the one that made a claim, and not another one with the same id."""
    if claim.job_name is None:  # written by an earlier version
        return OUR_NAME.fullmatch(job.name) is not None
    return job.is_called(claim.job_name, claim.cluster)
