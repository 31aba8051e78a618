"""A cell's folder."""

import pytest

from empslurm.store.runs import RunsRoot
from tests.store.cells import make_cell


@pytest.fixture
def folder(tmp_path):
    cell = make_cell()
    folder = RunsRoot(tmp_path).cell(cell.id)
    folder.create(cell)
    return folder
