"""One submitter at a time per runs root, so that two people who submit at once do not queue the same cells twice.

Nodes claim cells exclusively in any case: on a file system without locks, a duplicate only costs queue slots.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from empslurm.errors import SchedulerError
from empslurm.launch.submission_dir import refuse_file
from empslurm.store.runs import RunsRoot

POLL_S = 0.5


@contextlib.contextmanager
def submitting(root: RunsRoot, say: Callable[[str], None], *, wait: bool) -> Iterator[None]:
    """Hold the runs root's lock. Raises SchedulerError when another process has it and `wait` is false."""
    refuse_file(root)
    path = root.submit_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as stream:
        announced = False
        while not _taken(stream):
            holder = path.read_text() or "another process"
            if not wait:
                raise SchedulerError(
                    f"only one submission can run at a time, but {holder} is submitting to {root.path}; try again when "
                    "it has finished"
                )
            if not announced:
                say(f"waiting for {holder} to finish submitting")
                announced = True
            time.sleep(POLL_S)
        _sign(path)
        yield


def _taken(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _sign(path: Path) -> None:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    path.write_text(f"{user} (process {os.getpid()} on {socket.gethostname()})")
