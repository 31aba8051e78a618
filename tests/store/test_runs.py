"""Which cells a runs root has."""

import pytest

from empslurm import files
from empslurm.errors import StoreError, UnknownCellError
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from tests.store.cells import make_cell


def test_cells_are_found_by_an_unambiguous_beginning(tmp_path):
    root = RunsRoot(tmp_path)
    cells = [make_cell(seed=seed) for seed in (1, 2)]
    for cell in cells:
        root.cell(cell.id).create(cell)
    assert root.find("epitome_er-s2").id == cells[1].id
    with pytest.raises(UnknownCellError, match=r"one cell id, but is that of 2: .*write more"):
        root.find("epitome_er")
    with pytest.raises(UnknownCellError, match="no cell has it"):
        root.find("news")
    with pytest.raises(UnknownCellError, match="must look like"):
        root.cell("../../etc/passwd")


def test_what_cannot_be_listed_does_not_look_empty(tmp_path):
    (tmp_path / "cells").write_text("")
    with pytest.raises(StoreError, match="must be a folder that can be listed"):
        RunsRoot(tmp_path).cells()
    folder = RunsRoot(tmp_path / "other").cell(make_cell().id)
    files.write_bytes(folder.path / "claims", b"")
    assert folder.state(local_liveness).state == "failed"
    with pytest.raises(StoreError, match="must be a folder that can be listed"):
        folder.take(local_liveness)
