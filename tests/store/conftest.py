"""A cell's folder."""

from pathlib import Path

import pytest

from empslurm.store.cell_folder import CellDir
from empslurm.store.runs import RunsRoot
from tests.store.cells import make_cell


@pytest.fixture
def folder(tmp_path: Path) -> CellDir:
    cell = make_cell()
    folder = RunsRoot(tmp_path).cell(cell.id)
    folder.create(cell)
    return folder
