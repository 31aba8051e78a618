"""What became of the cells of a run: told of each as it happens, it says so and notes failures in their folders."""

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
    """Cells by id."""

    accelerator: Accelerator
    say: Say = lambda _: None
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False

    def lost(self, held: Held, error: Exception) -> None:
        """A cell left its pack: its claim is another's now, or it failed. Raises where other processes wait for it."""
        if not isinstance(error, ClaimLostError):
            self.failed.append(held.cell.id)
            record(error, held, self.accelerator, self.say)
            return
        self.say(str(error))
        self.skipped.append(held.cell.id)
        if self.accelerator.num_processes > 1:
            raise error  # the other processes would go on with this cell: the launcher ends them all
