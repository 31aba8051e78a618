"""What kind of failure ended a cell, and its error.json."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from empslurm.errors import BackboneError, DamagedError, DataError, DeviceError, EmpslurmError, StoreError

if TYPE_CHECKING:
    from empslurm.train.loop import Member, Say

TRACEBACK_LINES = 30


def failure_class(error: Exception) -> str:
    """The class of a failure, which decides what is done about it."""
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return "device memory"
    if isinstance(error, DeviceError):
        return "device"
    if isinstance(error, MemoryError):
        return "host memory"
    if isinstance(error, DamagedError):
        return "damaged"
    if isinstance(error, StoreError | OSError):
        return "storage"
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, BackboneError):
        return "backbone"
    return "error"


def record(error: Exception, member: Member, accelerator: Accelerator, say: Say) -> None:
    """Write error.json; a storage that cannot take it must not hide the failure."""
    message = str(error) if isinstance(error, EmpslurmError) else f"{type(error).__name__}: {error}"
    say(f"{member.cell.id} failed: {message}")
    if accelerator.is_main_process:
        lines = "".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:]
        try:
            member.folder.fail(member.claim, kind=failure_class(error), message=message, traceback="\n".join(lines))
        except StoreError as second:
            say(str(second))
    if accelerator.num_processes > 1:
        raise error  # the other processes wait for this one: the launcher ends them all
