"""Find a cell by its id, the beginning of it, or the Slurm id that ran it."""

from __future__ import annotations

import re

from empslurm.errors import UnknownCellError
from empslurm.store import CellDir, RunsRoot

SLURM_ID = re.compile(r"\d+(_\d+)?")


def find_cell(root: RunsRoot, name: str) -> CellDir:
    """The one cell that `name` stands for. Raises UnknownCellError when none or several do."""
    if not SLURM_ID.fullmatch(name):
        return root.find(name)
    found = [cell for cell in root.cells() if any(claim.job_id == name for claim in cell.claims())]
    if not found:
        raise UnknownCellError(f"job {name} must have claimed a cell in {root.path}, but none knows it; see `status`")
    if len(found) > 1:
        running = [cell for cell in found if cell.result() is None]
        if len(running) == 1:
            return running[0]
        names = ", ".join(cell.id for cell in found[:5])
        raise UnknownCellError(f"job {name} must stand for one cell, but ran {len(found)}: {names}; name one of them")
    return found[0]
