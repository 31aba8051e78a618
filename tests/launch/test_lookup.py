"""The log of a cell is found after the runs root was moved."""

import shutil
from pathlib import Path

import pytest

from empslurm.cli import main
from empslurm.errors import StoreError
from empslurm.launch import submission as submissions
from empslurm.launch.lock import submitting
from empslurm.launch.lookup import newest_log
from empslurm.launch.submission import Submission
from empslurm.store.runs import RunsRoot


def test_a_log_is_found_after_its_runs_root_was_moved(root: RunsRoot, made: Submission, tmp_path: Path) -> None:
    cell = made.packs[0].cells[0]
    log = made.folder(root).log(0)
    log.write_text("said\n")
    folder = root.cell(cell.id)
    folder.create(cell)
    assert folder.take(lambda _: False, log=str(log.resolve())) is not None
    assert newest_log(folder, root) == log
    shutil.move(root.path, tmp_path / "moved")
    moved = RunsRoot(tmp_path / "moved")
    assert newest_log(moved.cell(cell.id), moved) == made.folder(moved).log(0)
    made.folder(moved).log(0).unlink()
    assert newest_log(moved.cell(cell.id), moved) == log  # the path where it should be


def test_a_file_in_the_place_of_the_submissions_is_named(made: Submission, tmp_path: Path) -> None:
    root = RunsRoot(tmp_path / "other")
    root.path.mkdir()
    root.submissions.write_text("")
    with pytest.raises(StoreError, match="submissions must be a folder, but is a file; move it away"):
        submissions.create(root, "demo", Path("data"), (), made.packs)
    with pytest.raises(StoreError, match="must be a folder, but is a file"), submitting(root, print, wait=False):
        pass


def test_logs_says_where_a_log_that_is_gone_must_be(
    root: RunsRoot, made: Submission, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = made.packs[0].cells[0]
    folder, log = root.cell(cell.id), made.folder(root).log(0).resolve()
    log.write_text("said\n")
    folder.create(cell)
    assert folder.take(lambda _: False, log=str(log)) is not None
    words = ["logs", cell.id, "--runs", str(root.path)]
    assert (main(words), capsys.readouterr().out) == (0, "said\n")
    log.unlink()
    assert main(words) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"the log of {cell.id} was at" in said
    assert "`empslurm show " in said
