"""What one array element does on its node: check the sources, train a pack on each slot, look at the results, decide.

The object that submitit pickles holds strings only and reads everything else from the runs root, so that a requeued job
starts exactly like a new one. The pickle names this module and class. Both may move in a later version: the job that
reads the pickle imports only the snapshot of the version that wrote it (`script.setup_lines`).
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from empslurm.errors import UsageError
from empslurm.launch import hold
from empslurm.launch.local import EXIT_INTERRUPTED
from empslurm.launch.markers import Array, load_array
from empslurm.launch.node.cells import Cells
from empslurm.launch.node.devices import Slot
from empslurm.launch.node.job import Job, say
from empslurm.launch.node.running import Running
from empslurm.launch.node.settle import Settling
from empslurm.launch.node.sources import await_sources
from empslurm.store.runs import RunsRoot

POLL_S = 0.2


class Element:
    """The callable that submitit runs. `array`: the marker's file; Slurm's variables say which element it is."""

    def __init__(self, runs: str, array: str) -> None:
        self.runs, self.array = runs, array
        self.work: Work | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"runs": self.runs, "array": self.array, "work": None}

    def __call__(self) -> str:
        self.work = Work(RunsRoot(Path(self.runs)), load_array(Path(self.array)))
        return self.work.run()

    def checkpoint(self) -> NoReturn:
        """Save and queue again. submitit calls this when Slurm sends USR2, before a time limit or a preemption.

        The process ends here: submitit itself would requeue whatever Slurm answers, and would call a job that may not
        restart failed.
        """
        if self.work is not None:
            self.work.leave()
        raise SystemExit(EXIT_INTERRUPTED)


class Work:
    """One start of one element, from beginning to end."""

    def __init__(self, root: RunsRoot, array: Array) -> None:
        self.array = array
        self.job = Job(root, array)
        self.cells = Cells(self.job)
        self.running = Running(self.job, self.cells)
        self.settling = Settling(self.job, self.cells, self.running)

    def leave(self) -> None:
        """Let the train processes save and end, and queue the job again where that is allowed and useful."""
        self.running.stop()
        self.job.go_on_later()

    def _on_term(self, *_: object) -> None:
        """Save only: Slurm itself is ending the job, so nothing is queued again from here."""
        self.running.stop()

    def run(self) -> str:
        """Train what can be trained; return the outcome in one word."""
        job = self.job
        signal.signal(signal.SIGTERM, self._on_term)
        self.array.note_start(job.id)
        held = hold.of(self.array.submission)
        if held is not None:
            say(f"nothing is started, since {held}")
            job.note_ends("held")
            return "held"
        if socket.gethostname() in job.bad_nodes() and job.go_elsewhere():
            return "requeued"
        if not await_sources(job, self.cells):
            return "requeued"
        wanted = [index for index in job.indices if self.cells.open(index)]
        try:
            slots = job.slots(len(wanted))
        except UsageError as error:
            return self.settling.without_devices(wanted, str(error))
        self._train(wanted, slots)
        return "stopped" if job.stopping else self.settling.move()

    def _train(self, indices: Sequence[int], slots: Sequence[Slot]) -> None:
        """Keep every slot busy with a pack until none is left; meanwhile measure the GPUs' power."""
        job, running = self.job, self.running
        waiting, free = list(indices), list(slots)
        job.meter.skip()
        while (waiting or running.started) and not (job.stopping and not running.started):
            while waiting and free and not job.stopping:
                running.start(waiting.pop(0), free.pop(0))
            time.sleep(POLL_S)
            if job.stopping:  # for a process that was being started when the signal came
                running.end_all()
            job.meter.look()
            for index in running.ended():
                started = running.take_back(index)
                free.append(started.slot)
                if not job.stopping and self.settling.settle(index, started.process.code):
                    waiting.append(index)
            job.meter.restart(waiting)
