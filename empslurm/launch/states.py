"""The cells' states as a planner needs them: what the folders say, and which cells wait in Slurm's queue."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from empslurm.errors import SchedulerError
from empslurm.launch import queue as queues
from empslurm.launch import scontrol
from empslurm.launch.liveness import is_of, liveness
from empslurm.launch.markers import Array, sent
from empslurm.launch.queue import Job, Queue
from empslurm.store.cell_folder import CellState
from empslurm.store.claims import Liveness
from empslurm.store.runs import RunsRoot


def queue_of(root: RunsRoot, *, every_s: float = 0.0) -> Queue:
    """The queue for one runs root: asks squeue for the arrays sent from it, by their names and their users.

    `every_s`: least time between two questions. If nothing was ever sent, squeue is not asked.
    """

    def ask() -> Mapping[str, Job] | None:
        arrays = [array for _, array in sent(root)]
        users = {array.user if array.user is not None else owner(array) for array in arrays}
        known = {user for user in users if user is not None and _is_known(user)}
        return queues.ask({array.name for array in arrays}, known if known == users else ()) if arrays else {}

    return Queue(ask, every_s=every_s)


def owner(array: Array) -> int | None:
    """The owner of a marker's file, for a marker that does not name its user."""
    try:
        return array.path.stat().st_uid
    except OSError:
        return None


def _is_known(user: int) -> bool:
    """Whether this machine knows a user, as squeue must."""
    try:
        return bool(pwd.getpwuid(user))
    except KeyError:
        return False


def jobs_of_cells(root: RunsRoot, queue: Queue) -> dict[str, Job]:
    """The job that has, or will have, each cell, for all arrays of this runs root that the queue still knows.

    A job belongs to an array by its id and its name. Where several jobs have a cell, the running or the newest one is
    named.
    """
    jobs = queue.jobs or {}
    job_of: dict[str, Job] = {}
    for array_id, array in sent(root):
        for element, cells in zip(array.element_ids(array_id), array.cells, strict=True):
            job = jobs.get(element)
            if job is None or job.ended or not job.is_called(array.name, array.cluster):
                continue
            for cell in cells:
                if cell not in job_of or not job_of[cell].runs:
                    job_of[cell] = job
    return job_of


def states(cell_ids: Iterable[str], root: RunsRoot, queue: Queue | None = None) -> Mapping[str, CellState]:
    """The state of every cell. A cell that does not run is `queued` when a job in the queue has it."""
    queue = queue or queue_of(root)
    alive = liveness(queue, ask_again=False)
    present = set(root.ids())
    pending = CellState(state="pending")
    state_of = {cell: root.cell(cell).state(alive) if cell in present else pending for cell in cell_ids}
    unsure = [cell for cell, state in state_of.items() if state.state == "running" and _is_unsure(state, alive)]
    if unsure:  # one more question for all of them, asked after their claims were made
        queue.look(time.time())
        state_of |= {cell: root.cell(cell).state(alive) for cell in unsure}
    if all(state.state in ("done", "running") for state in state_of.values()) or not root.submissions.is_dir():
        return state_of
    jobs = jobs_of_cells(root, queue)
    return {cell: _with_job(state, jobs.get(cell)) for cell, state in state_of.items()}


def _is_unsure(state: CellState, alive: Liveness) -> bool:
    return state.claim is not None and state.claim.job_id is not None and alive(state.claim) is None


def unseen(cell_ids: Iterable[str], root: RunsRoot, queue: Queue) -> dict[str, int]:
    """Count the cells that may have a job which cannot be seen from here, by the reason."""
    hidden: dict[str, str] = {}
    wanted, jobs = set(cell_ids), queue.jobs
    for array_id, array in sent(root) if wanted and jobs is not None else ():
        why = why_hidden(array)
        for element, cells in zip(array.element_ids(array_id), array.cells, strict=True):
            job = (jobs or {}).get(element)
            if why and (job is None or not job.is_called(array.name, array.cluster)):
                hidden |= dict.fromkeys(wanted.intersection(cells), why)
    return {why: list(hidden.values()).count(why) for why in sorted(set(hidden.values()))}


def why_hidden(array: Array) -> str:
    """Why squeue would not show an array's jobs here; empty where it would."""
    mine = array.user in (None, os.getuid())
    if array.cluster is None and mine:
        return ""
    try:
        here = scontrol.cluster()
    except SchedulerError:
        return ""
    if array.cluster not in (None, here.name):
        return f"cluster {array.cluster} has or had jobs for them, and this is cluster {here.name}"
    if here.hides_jobs and array.user is not None and not mine:
        return f"{_user_name(array.user)} has or had jobs for them, which this cluster hides from other users"
    return ""


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _with_job(state: CellState, job: Job | None) -> CellState:
    """`queued` instead of pending or lost, and instead of failed unless the job itself has failed the cell."""
    if job is None or state.state in ("done", "running"):
        return state
    claim = state.claim
    same = claim is not None and (claim.job_id, claim.restart_count) == (job.id, job.restarts) and is_of(job, claim)
    if state.state == "failed" and same:
        return state
    why = f"job {job.id} starts on {job.node}" if job.runs else job.why
    return replace(state, state="queued", why=why)
