"""Record what became of the cells of a run, log it, and write failures to the cells' folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from accelerate import Accelerator

from empslurm.errors import ClaimLostError
from empslurm.train.failure import record
from empslurm.train.member import Held

Say = Callable[[str], None]  # a line for the log


@dataclass(kw_only=True)
class Tally:
    """The ids of a run's cells, by outcome."""

    accelerator: Accelerator
    say: Say = lambda _: None
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False

    def lost(self, held: Held, error: Exception) -> None:
        """Record a cell that failed, or whose claim another process took. Raises if other processes wait for it."""
        if not isinstance(error, ClaimLostError):
            self.failed.append(held.cell.id)
            record(error, held, self.accelerator, self.say)
            return
        self.say(str(error))
        self.skipped.append(held.cell.id)
        if self.accelerator.num_processes > 1:
            raise error  # so that the launcher ends the other processes, which would continue with this cell
