"""The end of a job's log: its last line of substance, and whether Python told an error there."""

from __future__ import annotations

import os
import re
from pathlib import Path

TAIL_BYTES = 8192
# submitit's own words and ours say that something ended, not why; so does srun once its task has told.
ABOUT = re.compile(
    r"(submitit |empslurm: |srun: error: .*(Exited with|Terminated|task \d+: )|srun: (Terminating|launch/))"
)
ERROR = re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)
LONGEST = 300


def last_words(log: Path, start: int = 0) -> tuple[str, bool]:
    """The last line that says something, of what stands in a log from byte `start` on; whether it tells an error.

    ("", False) where there is no log, or nothing in it.
    """
    try:
        with open(log, "rb") as stream:
            stream.seek(max(start, os.path.getsize(log) - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "", False
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    spoken = [line for line in lines if not ABOUT.match(line)]
    line = (spoken or lines or [""])[-1]
    return line[:LONGEST], ERROR.search(text) is not None
