"""The end of a job's log: its last meaningful line, and whether it holds a Python traceback."""

from __future__ import annotations

import os
import re
from pathlib import Path

TAIL_BYTES = 8192
# Lines of submitit and empslurm, and of srun after its task has failed, say that something ended, but not why.
ABOUT = re.compile(
    r"(submitit |empslurm: |srun: error: .*(Exited with|Terminated|task \d+: )|srun: (Terminating|launch/))"
)
ERROR = re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)
LONGEST = 300


def last_words(log: Path, start: int = 0) -> tuple[str, bool]:
    """The last meaningful line of a log from byte `start` on, and whether that part holds a Python traceback.

    ("", False) where the log is absent or empty.
    """
    try:
        with open(log, "rb") as stream:
            stream.seek(max(start, os.path.getsize(log) - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "", False
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    meaningful = [line for line in lines if not ABOUT.match(line)]
    line = (meaningful or lines or [""])[-1]
    return line[:LONGEST], ERROR.search(text) is not None
