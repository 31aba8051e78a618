"""Find a cell by its id, the beginning of it, or the Slurm id that ran it; and the log of whatever has it now."""

from __future__ import annotations

import re
from pathlib import Path

from empslurm.errors import UnknownCellError
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import Queue
from empslurm.launch.states import jobs_of_cells
from empslurm.store import CellDir, RunsRoot

SLURM_ID = re.compile(r"\d+(_\d+)?")


def find_cell(root: RunsRoot, name: str) -> CellDir:
    """The one cell that `name` stands for. Raises UnknownCellError when none or several do."""
    if not SLURM_ID.fullmatch(name):
        return root.find(name)
    found = [cell for cell in root.cells() if any(claim.job_id == name for claim in cell.claims())]
    if not found:
        found = [root.cell(cell) for cell in _sent_as(root, name)]
    if not found:
        raise UnknownCellError(f"job {name} must have claimed a cell in {root.path}, but none knows it; see `status`")
    if len(found) > 1:
        running = [cell for cell in found if cell.result() is None]
        if len(running) == 1:
            return running[0]
        names = ", ".join(cell.id for cell in found[:5])
        raise UnknownCellError(f"job {name} must stand for one cell, but ran {len(found)}: {names}; name one of them")
    return found[0]


def _sent_as(root: RunsRoot, job_id: str) -> tuple[str, ...]:
    """Cells of an element that has not started yet."""
    marker = submissions.scan(root)[0].get(job_id.partition("_")[0])
    if marker is None:
        return ()
    array = submissions.load_array(marker)
    return dict(zip(array.element_ids(job_id.partition("_")[0]), array.cells, strict=True)).get(job_id, ())


def newest_log(folder: CellDir, root: RunsRoot) -> Path | None:
    """The log of the job that has the cell now, if it has one yet; else of the cell's last claim."""
    claim = folder.claim()
    last = Path(claim.log) if claim is not None and claim.log else None
    if folder.result() is not None or not root.submissions.is_dir():
        return last
    job = jobs_of_cells(root, Queue()).get(folder.id)
    if job is None:
        return last
    marker = submissions.scan(root)[0][job.id.partition("_")[0]]
    path = submissions.load_array(marker).log(job.id)
    return path if path.is_file() else last
