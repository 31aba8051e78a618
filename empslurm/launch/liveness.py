"""Whether the holder of a claim lives: by squeue for jobs, by the process for this host and for one's own job."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from empslurm.launch import queue
from empslurm.launch.queue import Job
from empslurm.store import Claim, Liveness, local_liveness, process_start

LOG_VARIABLE = "EMPSLURM_LOG"


def job_identity() -> dict[str, Any]:
    """Job id and restart count as Slurm tells them (nothing outside a job), and the log file as the launcher does."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0)
    return {"job_id": job_id, "restart_count": restarts, "log": os.environ.get(LOG_VARIABLE)}


class Queue:
    """squeue's answer, asked for once and only when somebody wants it."""

    def __init__(self, ask: Callable[[], Mapping[str, Job] | None] = queue.ask) -> None:
        self._ask = ask
        self._answer: list[Mapping[str, Job] | None] = []

    @property
    def jobs(self) -> Mapping[str, Job] | None:
        """Jobs by id; None when squeue does not answer."""
        if not self._answer:
            self._answer.append(self._ask())
        return self._answer[0]


def liveness(known: Queue | None = None) -> Liveness:
    """A function of claims that asks squeue once at most.

    An incarnation is a job id with a restart count: of a requeued job the older claims are dead, wherever they were
    made, and within one's own incarnation the process itself is looked at.
    """
    asked = known or Queue()
    own = job_identity()

    def alive(claim: Claim) -> bool | None:
        if claim.job_id is None:
            return local_liveness(claim)
        if claim.job_id == own["job_id"]:
            same = claim.restart_count == own["restart_count"] and claim.host == socket.gethostname()
            return same and process_start(claim.pid) == claim.process_start
        jobs = asked.jobs
        if jobs is None:
            return None
        job = jobs.get(claim.job_id)
        return job is not None and job.runs and job.restarts == claim.restart_count

    return alive
