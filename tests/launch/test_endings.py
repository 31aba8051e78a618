"""Jobs that end before our code runs are recognised, and are not sent without end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from empslurm.cli import main
from empslurm.launch import journal, markers
from empslurm.launch.endings import endings, repeated
from empslurm.launch.logs import last_words
from empslurm.launch.lookup import find_cell, log_of_job, newest_log
from empslurm.launch.markers import Array
from empslurm.launch.queue import Job, Queue
from empslurm.launch.submission import Submission
from empslurm.store.runs import RunsRoot

NOTHING = Queue(dict)
Sent = Callable[..., Array]


@pytest.fixture
def sent(root: RunsRoot, made: Submission) -> Sent:
    """An array with the first pack, sent as a job that left a log."""

    def make(job: str, log: str | None, *, script: str = "s") -> Array:
        array = markers.mark(root, made, [[0]], "demo", cluster="lab", script=script)
        array.resolve(job)
        array.folder.mkdir(parents=True)
        if log is not None:
            array.log(f"{job}_0").write_text(log)
        return array

    return make


def early(root: RunsRoot, made: Submission, queue: Queue = NOTHING) -> list[tuple[str, str]]:
    cell = made.packs[0].cells[0].id
    return [(death.job_id, death.line) for death in endings([cell], root, queue).early.get(cell, ())]


def test_a_job_that_left_only_a_log_ended_before_it_started(root: RunsRoot, made: Submission, sent: Sent) -> None:
    sent("14", "loading\n/var/spool/job14: line 9: module: command not found\n\n")
    assert early(root, made) == [("14_0", "/var/spool/job14: line 9: module: command not found")]
    sent("15", "")
    assert early(root, made)[0] == ("15_0", "")


def test_jobs_that_started_wait_or_never_ran_are_no_early_deaths(root: RunsRoot, made: Submission, sent: Sent) -> None:
    array = sent("14", "srun: fatal: no")
    queued = Job(id="14_0", state="PENDING", restarts=0, reason="None", node="", name=array.name)
    assert early(root, made, Queue(lambda: {"14_0": queued})) == []
    other = Job(id="14_0", state="PENDING", restarts=0, reason="None", node="", name="somebody.else")
    assert early(root, made, Queue(lambda: {"14_0": other})) == [("14_0", "srun: fatal: no")]
    assert early(root, made, Queue(lambda: None)) == []
    journal.journal(array.submission, 0).add("end", reason="held", job="14_0", restart=0)
    assert early(root, made) == []
    sent("15", None)  # cancelled while it waited
    assert early(root, made) == []


def test_an_element_that_found_nothing_to_do_has_started(root: RunsRoot, made: Submission, sent: Sent) -> None:
    array = sent("14", "submitit INFO (x) - Exiting after successful completion")
    array.note_start("14_0")
    assert early(root, made) == []


def test_those_since_the_last_that_started_count(root: RunsRoot, made: Submission, sent: Sent) -> None:
    sent("12", "srun: fatal: old")
    started = sent("13", "trained")
    journal.journal(started.submission, 0).add("start", host="node1", job="13_0", restart=0)
    sent("14", "srun: fatal: new")
    sent("15", "slurmstepd: error: *** JOB 15 ON node1 CANCELLED AT 2026-01-01T00:00:00 ***")
    assert early(root, made) == [("14_0", "srun: fatal: new")]


def test_two_alike_stop_the_third_unless_what_they_were_made_from_changed(
    root: RunsRoot, made: Submission, sent: Sent
) -> None:
    cell = made.packs[0].cells[0].id
    sent("14", "/node3/job14/script: line 7: nopython: command not found")
    assert repeated(endings([cell], root, NOTHING).early, "s") is None
    sent("15", "/node4/job15/script: line 7: nopython: command not found")
    found = repeated(endings([cell], root, NOTHING).early, "s")
    assert found is not None
    assert [death.job_id for death in found] == ["15_0", "14_0"]
    assert repeated(endings([cell], root, NOTHING).early, "another profile") is None
    sent("16", "something else")
    assert repeated(endings([cell], root, NOTHING).early, "s") is None


def test_a_job_that_saved_and_may_not_restart_is_reported(root: RunsRoot, made: Submission, sent: Sent) -> None:
    array = sent("14", "saved")
    journal.journal(array.submission, 0).add("start", host="node1", job="14_0", restart=0)
    journal.journal(array.submission, 0).add("end", reason="stopped", job="14_0", restart=0)
    cell = made.packs[0].cells[0].id
    found = endings([cell], root, NOTHING)
    assert found.saved == {cell}
    assert not found.early


def test_logs_opens_what_such_a_job_left(
    lab: Path, root: RunsRoot, made: Submission, sent: Sent, capsys: pytest.CaptureFixture[str]
) -> None:
    log = sent("14", "srun: fatal: no\n").log("14_0")
    cell = made.packs[0].cells[0].id
    for name in ("14", "14_0"):
        found = log_of_job(root, name)
        assert found is not None
        assert (found[0].id, found[1]) == (cell, log)
    assert find_cell(root, cell[:-3]).id == cell  # it has no folder yet
    assert newest_log(root.cell(cell), root) == log
    for name in ("14", cell):
        assert main(["logs", name, "--runs", str(root.path)]) == 0
        assert capsys.readouterr().out == "srun: fatal: no\n"


@pytest.mark.parametrize(
    ("text", "line", "is_error"),
    [
        ("one\n\ntwo\n", "two", False),
        ("why\nsubmitit INFO (x) - Job has timed out\nempslurm: pack 0 ended\n", "why", False),
        ("why\nsrun: error: node1: task 0: Exited with exit code 1\n", "why", False),
        ("srun: error: node1: task 0: Out Of Memory\n", "srun: error: node1: task 0: Out Of Memory", False),
        (
            "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'y'\n",
            "ModuleNotFoundError: No module named 'y'",
            True,
        ),
        ("", "", False),
    ],
)
def test_last_words(tmp_path: Path, text: str, line: str, is_error: bool) -> None:
    path = tmp_path / "log"
    path.write_text("before\nTraceback (most recent call last):\n" + text)
    assert last_words(path, len("before\nTraceback (most recent call last):\n")) == (line, is_error)
    assert last_words(tmp_path / "absent") == ("", False)
