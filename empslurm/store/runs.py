"""The runs root is the database: the paths of everything in it, and its cells.

runs/cells/<id>/                        a cell, see `cell_folder`
runs/prepared/                          parsed and tokenised data under content digests
runs/submissions/                       what was sent to Slurm
runs/code/                              copies of the code that jobs run
runs/searches/<search>/journal.log      what a search's sampler knows; rebuilt from the trials' cells if lost
runs/suitability/                       what adapters made of training texts, for `suggest`; made again if lost
runs/trackers/                          loss curves of trackers that write files; delete at will
runs/digests.json                       data and backbones that are not here, of a study from a bundle
runs/gathered/                          derived; delete at will
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from empslurm.cells import CELL_ID
from empslurm.errors import UnknownCellError
from empslurm.store.cell_folder import CellDir
from empslurm.store.folders import names


class RunsRoot:
    """The folder that is the database. `gathered`: another folder for what is derived, where `path` must not change."""

    def __init__(self, path: Path, *, gathered: Path | None = None) -> None:
        self.path = path
        self.gathered = path / "gathered" if gathered is None else gathered

    @property
    def prepared(self) -> Path:
        return self.path / "prepared"

    @property
    def submissions(self) -> Path:
        return self.path / "submissions"

    @property
    def submit_lock(self) -> Path:
        """Locked during a submission."""
        return self.submissions / "lock"

    @property
    def probes(self) -> Path:
        return self.path / "probes"

    @property
    def searches(self) -> Path:
        return self.path / "searches"

    @property
    def trackers(self) -> Path:
        return self.path / "trackers"

    @property
    def digests(self) -> Path:
        return self.path / "digests.json"

    @property
    def suitability(self) -> Path:
        return self.path / "suitability"

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def cells_folder(self) -> Path:
        return self.path / "cells"

    def cell(self, cell_id: str) -> CellDir:
        """The folder of a cell, whether it exists or not. Raises UnknownCellError for an impossible id."""
        if not CELL_ID.fullmatch(cell_id):
            raise UnknownCellError(
                f"a cell id must look like epitome_er-s1-0123456789ab, but is {cell_id!r}; `empslurm plan MANIFEST "
                "--all` lists them"
            )
        return CellDir(self.cells_folder / cell_id)

    def cell_paths(self) -> Callable[[str], str]:
        """A function from a cell's id to its folder as text: for many cells, `Path` objects would be slow."""
        folder = str(self.cells_folder)
        return lambda cell_id: f"{folder}/{cell_id}"

    def ids(self) -> list[str]:
        """The ids of all cells that exist, sorted; other names are ignored. Raises StoreError."""
        return names(self.cells_folder, CELL_ID)

    def cells(self) -> list[CellDir]:
        """All cells that exist, sorted by id. Raises StoreError."""
        return [CellDir(self.cells_folder / name) for name in self.ids()]

    def find(self, name: str) -> CellDir:
        """The one cell whose id starts with `name`. Raises UnknownCellError when none or several do."""
        starting = [cell for cell in self.cells() if cell.id.startswith(name)] if name else []
        exact = [cell for cell in starting if cell.id == name]
        if len(exact) == 1 or len(starting) == 1:
            return (exact or starting)[0]
        if not starting:
            raise UnknownCellError(
                f"{name!r} must be the start of a cell id in {self.path}, but no cell has it; `empslurm plan MANIFEST "
                "--all` lists them"
            )
        some = ", ".join(cell.id for cell in starting[:5]) + ", ..." * (len(starting) > 5)
        raise UnknownCellError(
            f"{name!r} must be the start of one cell id, but is that of {len(starting)}: {some}; write more of it"
        )
