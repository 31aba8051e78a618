"""The cells of a job's packs: which of them to train here, and which have failed in this job."""

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
    """A cell that failed in this job."""

    cell: Cell
    restart: int  # the restart count of the job when it failed
    error: Mapping[str, Any]  # as error.json has it


class Cells:
    """What the runs root says about the cells of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.left_out: set[str] = set()  # cells whose source will have no result

    def open(self, index: int) -> list[Cell]:
        """Cells of a pack to train here: not finished, not run by others, and not failed in this very job.

        A cell that failed in another job was asked for again when this job was submitted. A cell that failed in this
        job is tried again as the class of its failure allows.
        """
        alive, wanted = liveness(self.job.queue), []
        for cell in self.job.packs[index].cells:
            state = self.job.root.cell(cell.id).state(alive)
            again = state.state == "failed" and (not self._is_own(state) or self._is_tried_again(index, cell, state))
            if (state.state in ("pending", "lost") or again) and cell.id not in self.left_out:
                wanted.append(cell)
        return wanted

    def _is_tried_again(self, index: int, cell: Cell, state: CellState) -> bool:
        """Whether a cell that failed in this job, before a requeue or on this node, gets another try."""
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
        """Cells of a pack that failed in this job."""
        alive, failures = liveness(self.job.queue), []
        for cell in self.job.packs[index].cells:
            folder = self.job.root.cell(cell.id)
            state = folder.state(alive)
            if state.state == "failed" and state.claim is not None and self._is_own(state):
                restart = state.claim.restart_count
                failures.append(OwnFailure(cell=cell, restart=restart, error=folder.error() or {}))
        return failures

    def fail(self, cell: Cell, failure: Failure, message: str) -> None:
        """Record the failure of an unfinished cell whose process left no error."""
        folder = self.job.root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(liveness(self.job.queue), **self.job.identity)
        if claim is not None:
            folder.fail(claim, kind=failure.name, message=message)
            folder.release(claim)

    def note_failures(self, index: int) -> None:
        """Record failed cells for all elements; enough failures of one cause hold the rest back."""
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
        """Training steps of all cells of a pack together, by their progress notes."""
        notes = [self.job.root.cell(cell.id).progress() for cell in self.job.packs[index].cells]
        return sum((float(note.step or 0) for note in notes if note is not None), start=0.0)
