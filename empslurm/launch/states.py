"""The cells' states as a planner needs them: what the folders say, and which cells wait in Slurm's queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from empslurm.errors import StoreError
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import Queue, liveness
from empslurm.launch.queue import Job
from empslurm.store import CellState, RunsRoot


def jobs_of_cells(root: RunsRoot, queue: Queue) -> dict[str, Job]:
    """The job that has, or will have, each cell, for all arrays of this runs root that the queue still knows.

    Where several jobs have a cell, the one that runs or else the newest is named.
    """
    jobs = queue.jobs or {}
    known, _ = submissions.scan(root)
    found: dict[str, Job] = {}
    for array_id in sorted({job_id.partition("_")[0] for job_id in jobs} & known.keys(), key=int):
        try:
            array = submissions.load_array(known[array_id])
        except (StoreError, FileNotFoundError):
            continue
        for element, cells in zip(array.element_ids(array_id), array.cells, strict=True):
            job = jobs.get(element)
            if job is None:
                continue
            for cell in cells:
                if cell not in found or not found[cell].runs:
                    found[cell] = job
    return found


def states(cell_ids: Iterable[str], root: RunsRoot, queue: Queue | None = None) -> Mapping[str, CellState]:
    """The state of every cell. A cell that nothing runs is `queued` when a job of the queue has it."""
    queue = queue or Queue()
    alive = liveness(queue)
    there = set(root.ids())
    pending = CellState(state="pending")
    found = {cell: root.cell(cell).state(alive) if cell in there else pending for cell in cell_ids}
    if all(state.state in ("done", "running") for state in found.values()) or not root.submissions.is_dir():
        return found
    jobs = jobs_of_cells(root, queue)
    return {cell: _with_job(state, jobs.get(cell)) for cell, state in found.items()}


def _with_job(state: CellState, job: Job | None) -> CellState:
    """`queued` instead of pending or lost, and instead of failed unless the job itself has failed the cell."""
    if job is None or state.state in ("done", "running"):
        return state
    claim = state.claim
    if state.state == "failed" and claim is not None and (claim.job_id, claim.restart_count) == (job.id, job.restarts):
        return state
    why = f"job {job.id} starts on {job.node}" if job.runs else job.why
    return replace(state, state="queued", why=why)
