"""The train processes of a job: started on slots, stopped by a signal, taken back when they end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from empslurm.launch.local import job_arguments
from empslurm.launch.logs import last_words
from empslurm.launch.node.cells import Cells
from empslurm.launch.node.devices import Slot
from empslurm.launch.node.job import Job
from empslurm.launch.node.process import TrainProcess, stop_all


@dataclass(frozen=True, kw_only=True)
class Started:
    """A train process and the slot it has."""

    process: TrainProcess
    slot: Slot


class Running:
    """The train process of each pack, at most one at a time."""

    def __init__(self, job: Job, cells: Cells) -> None:
        self.job, self.cells = job, cells
        self.started: dict[int, Started] = {}
        self._log_before: dict[int, int] = {}  # bytes of the log when each pack was last started

    def start(self, index: int, slot: Slot) -> None:
        """Start the train process of a pack."""
        job, settings = self.job, self.job.settings
        arguments = job_arguments(job.root, job.submission, [index], settings)
        wanted = {cell.id for cell in self.cells.open(index)}
        for cell in job.packs[index].cells:
            arguments += [] if cell.id in wanted else ["--without", cell.id]
        job.note_start(index)
        self._log_before[index] = _size(job.log)
        process = TrainProcess(
            job.packs[index].cells[0].mixed_precision,
            settings.num_processes,
            [*arguments, *slot.arguments],
            log=job.log,
            variables=slot.environment,
            n_cores=slot.n_cores,
            python=settings.python,
        )
        self.started[index] = Started(process=process, slot=slot)

    def ended(self) -> list[int]:
        """Packs whose processes are gone."""
        return [index for index, started in self.started.items() if started.process.ended]

    def take_back(self, index: int) -> Started:
        """Forget a process that has ended."""
        started = self.started.pop(index)
        started.process.close()
        return started

    def stop(self) -> None:
        """On a signal: let the processes save and end. Only this method notes how their packs ended."""
        if self.job.stopping:
            return
        self.job.stopping = True
        for index in self.started:  # noted first: there may be no time for it later
            self.job.note_end(index, "stopped", steps=self.cells.steps(index))
        self.end_all()

    def end_all(self) -> None:
        """Ask all processes to save and end; kill those that do not."""
        stop_all([started.process for started in self.started.values()], self.job.settings.grace_s)

    def last_words(self, index: int) -> tuple[str, bool]:
        """The last meaningful line since a pack was started, and whether there is a Python traceback."""
        sys.stdout.flush()
        return last_words(self.job.log, self._log_before.get(index, 0))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
