"""Find a cell by its id, a prefix of it, or the Slurm id of its job; find the log of the job that has it now."""

from __future__ import annotations

import re
from pathlib import Path

from empslurm.errors import UnknownCellError
from empslurm.launch.endings import endings
from empslurm.launch.markers import Array, sent
from empslurm.launch.states import jobs_of_cells, queue_of
from empslurm.store.cell_folder import CellDir
from empslurm.store.runs import RunsRoot

SLURM_ID = re.compile(r"\d+(_\d+)?")


def find_cell(root: RunsRoot, name: str) -> CellDir:
    """The one cell that `name` identifies. Raises UnknownCellError when there is none, or several."""
    if not SLURM_ID.fullmatch(name):
        return _by_id(root, name)
    cells = [cell for cell in root.cells() if any(claim.job_id == name for claim in cell.claims())]
    if not cells:
        cells = [root.cell(cell) for cell in _sent_as(root, name)]
    if not cells:
        raise UnknownCellError(
            f"job {name} must have a cell in {root.path}, but no cell was sent or claimed by it; run `empslurm status` "
            "for the cells' ids"
        )
    if len(cells) > 1:
        running = [cell for cell in cells if cell.result() is None]
        if len(running) == 1:
            return running[0]
        names = ", ".join(cell.id for cell in cells[:5])
        raise UnknownCellError(f"job {name} must have one cell, but ran {len(cells)}: {names}; give the id of one")
    return cells[0]


def _by_id(root: RunsRoot, name: str) -> CellDir:
    """The cell whose id starts with `name`: one that has a folder, else one that was sent and never started."""
    try:
        return root.find(name)
    except UnknownCellError:
        queued = {cell for _, array in sent(root) for of in array.cells for cell in of}
        matching = [cell for cell in queued if name and cell.startswith(name)]
        if len(matching) != 1:
            raise
        return root.cell(matching[0])


def _sent_as(root: RunsRoot, job_id: str) -> tuple[str, ...]:
    """Cells of an element, started or not; an array of one element may be named without its index."""
    elements = _elements(root, job_id)
    return elements[-1][2] if elements else ()


def _elements(root: RunsRoot, name: str) -> list[tuple[Array, str, tuple[str, ...]]]:
    """Array, job id and cells of what was sent under a Slurm id, oldest first: Slurm may use an id again."""
    array_id, _, index = name.partition("_")
    elements = []
    for known, array in sent(root):
        if known == array_id:
            of_array = list(zip(array.element_ids(array_id), array.cells, strict=True))
            elements += [
                (array, job, cells) for job, cells in of_array if job == name or (len(of_array) == 1 and not index)
            ]
    return elements


def log_of_job(root: RunsRoot, name: str) -> tuple[CellDir, Path] | None:
    """A cell of the job with the Slurm id `name`, and the job's log; None where there is no such log."""
    for array, job, cells in reversed(_elements(root, name) if SLURM_ID.fullmatch(name) else []):
        if array.log(job).is_file():
            return root.cell(cells[0]), array.log(job)
    return None


def _here(log: Path, root: RunsRoot) -> Path:
    """A log as its claim names it, or its path below the runs root after that was moved."""
    folder = root.submissions.name
    if log.is_file() or folder not in log.parts:
        return log
    start = len(log.parts) - log.parts[::-1].index(folder)
    moved = root.submissions.joinpath(*log.parts[start:])
    return moved if moved.is_file() else log


def newest_log(folder: CellDir, root: RunsRoot) -> Path | None:
    """The log of the job that has the cell now, or that ended before it started; else of the cell's last claim."""
    claim = folder.claim()
    last = _here(Path(claim.log), root) if claim is not None and claim.log else None
    if folder.result() is not None or not root.submissions.is_dir():
        return last
    queue = queue_of(root)
    job = jobs_of_cells(root, queue).get(folder.id)
    if job is None:
        early = endings((folder.id,), root, queue).early.get(folder.id)
        return early[0].log if early else last
    paths = (array.log(job.id) for _, array in sent(root) if array.name == job.name)
    return next((path for path in paths if path.is_file()), last)
