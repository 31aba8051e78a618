"""How a pack ended on its node, and what follows: again here, on another node, or given up."""

from __future__ import annotations

from collections.abc import Sequence

from empslurm.launch import policy
from empslurm.launch.journal import count
from empslurm.launch.node.cells import Cells
from empslurm.launch.node.job import Job, say
from empslurm.launch.node.running import Running


class Settling:
    """Applies the policies of failures to the packs of a job."""

    def __init__(self, job: Job, cells: Cells, running: Running) -> None:
        self.job, self.cells, self.running = job, cells, running
        self.elsewhere: list[int] = []  # packs that another node must try

    def settle(self, index: int, code: int | None) -> bool:
        """Note how a pack ended whose process had this exit status; True if it must be started again here."""
        failures = self.cells.failures(index)
        failed = {failure.cell.id for failure in failures if failure.restart == self.job.restarts}
        unfinished = [cell for cell in self.cells.open(index) if cell.id not in failed]
        failure = policy.KILLED if unfinished else policy.to_retry(failure.error for failure in failures)
        if failure is None:
            self.job.note_end(index, "failed" if failures else "done")
            self.cells.note_failures(index)
            return False
        self.job.note_end(index, failure.name, detail=self.running.last_words(index)[0])
        n_ends = count(self.job.events(index), failure.name)
        how = f"{failure.name}, status {code}, {len(unfinished)} cells unfinished"
        say(f"pack {index} ended ({how}), {n_ends} times so far")
        if n_ends <= failure.tries_here:
            return True
        self.elsewhere.append(index)
        return False

    def move(self) -> str:
        """Once nothing runs here: queue the job again for packs that another node may try; give up the others."""
        moving = [index for index in self.elsewhere if self._may_move(index)]
        for index in self.elsewhere:
            if index not in moving:
                self._give_up(index)
        if moving and self.job.go_elsewhere():
            return "requeued"
        for index in moving:
            self._give_up(index)
        return "done"

    def without_devices(self, indices: Sequence[int], why: str) -> str:
        """Try another node, since this one has too few GPUs; if none may be tried, fail the cells with the reason."""
        say(why)
        for index in indices:
            self.job.note_end(index, policy.DEVICE.name, detail=why)
        if any(self._may_move(index) for index in indices) and self.job.go_elsewhere():
            return "requeued"
        for index in indices:
            for cell in self.cells.open(index):
                self.cells.fail(cell, policy.DEVICE, why)
            self.cells.note_failures(index)
        return "done"

    def _may_move(self, index: int) -> bool:
        return policy.may_move(self.job.events(index))

    def _give_up(self, index: int) -> None:
        """Fail the unfinished cells of a pack whose process died too often; cells that have failed stay as they are."""
        n_deaths = count(self.job.events(index), policy.KILLED.name)
        line, is_error = self.running.last_words(index)
        how, fix = policy.DEATHS[is_error]
        for cell in self.cells.open(index):
            message = (
                f"{cell.id} must be trained to its end, but its process {how.format(n=n_deaths)}; its last line: "
                f"{line or 'none'}; {fix}"
            )
            self.cells.fail(cell, policy.KILLED, message)
        self.cells.note_failures(index)
