"""The log of a cell: found after the runs root was moved, and followed to its last line."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from empslurm.cli import main
from empslurm.errors import StoreError
from empslurm.launch import submission as submissions
from empslurm.launch.lock import submitting
from empslurm.launch.lookup import newest_log
from empslurm.launch.queue import Job, Queue
from empslurm.launch.submission import Submission
from empslurm.store.cell_folder import CellDir
from empslurm.store.claims import Claim, local_liveness
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


def running(root: RunsRoot, made: Submission) -> tuple[CellDir, Claim, Path]:
    """A cell that this process runs, its claim, and its log of one line."""
    cell = made.packs[0].cells[0]
    folder, log = root.cell(cell.id), made.folder(root).log(0).resolve()
    log.write_text("first\n")
    folder.create(cell)
    claim = folder.take(local_liveness, log=str(log))
    assert claim is not None
    return folder, claim, log


def test_logs_follows_a_cell_to_its_last_line(
    root: RunsRoot, made: Submission, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, claim, log = running(root, made)

    def steps() -> Iterator[None]:
        add(log, "épo".encode()[:1])  # half a letter, and half a line
        yield
        add(log, "épo".encode()[1:] + b"ch 1\n")
        folder.release(claim)  # the cell has ended, and its last line is not yet in the file
        yield
        assert capsys.readouterr().out == "first\népoch 1\n"
        add(log, b"is done")
        yield

    waits = steps()
    monkeypatch.setattr("empslurm.cli.cell.time.sleep", lambda _: next(waits))
    assert main(["logs", folder.id, "--follow", "--runs", str(root.path)]) == 0
    assert capsys.readouterr().out == "is done\n"


def test_logs_follows_on_while_squeue_does_not_answer(
    root: RunsRoot, made: Submission, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, claim, log = running(root, made)
    folder.release(claim)
    answers: list[dict[str, Job] | None] = [None, None, {}]
    monkeypatch.setattr("empslurm.cli.cell.queue_of", lambda _: Queue(partial(answers.pop, 0)))
    monkeypatch.setattr("empslurm.cli.cell.shutil.which", lambda _: "/usr/bin/squeue")
    monkeypatch.setattr("empslurm.cli.cell.time.sleep", lambda _: add(log, b"more\n"))
    assert main(["logs", folder.id, "--follow", "--runs", str(root.path)]) == 0
    assert capsys.readouterr().out == "first\nmore\nmore\nmore\n"
    assert answers == []


def add(log: Path, data: bytes) -> None:
    with open(log, "ab") as stream:
        stream.write(data)
