"""What an element decides on its node, without training: sources, holds, processes that die."""

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.errors import DamagedError
from empslurm.launch import journal, markers, policy
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import job_identity
from empslurm.launch.markers import Array
from empslurm.launch.node import running, sources
from empslurm.launch.node.array_task import Element, Work
from empslurm.launch.submission import Submission
from empslurm.store.runs import RunsRoot
from tests.launch.conftest import SETTINGS, runs_as

TRANSFERS = 8  # index of the first pack of transfers in the demo's submission: three cells


class Dying:
    """A train process that ends at once without doing anything."""

    started: int = 0
    arguments: tuple[str, ...] = ()

    def __init__(self, precision: str, n_processes: int, arguments: list[str], **_: object) -> None:
        Dying.started += 1
        Dying.arguments = tuple(arguments)

    ended = True
    code = 1

    def close(self) -> None:
        """It holds no port."""


@pytest.fixture
def node(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node called node1, where train processes die and nothing waits."""
    monkeypatch.setattr(sources, "PATIENCE_S", 0.0)
    monkeypatch.setattr(running, "TrainProcess", Dying)
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")
    Dying.started = 0
    return lab


Start = Callable[[int], Work]


@pytest.fixture
def work(root: RunsRoot, made: Submission, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts job 101_0 with one pack."""

    def start(place: int) -> Work:
        array = markers.mark(root, made, [[place]], "demo", cluster="lab")
        array.resolve("101")
        runs_as(monkeypatch, array)
        return Work(root, array)

    return start


def reasons(array: Array, place: int) -> list[object]:
    return [event.reason for event in journal.journal(array.submission, place).events()]


def finish(root: RunsRoot, made: Submission, cell_id: str) -> None:
    cell = next(cell for cell in made.cells if cell.id == cell_id)
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(lambda _: False)
    assert claim is not None
    folder.output(claim).mkdir()
    (folder.output(claim) / "provenance.json").write_text("{}")
    folder.save(claim, {})


def fail(root: RunsRoot, made: Submission, cell_id: str) -> None:
    cell = next(cell for cell in made.cells if cell.id == cell_id)
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(lambda _: False, job_id="55_0")
    assert claim is not None
    folder.fail(claim, kind="error", message="a sentence")
    folder.release(claim)


def test_the_pickle_holds_strings_only() -> None:
    given = Element("/runs", "/marker.json")
    given.work = object()  # type: ignore[assignment]
    assert given.__getstate__() == {"runs": "/runs", "array": "/marker.json", "work": None}
    assert callable(given.checkpoint)


def test_a_failed_source_drops_only_its_own_cells(node: Path, root: RunsRoot, made: Submission, work: Start) -> None:
    pack = made.packs[TRANSFERS]
    failed, *good = pack.parents
    fail(root, made, failed)
    for parent in good:
        finish(root, made, parent)
    doing = work(TRANSFERS)
    assert doing.run() == "requeued"  # the fake dies twice
    lost = [cell.id for cell in pack.cells if cell.starts_from == failed]
    assert (len(lost), len(pack.cells)) == (1, 3)
    given = [Dying.arguments[n + 1] for n, word in enumerate(Dying.arguments) if word == "--without"]
    assert given == lost


def test_a_source_that_is_queued_is_waited_for_by_queueing_again_later(
    node: Path, root: RunsRoot, made: Submission, work: Start
) -> None:
    coming, *good = made.packs[TRANSFERS].parents
    for parent in good:
        finish(root, made, parent)
    place = next(n for n, pack in enumerate(made.packs) if pack.cells[0].id == coming)
    array = markers.mark(root, made, [[place]], "demo")
    array.resolve("77")
    (node / "taken").write_text(f"77 {array.name}\n")
    doing = work(TRANSFERS)
    assert doing.run() == "requeued"
    assert Dying.started == 0
    told = (node / "told").read_text().splitlines()
    assert told == ["requeue 101_0", "update JobId=101_0 StartTime=now+15"]
    assert reasons(doing.array, TRANSFERS) == ["waiting"]


def test_a_process_that_keeps_dying_is_tried_here_then_elsewhere_then_failed(
    node: Path, root: RunsRoot, made: Submission, work: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    doing = work(0)
    assert doing.run() == "requeued"
    assert reasons(doing.array, 0) == [None, "killed", None, "killed"]
    told = (node / "told").read_text().splitlines()
    assert told == ["requeue 101_0", "update JobId=101_0 ExcNodeList=node1"]
    assert root.cell(made.packs[0].cells[0].id).error() is None
    # The next start, on another node.
    monkeypatch.setattr(socket, "gethostname", lambda: "node2")
    assert Work(root, doing.array).run() == "done"
    error = root.cell(made.packs[0].cells[0].id).error()
    assert error is not None
    assert (error["class"], "died 3 times" in error["message"]) == ("killed", True)
    assert Dying.started == 3


def test_a_node_that_lost_the_pack_twice_is_left_at_once(
    node: Path, root: RunsRoot, made: Submission, work: Start
) -> None:
    doing = work(0)
    for restart in (0, 1):
        journal.journal(doing.array.submission, 0).add("start", host="node1", job="101_0", restart=restart)
    assert doing.run() == "requeued"
    assert "ExcNodeList=node1" in (node / "told").read_text()


def test_a_held_submission_starts_nothing(node: Path, root: RunsRoot, made: Submission, work: Start) -> None:
    doing = work(0)
    cause: Mapping[str, Any] = {"signature": "x", "cells": ["a", "b"], "message": "a sentence"}
    doing.array.submission.hold.write_text(json.dumps(cause))
    assert doing.run() == "held"
    assert (Dying.started, reasons(doing.array, 0)) == (0, ["held"])


def test_saving_stops_when_the_profile_allows_no_more_starts(
    node: Path, root: RunsRoot, work: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work(0).leave()
    assert (node / "told").read_text().splitlines()[-1] == "requeue 101_0"
    (node / "told").unlink()
    array = work(0).array
    runs_as(monkeypatch, array, restart=10)
    Work(root, array).leave()
    assert not (node / "told").exists()
    assert "after 10 restarts no more are allowed: run `empslurm submit`" in capsys.readouterr().out


def run_on_two_nodes(root: RunsRoot, array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node1", "node2"):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        Work(root, array).run()


def test_a_python_traceback_is_not_taken_for_lack_of_memory(
    node: Path, root: RunsRoot, work: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = node / "log"
    log.write_text("Traceback (most recent call last):\nOldError: of an earlier start\n")
    monkeypatch.setenv("EMPSLURM_LOG", str(log))

    class Telling(Dying):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            with log.open("a") as stream:
                stream.write("Traceback (most recent call last):\nModuleNotFoundError: No module named 'torch'\n")

    monkeypatch.setattr(running, "TrainProcess", Telling)
    array = work(0).array
    run_on_two_nodes(root, array, monkeypatch)
    error = root.cell(array.cells[0][0]).error()
    assert error is not None
    assert (
        "ended 3 times with an error; its last line: ModuleNotFoundError: No module named 'torch'" in error["message"]
    )
    assert "mem_gb" not in error["message"]
    # Without output of its own it is a silent end again, whatever an earlier start printed.
    monkeypatch.setattr(running, "TrainProcess", Dying)
    other = work(1).array
    run_on_two_nodes(root, other, monkeypatch)
    silent = root.cell(other.cells[0][0]).error()
    assert silent is not None
    assert "died 3 times without an error message" in silent["message"]


def test_a_class_with_tries_is_tried_here_then_elsewhere_then_stays_failed(
    node: Path, root: RunsRoot, made: Submission, work: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = policy.Failure(name="flaky", tries_here=1, tries_elsewhere=1, advice="wait")
    monkeypatch.setattr(policy, "FAILURES", (*policy.FAILURES, flaky))
    monkeypatch.setitem(policy.BY_NAME, "flaky", flaky)
    cell = made.packs[0].cells[0]

    class Failing(Dying):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            folder = root.cell(cell.id)
            folder.create(cell)
            claim = folder.take(lambda _: False, **job_identity())
            assert claim is not None
            folder.fail(claim, kind="flaky", message="a sentence")
            folder.release(claim)

    monkeypatch.setattr(running, "TrainProcess", Failing)
    array = work(0).array
    assert Work(root, array).run() == "requeued"
    assert reasons(array, 0) == [None, "flaky", None, "flaky"]
    monkeypatch.setattr(socket, "gethostname", lambda: "node2")
    runs_as(monkeypatch, array, restart=1)
    assert Work(root, array).run() == "done"
    assert reasons(array, 0)[4:] == [None, "flaky"]
    error = root.cell(cell.id).error()
    assert error is not None
    assert (error["class"], error["message"], Dying.started) == ("flaky", "a sentence", 3)


def test_a_job_that_is_not_this_arrays_trains_nothing(
    node: Path, root: RunsRoot, work: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = work(0).array
    for name, value in (("EMPSLURM_JOB_NAME", "another.0123abcd"), ("SLURM_ARRAY_TASK_ID", "5")):
        runs_as(monkeypatch, array)
        monkeypatch.setenv(name, value)
        with pytest.raises(DamagedError, match=r"an element of demo\.\w+, but .*; start jobs with `empslurm submit`"):
            Work(root, array)


def test_an_element_asks_slurm_only_when_it_must(node: Path, root: RunsRoot, made: Submission, work: Start) -> None:
    asked = node / "queue-asked"
    work(0).run()
    assert not asked.exists()
    for parent in made.packs[TRANSFERS].parents[1:]:
        finish(root, made, parent)
    work(TRANSFERS).run()
    assert len(asked.read_text().splitlines()) == 1


def test_a_whole_node_gives_all_its_cores_to_packs(
    node: Path, root: RunsRoot, made: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(SETTINGS, exclusive=True, cpus=2, cpus_per_pack=8)
    own = submissions.create(root, "demo", Path("data"), (), made.packs, whole)
    array = markers.mark(root, own, [[0, 1, 2, 3]], "demo", cluster="lab")
    runs_as(monkeypatch, array)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "24")
    slots = Work(root, array).job.slots(4)
    assert [slot.n_cores for slot in slots] == [8, 8, 8]
