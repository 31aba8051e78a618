"""Whether the holder of a claim lives: by squeue for jobs, by the process for this host and for one's own job.

A job is told by its id and its name, which carries a nonce: ids start at 1 again when a controller loses its state, and
two clusters that share a file system give the same ones. A job that squeue does not show is not dead for that: it may
be another user's, hidden from this one. Then only the silence of its claim tells.
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
CLOCKS_S = 60.0  # clocks of two machines may differ by so much
BELIEVED_S = 60.0  # a job that was seen to run is believed to run for so long
OUR_NAME = re.compile(r".+\.[0-9a-f]{8}")


def job_identity() -> dict[str, Any]:
    """Which incarnation of which job this process belongs to, and its log file, as claims hold them.

    Nothing outside an element of an array: in somebody's allocation the variables of Slurm are that allocation's.
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
    """A function of claims: True, False, or None where only the claim's heartbeat can tell.

    An incarnation is a job with a restart count: of a requeued job the older claims are dead, wherever they were
    made, and within one's own incarnation the process itself is looked at.

    A claim is dead only by an answer that is younger than it: its job may have started since an older one. Without
    `ask_again` squeue is not asked anew for that; then the same claim can be judged later by a later answer.
    """
    own = job_identity()
    met: dict[str, float] = {}  # when each claim was first looked at, and so was there

    def alive(claim: Claim) -> bool | None:
        if claim.job_id is None:
            return local_liveness(claim)
        if (claim.job_id, claim.job_name) == (own["job_id"], own.get("job_name")):
            same = claim.restart_count == own["restart_count"] and claim.host == socket.gethostname()
            return same and process_start(claim.pid) == claim.process_start
        now = time.time()
        since = min(claim.started + CLOCKS_S, met.setdefault(claim.nonce, now))
        answer = queue.look(now - BELIEVED_S)
        if _verdict(answer, claim):
            return True
        if answer.asked < since and ask_again:
            answer = queue.look(since)
        known = _verdict(answer, claim)
        return known if known or answer.asked >= since else None

    return alive


def _verdict(answer: Answer, claim: Claim) -> bool | None:
    """What an answer of squeue's says of a claim; None where it says nothing."""
    job = (answer.jobs or {}).get(str(claim.job_id))
    if job is None or not is_of(job, claim) or job.restarts < claim.restart_count:
        return None
    return job.runs and job.restarts == claim.restart_count


def is_of(job: Job, claim: Claim) -> bool:
    """Whether a job is the one that made a claim, and not another one of the same number."""
    if claim.job_name is None:  # of an earlier version
        return OUR_NAME.fullmatch(job.name) is not None
    return job.is_called(claim.job_name, claim.cluster)
