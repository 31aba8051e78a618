"""Wait for the sources that the cells of a job start from, or leave their cells out."""

from __future__ import annotations

import time
from dataclasses import dataclass

from empslurm.launch import policy
from empslurm.launch.node.cells import Cells
from empslurm.launch.node.job import Job, say
from empslurm.launch.states import states

POLL_S = 2.0
PATIENCE_S = 30.0  # for a shared file system to show what another node has written


def await_sources(job: Job, cells: Cells) -> bool:
    """Leave out cells whose source will have no result; False if one may still come and the job is queued again.

    A pack is trained whole, or without the cells whose source failed; never one half now and the other later.
    """
    end = time.monotonic() + PATIENCE_S
    while _lacking(job) and not job.stopping and time.monotonic() < end:
        time.sleep(POLL_S)
    sources = _look(job, cells) if _lacking(job) else Sources()
    delays = [policy.wait_s(job.events(index)) for index in job.indices]
    if sources.coming and None not in delays and job.may_start_again():
        delay = max(delay for delay in delays if delay is not None)
        say(f"waits {delay} s for {', '.join(sorted(sources.coming))}")
        job.note_ends("waiting", detail=min(sources.coming))
        if job.requeue(delay_s=delay):
            return False
    lacking = sources.gone | sources.coming
    cells.left_out = {cell.id for pack in job.packs.values() for cell in pack.cells if cell.starts_from in lacking}
    if lacking:
        say(f"{len(cells.left_out)} cells are left out: no result of {', '.join(sorted(lacking))}")
    return True


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Sources without a result, by the ids of their cells."""

    gone: frozenset[str] = frozenset()  # nothing will make them
    coming: frozenset[str] = frozenset()  # something runs them or has them queued


def _lacking(job: Job) -> bool:
    """Whether a source has no result, by the files alone."""
    wanted = {parent for pack in job.packs.values() for parent in pack.parents}
    return not all(job.root.cell(parent).result_file.exists() for parent in wanted)


def _look(job: Job, cells: Cells) -> Sources:
    """Sources without a result of the cells to train, by files and the queue."""
    parents = {cell.starts_from for index in job.indices for cell in cells.open(index)}
    wanted = {parent for parent in parents if parent is not None}
    known = states(wanted, job.root, job.queue)
    lacking = {parent: state.state for parent, state in known.items() if state.state != "done"}
    # Without squeue's answer, a source may still be queued.
    silent = bool(lacking) and job.queue.jobs is None
    coming = frozenset(parent for parent, state in lacking.items() if state in ("running", "queued") or silent)
    return Sources(gone=frozenset(lacking) - coming, coming=coming)
