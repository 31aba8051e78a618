"""The history of a pack: lines in its submission's folder, appended by the jobs that train it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from empslurm import files
from empslurm.launch import notes
from empslurm.launch.submission_dir import SubmissionDir

Reason = str  # of an end: done, failed, stopped, waiting, held, or the name of a failure that is tried again


@dataclass(frozen=True, kw_only=True)
class Event:
    """The start of a pack in a job, or an end of it."""

    event: Literal["start", "end"]
    time: float | None = None  # Unix time
    host: str | None = None
    job: str | None = None  # as squeue writes it
    restart: int | None = None  # how often the job had been started before
    reason: Reason | None = None  # of an end
    detail: str | None = None  # for people
    steps: float | None = None  # of training, where it was stopped
    wall_s: float | None = None  # since the job's start, or the pack's last end in it
    gpu_s: float | None = None
    energy_wh: float | None = None


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The events of one pack, oldest first: a `start` and an `end` for each time that a job trained it."""

    path: Path

    def add(self, event: Literal["start", "end"], **details: Any) -> None:
        """Append an event that happens now, with the fields of `Event` that are known."""
        line = asdict(Event(event=event, time=time.time(), **details))
        files.append_line(self.path, files.to_line({name: value for name, value in line.items() if value is not None}))

    def events(self) -> list[Event]:
        return notes.read_lines(Event, self.path)


def journal(submission: SubmissionDir, index: int) -> Journal:
    """The journal of the pack with this index in its submission."""
    return Journal(path=submission.journal(index))


def count(events: Iterable[Event], reason: Reason) -> int:
    """How often a pack ended for a reason."""
    return sum(event.event == "end" and event.reason == reason for event in events)
