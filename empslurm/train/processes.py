"""What the processes that train one pack together must agree on: that one of them failed, and how much fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from empslurm.launch.policy import failure_of


@contextmanager
def one_fate(accelerator: Any) -> Iterator[None]:
    """Raise in all processes when one of them runs out of device memory in this block; the others would wait for ever.

    The block itself must exchange nothing. At its end the processes exchange one number (a single process none). Any
    other error ends its process, and the launcher ends the others.
    """
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        if accelerator.num_processes == 1 or not failure_of(error).smaller_passes:
            raise
        failed = error.with_traceback(None)  # the traceback holds tensors that must be freed
    if accelerator.num_processes == 1:
        return
    n_failed = accelerator.reduce(torch.tensor(float(failed is not None), device=accelerator.device), "sum")
    if n_failed.item():
        raise failed or torch.OutOfMemoryError("another process of this pack is out of memory")


def least(accelerator: Any, value: int) -> int:
    """The smallest of the processes' values."""
    if accelerator.num_processes == 1:
        return value
    every = accelerator.gather(torch.tensor([value], device=accelerator.device))
    return int(every.min().item())
