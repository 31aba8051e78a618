"""Enough cells that fail alike hold the rest of their submission back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from empslurm import files
from empslurm.cells import CELL_ID
from empslurm.launch import notes
from empslurm.launch.submission_dir import SubmissionDir

HOLD_PACKS = 3  # so many packs ...
HOLD_CELLS = 5  # ... with so many cells failing alike hold the rest back


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A cell that a job has failed: a line for all jobs of the submission to see."""

    cell: str
    pack: int  # its index in the submission
    signature: str
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why the rest of a submission must not start."""

    signature: str
    cells: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return f"{len(self.cells)} cells failed alike: {self.message}"


def signature(kind: str, message: str) -> str:
    """What failures have in common when they have one cause: class and sentence without ids, paths and numbers."""
    text = re.sub(CELL_ID, "CELL", message)
    text = re.sub(r"(/[\w.-]+)+", "PATH", text)
    return f"{kind}: {re.sub(r'[0-9]+', '0', text)[:300]}"


def common_cause(failures: Iterable[Failed]) -> Hold | None:
    """What to hold a submission for: the first signature that enough cells of enough packs share."""
    alike: dict[str, list[Failed]] = {}
    for failed in failures:
        alike.setdefault(failed.signature, []).append(failed)
    for text, rows in alike.items():
        cells = {failed.cell for failed in rows}
        if len(cells) >= HOLD_CELLS and len({failed.pack for failed in rows}) >= HOLD_PACKS:
            return Hold(signature=text, cells=tuple(sorted(cells)), message=str(rows[0].message))
    return None


def note(submission: SubmissionDir, failures: Iterable[Failed]) -> None:
    """Keep what failed for all jobs to see, and hold the rest once enough of it has one cause."""
    for failed in failures:
        files.append_line(submission.failures, files.to_line(asdict(failed)))
    cause = common_cause(notes.read_lines(Failed, submission.failures))
    if cause is not None:
        files.create_exclusive(submission.hold, files.to_json(asdict(cause)))


def of(submission: SubmissionDir) -> Hold | None:
    """Why nothing of a submission may start any more; None when it may. Raises StoreError."""
    try:
        return notes.read(Hold, submission.hold, "why a submission is held")
    except FileNotFoundError:
        return None
