"""Hold back the rest of a submission once enough of its cells fail in the same way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from empslurm import files
from empslurm.cells import CELL_ID
from empslurm.launch import notes
from empslurm.launch.submission_dir import SubmissionDir

HOLD_PACKS = 3  # failures with one signature in at least this many packs ...
HOLD_CELLS = 5  # ... and this many cells hold the rest back


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A cell that failed in a job: one line of a file that all jobs of the submission read."""

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
        return f"{len(self.cells)} cells failed in the same way: {self.message}"


def signature(kind: str, message: str) -> str:
    """What failures of one cause have in common: class and message without ids, paths and numbers."""
    text = re.sub(CELL_ID, "CELL", message)
    text = re.sub(r"(/[\w.-]+)+", "PATH", text)
    return f"{kind}: {re.sub(r'[0-9]+', '0', text)[:300]}"


def common_cause(failures: Iterable[Failed]) -> Hold | None:
    """The reason to hold a submission: the first signature that enough cells of enough packs share; None: no reason."""
    alike: dict[str, list[Failed]] = {}
    for failed in failures:
        alike.setdefault(failed.signature, []).append(failed)
    for text, rows in alike.items():
        cells = {failed.cell for failed in rows}
        if len(cells) >= HOLD_CELLS and len({failed.pack for failed in rows}) >= HOLD_PACKS:
            return Hold(signature=text, cells=tuple(sorted(cells)), message=str(rows[0].message))
    return None


def note(submission: SubmissionDir, failures: Iterable[Failed]) -> None:
    """Record failures for all jobs of the submission, and hold the rest once enough of them have one cause."""
    for failed in failures:
        files.append_line(submission.failures, files.to_line(asdict(failed)))
    cause = common_cause(notes.read_lines(Failed, submission.failures))
    if cause is not None:
        files.create_exclusive(submission.hold, files.to_json(asdict(cause)))


def of(submission: SubmissionDir) -> Hold | None:
    """Why no more packs of a submission may start; None when they may. Raises StoreError."""
    try:
        return notes.read(Hold, submission.hold, "a note of why a submission is held")
    except FileNotFoundError:
        return None
