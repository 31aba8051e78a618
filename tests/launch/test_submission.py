"""A submission is read back from one file; arrays are found by file names alone."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from empslurm.errors import DamagedError
from empslurm.launch import markers
from empslurm.launch import submission as submissions
from empslurm.launch.queue import Job, Queue
from empslurm.launch.states import states
from empslurm.launch.submission import Submission
from empslurm.plan import packs
from empslurm.store.runs import RunsRoot
from tests.launch.test_arrays import plan_of


def test_packs_come_back_as_they_were(root: RunsRoot, made: Submission) -> None:
    assert submissions.load(made.folder(root).file) == made
    some = submissions.load(made.folder(root).file, [9, 2])
    assert some.packs == (made.packs[9], made.packs[2])
    assert some.settings == made.settings


def test_a_submission_of_before_packs_shared_gpus_is_read(root: RunsRoot, made: Submission) -> None:
    path = made.folder(root).file
    first, *rest = path.read_text().splitlines()
    header = json.loads(first)
    for name in ("packs_per_gpu", "exclude", "trackers"):
        header["settings"].pop(name, None)
    path.write_text("\n".join([json.dumps(header), *rest]) + "\n")
    settings = submissions.load(path).settings
    assert settings is not None
    assert (settings.packs_per_gpu, settings.exclude, settings.cpus, settings.trackers) == (None, None, 2, ())


def test_an_altered_pack_is_refused(root: RunsRoot, made: Submission) -> None:
    path = made.folder(root).file
    lines = path.read_text().splitlines()
    value = json.loads(lines[1])
    value["cells"][0]["seed"] = 99
    path.write_text("\n".join([lines[0], json.dumps(value), *lines[2:]]))
    with pytest.raises(DamagedError, match="submit again"):
        submissions.load(path)
    assert submissions.load(path, [3]).packs == (made.packs[3],)


HEADERS: list[tuple[dict[str, object], str]] = [
    ({"cards": "mine.yaml"}, "cards must be a list"),
    ({"cards": [["x"]]}, r"cards\[0\] must be a path"),
    ({"data_root": "\0"}, "data_root must be a path"),
    ({"manifest": None}, "manifest must be a string"),
    ({"settings": []}, "settings must be an object"),
    ({"settings": {"cpus": 0}}, "settings.cpus must be an integer at least 1, but is 0"),
    ({"settings": {"cpus": 1}}, "settings must have gpus, but does not"),
    ({"settings": {"packs_per_gpu": 0}}, "settings.packs_per_gpu must be an integer at least 1, but is 0"),
    ({"settings": {"exclude": "node1 --x"}}, "settings.exclude must be a Slurm node list"),
]


@pytest.mark.parametrize(("damage", "words"), HEADERS, ids=[words[:24] for _, words in HEADERS])
def test_a_forged_header_is_refused(root: RunsRoot, made: Submission, damage: dict[str, object], words: str) -> None:
    path = made.folder(root).file
    header, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(header), **damage}), *rest]))
    with pytest.raises(DamagedError, match=words):
        submissions.load(path, [0])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"cells": []}, "at least 1"),
        ({"cells": [[]]}, "be an object"),
        ({"wave": True}, "one of 0, 1"),
        ({"id": 3}, "id"),
    ],
)
def test_a_forged_pack_is_refused(root: RunsRoot, made: Submission, damage: dict[str, object], words: str) -> None:
    path = made.folder(root).file
    header, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, json.dumps({**json.loads(first), **damage}), *rest]))
    with pytest.raises(DamagedError, match=words):
        submissions.load(path)


def test_cards_are_kept_as_they_were(root: RunsRoot, tmp_path: Path) -> None:
    card = tmp_path / "mine.yaml"
    card.write_text("id: mine\n")
    kept = submissions.create(root, "demo", Path("data"), (card,), packs(plan_of("small_grid").cells))
    card.write_text("id: changed\n")
    (copy,) = submissions.load(kept.folder(root).file, []).cards
    assert copy.read_text() == "id: mine\n"


def test_arrays_are_known_unresolved_or_void(root: RunsRoot, made: Submission) -> None:
    first, second, third = (markers.mark(root, made, [[n], [n + 1]], "demo") for n in (0, 2, 4))
    assert markers.scan(root) == ({}, [first.path, second.path, third.path])
    first.resolve("12")
    second.void()
    assert markers.scan(root) == ({"12": first.path}, [third.path])
    third.discard()
    assert markers.scan(root)[1] == []
    assert markers.load_array(first.path) == first
    assert first.name.startswith("demo.")


def test_a_marker_with_a_whole_number_as_its_time_is_read(root: RunsRoot, made: Submission) -> None:
    array = markers.mark(root, made, [[0]], "demo")
    array.path.write_text(json.dumps({**json.loads(array.path.read_text()), "created": 1700000000}))
    assert markers.load_array(array.path).created == 1700000000.0


def test_cells_of_queued_elements_are_queued(root: RunsRoot, made: Submission) -> None:
    array = markers.mark(root, made, [[0], [1], [2]], "demo")
    array.resolve("12")
    job = Job(id="12_1", state="PENDING", restarts=0, reason="Priority", node="", name=array.name)
    cells = [cell.id for place in (0, 1, 2) for cell in made.packs[place].cells]
    found = states(cells, root, Queue(lambda: {"12_1": job}))
    assert [state.state for state in found.values()] == ["pending", "queued", "pending"]
    assert found[cells[1]].why == "job 12_1 is pending (Priority)"


def test_a_failure_of_the_job_itself_stands_and_an_older_one_is_queued(root: RunsRoot, made: Submission) -> None:
    array = markers.mark(root, made, [[0]], "demo", cluster="lab")
    array.resolve("12")
    (cell,) = made.packs[0].cells
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(lambda _: False, job_id="12_0", job_name=array.name)
    assert claim is not None
    folder.fail(claim, kind="error", message="a sentence")
    folder.release(claim)
    for restarts, expected in ((0, "failed"), (1, "queued")):
        job = Job(id="12_0", state="RUNNING", restarts=restarts, reason="None", node="node1", name=array.name)
        assert states([cell.id], root, Queue(partial(dict, {"12_0": job})))[cell.id].state == expected


def test_two_arrays_with_one_id_are_distinguished_by_their_names(root: RunsRoot, made: Submission) -> None:
    """Two clusters on one file system, or a controller that lost its state."""
    first = markers.mark(root, made, [[0]], "demo", cluster="alpha")
    second = markers.mark(root, made, [[1]], "demo", cluster="beta")
    for array in (first, second):
        array.resolve("12")
    assert [array.name for _, array in markers.sent(root)] == [first.name, second.name]
    job = Job(id="12_0", state="PENDING", restarts=0, reason="None", node="", name=first.name, cluster="alpha")
    cells = [made.packs[place].cells[0].id for place in (0, 1)]
    found = states(cells, root, Queue(lambda: {"12_0": job}))
    assert [found[cell].state for cell in cells] == ["queued", "pending"]


def test_many_young_claims_cost_two_questions(root: RunsRoot, made: Submission) -> None:
    asked: list[int] = []
    array = markers.mark(root, made, [[place] for place in range(8)], "demo", cluster="lab")
    array.resolve("12")
    for place in range(8):
        cell = made.packs[place].cells[0]
        root.cell(cell.id).create(cell)
        assert root.cell(cell.id).take(lambda _: False, job_id=f"12_{place}", job_name=array.name)
    ended = Job(id="", state="NODE_FAIL", restarts=0, reason="None", node="", name=array.name)
    jobs = {f"12_{place}": replace(ended, id=f"12_{place}") for place in range(8)}

    def answer() -> dict[str, Job]:
        asked.append(1)
        return jobs

    found = states(array.cells[0] + array.cells[7], root, Queue(answer))
    assert [state.state for state in found.values()] == ["lost", "lost"]
    assert len(asked) == 2
