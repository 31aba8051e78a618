"""The cells of a job's packs: which of them want work here, and which this job has failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from empslurm.cells import Cell
from empslurm.launch import hold, policy
from empslurm.launch.hold import Failed
from empslurm.launch.journal import count
from empslurm.launch.liveness import liveness
from empslurm.launch.node.job import Job
from empslurm.launch.policy import Failure
from empslurm.store.cell_folder import CellState


@dataclass(frozen=True, kw_only=True)
class OwnFailure:
    """A cell that this job has failed."""

    cell: Cell
    restart: int  # the start of the job that failed it
    error: Mapping[str, Any]  # as error.json has it


class Cells:
    """What the runs root says of the cells of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.left_out: set[str] = set()  # there will be no result of their sources

    def open(self, index: int) -> list[Cell]:
        """Cells of a pack that want work here: neither finished, nor run by others, nor failed by this very job.

        A cell that another job has failed was asked for again when this one was submitted. One that this job has failed
        is tried again as the class of its failure allows.
        """
        alive, wanted = liveness(self.job.queue), []
        for cell in self.job.packs[index].cells:
            state = self.job.root.cell(cell.id).state(alive)
            again = state.state == "failed" and (not self._is_own(state) or self._is_tried_again(index, cell, state))
            if (state.state in ("pending", "lost") or again) and cell.id not in self.left_out:
                wanted.append(cell)
        return wanted

    def _is_tried_again(self, index: int, cell: Cell, state: CellState) -> bool:
        """Whether a cell that this job has failed, before it was queued again or on this node, gets another try."""
        failure = policy.to_retry([self.job.root.cell(cell.id).error() or {}])
        if failure is None or state.claim is None:
            return False
        n_ends = count(self.job.events(index), failure.name)
        earlier = state.claim.restart_count < self.job.restarts
        return n_ends <= failure.n_tries if earlier else 0 < n_ends <= failure.tries_here

    def _is_own(self, state: CellState) -> bool:
        claim, job = state.claim, self.job
        return claim is not None and (claim.job_id, claim.job_name) == (job.id, job.identity.get("job_name"))

    def failures(self, index: int) -> list[OwnFailure]:
        """Cells of a pack that this job has failed."""
        alive, failures = liveness(self.job.queue), []
        for cell in self.job.packs[index].cells:
            folder = self.job.root.cell(cell.id)
            state = folder.state(alive)
            if state.state == "failed" and state.claim is not None and self._is_own(state):
                restart = state.claim.restart_count
                failures.append(OwnFailure(cell=cell, restart=restart, error=folder.error() or {}))
        return failures

    def fail(self, cell: Cell, failure: Failure, message: str) -> None:
        """Record why a cell stays unfinished that no process has failed."""
        folder = self.job.root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(liveness(self.job.queue), **self.job.identity)
        if claim is not None:
            folder.fail(claim, kind=failure.name, message=message)
            folder.release(claim)

    def note_failures(self, index: int) -> None:
        """Keep what failed for all elements to see; enough of the same hold the rest."""
        hold.note(
            self.job.array.submission,
            [
                Failed(
                    cell=failed.cell.id,
                    pack=index,
                    signature=hold.signature(str(failed.error.get("class")), str(failed.error.get("message", ""))),
                    message=str(failed.error.get("message")),
                )
                for failed in self.failures(index)
            ],
        )

    def steps(self, index: int) -> float:
        """How far the cells of a pack are together, as far as their progress notes tell."""
        notes = [self.job.root.cell(cell.id).progress() for cell in self.job.packs[index].cells]
        return sum((float(note.step or 0) for note in notes if note is not None), start=0.0)
