"""The error.json of a cell whose training failed; the classes of failures are in `launch/policy.py`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from accelerate import Accelerator

from empslurm.errors import EmpslurmError, StoreError
from empslurm.launch.policy import failure_of

if TYPE_CHECKING:
    from empslurm.train.member import Held

TRACEBACK_LINES = 30


def record(error: Exception, held: Held, accelerator: Accelerator, say: Callable[[str], None]) -> None:
    """Write error.json; if that fails, log both failures."""
    message = str(error) if isinstance(error, EmpslurmError) else f"{type(error).__name__}: {error}"
    say(f"{held.cell.id} failed: {message}")
    if accelerator.is_main_process:
        lines = "".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:]
        try:
            held.folder.fail(held.claim, kind=failure_of(error).name, message=message, traceback="\n".join(lines))
        except StoreError as not_written:
            say(str(not_written))
    if accelerator.num_processes > 1:
        raise error  # so that the launcher ends the other processes, which wait for this one
