"""What a clean-up looks at: each thing is named as not needed, or stays for one of the reasons of a table."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from empslurm.cells import Cell
from empslurm.errors import SchedulerError
from empslurm.launch import queue, scontrol, snapshot
from empslurm.launch import submission as submissions
from empslurm.launch.markers import Marker, write_marker
from empslurm.launch.queue import Job
from empslurm.plan import packs
from empslurm.share import cleaning
from empslurm.share.cleaning import find, remove
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from tests.gather.grids import baseline, finish

OLD, OTHER = "0123456789abcdef", "fedcba9876543210"
LONG_AGO = time.time() - 10 * cleaning.DAY_S


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunsRoot:
    monkeypatch.setattr(queue, "ask", lambda *_: {})
    (tmp_path / "runs").mkdir()
    return RunsRoot(tmp_path / "runs")


def put(root: RunsRoot, name: str, text: str = "x", age_s: float = 10 * cleaning.DAY_S) -> Path:
    """A file that was written some time ago, as were its folders below the runs root."""
    path = root.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for each in (path, *path.parents):
        if each == root.path:
            break
        os.utime(each, (time.time() - age_s,) * 2)
    return path


def named(root: RunsRoot) -> dict[str, str]:
    return {entry.path.relative_to(root.path).as_posix(): entry.kind for entry in find(root).spare}


def kept(root: RunsRoot) -> dict[str, str]:
    return {path.relative_to(root.path).as_posix(): why for path, why in find(root).kept.items()}


def unknown(root: RunsRoot) -> set[str]:
    return {path.relative_to(root.path).as_posix() for path in find(root).unknown}


# ---- cells -----------------------------------------------------------------------------------------------------------


def left_behind(root: RunsRoot, cell: Cell) -> dict[str, str]:
    """What killed processes may leave in a cell's folder."""
    here = f"cells/{cell.id}"
    for name in (
        "checkpoint/step-000000001.ckpt",
        "output-0007/half",
        "error.json",
        ".result.json.12.0123456789ab.tmp",
    ):
        put(root, f"{here}/{name}", "{}")
    return dict.fromkeys(
        (f"{here}/checkpoint", f"{here}/output-0007", f"{here}/error.json", f"{here}/.result.json.12.0123456789ab.tmp"),
        "cells",
    )


def test_what_a_finished_cell_left_is_named_and_its_result_stays(root: RunsRoot) -> None:
    cell = baseline("epitome_er")
    finish(root, cell)
    assert (named(root), kept(root)) == ({}, {f"cells/{cell.id}/output-0001": cleaning.OF_RESULT})
    expected = left_behind(root, cell)
    put(root, f"cells/{cell.id}/mine.txt")
    put(root, "cells/no-cell/checkpoint/x")
    assert named(root) == expected
    assert kept(root) == {f"cells/{cell.id}/output-0001": cleaning.OF_RESULT}
    assert unknown(root) == {f"cells/{cell.id}/mine.txt", "cells/no-cell"}
    assert remove(find(root)).failed == {}
    assert root.cell(cell.id).result() is not None
    assert named(root) == {}
    assert unknown(root) == {f"cells/{cell.id}/mine.txt", "cells/no-cell"}


def test_an_unfinished_cell_keeps_everything(root: RunsRoot) -> None:
    cell = baseline("epitome_er")
    finish(root, cell)
    entries = left_behind(root, cell)
    root.cell(cell.id).result_file.unlink()
    assert named(root) == {}
    assert kept(root) == dict.fromkeys([*entries, f"cells/{cell.id}/output-0001"], cleaning.UNFINISHED)


def test_a_damaged_result_is_for_a_person(root: RunsRoot) -> None:
    cell = baseline("epitome_er")
    path = finish(root, cell)
    left_behind(root, cell)
    (path / "result.json").write_text("{}")
    assert named(root) == {}
    assert set(kept(root).values()) == {cleaning.DAMAGED}


def test_a_result_with_a_damaged_file_keeps_its_checkpoint(root: RunsRoot) -> None:
    cell = baseline("epitome_er")
    path = finish(root, cell)
    left_behind(root, cell)
    (path / "output-0001" / "adapter" / "adapter.safetensors").write_bytes(b"torn")
    assert named(root) == {}
    assert set(kept(root).values()) == {cleaning.DAMAGED}


def test_a_cell_that_a_living_process_holds_is_left_alone(root: RunsRoot) -> None:
    cell = baseline("epitome_er")
    path = finish(root, cell)
    result = (path / "result.json").read_bytes()
    (path / "result.json").unlink()
    claim = root.cell(cell.id).take(local_liveness)  # this process
    assert claim is not None
    (path / "result.json").write_bytes(result)
    entries = left_behind(root, cell)
    assert named(root) == {}
    assert {kept(root)[name] for name in entries} == {cleaning.HELD}
    root.cell(cell.id).release(claim)
    assert named(root) == entries


def test_links_are_never_followed(root: RunsRoot, tmp_path: Path) -> None:
    cell = baseline("epitome_er")
    path = finish(root, cell)
    precious = tmp_path / "precious"
    (precious / OLD).mkdir(parents=True)
    (precious / OLD / "file").write_text("x")
    (path / "checkpoint").symlink_to(precious)
    (root.path / "code").symlink_to(precious)
    (root.path / "prepared").mkdir()
    (root.path / "prepared" / "tokens").symlink_to(precious)
    (root.path / "cells" / "news_empathy-s1-0123456789ab").symlink_to(precious)
    assert named(root) == {}
    inside = put(root, f"cells/{cell.id}/output-0003/x").parent
    (inside / "link").symlink_to(precious)
    assert remove(find(root)).failed == {}
    assert not inside.exists()
    assert (precious / OLD / "file").is_file()


# ---- code ------------------------------------------------------------------------------------------------------------


def sent(root: RunsRoot, code: str, *, name: str, job: str | None, cluster: str | None = None) -> None:
    """An array that was sent with a copy of the code. `job` None: nobody knows whether Slurm has it."""
    folder = root.submissions / f"20260101T000000Z-small-{name}"
    cell = baseline("epitome_er").id
    marker = Marker(
        nonce=name,
        name=f"small.{name}",
        created=1.0,
        elements=((0,),),
        cells=((cell,),),
        cluster=cluster,
        user=os.getuid(),
    )
    write_marker(folder / "arrays" / "0001.json", marker)
    put(root, f"submissions/{folder.name}/arrays/0001/7_submission.sh", f"cd /here/runs/code/{code} || exit\n")
    if job is not None:
        (folder / "arrays" / f"0001.job-{job}").touch()


def job(name: str, state: str) -> dict[str, Job]:
    return {"7_0": Job(id="7_0", state=state, restarts=0, reason="", node="", name=f"small.{name}")}


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("PENDING", cleaning.OF_JOBS),
        ("RUNNING", cleaning.OF_JOBS),
        ("COMPLETED", None),
        ("gone", None),
        ("silent", cleaning.OF_JOBS),
        ("unresolved", cleaning.OF_JOBS),
        ("no script", cleaning.UNSURE_JOBS),
        ("damaged", cleaning.UNSURE_JOBS),
        ("probe", cleaning.UNSURE_JOBS),
        ("end", cleaning.OF_JOBS),
    ],
)
def test_code_stays_while_a_job_may_read_it(
    root: RunsRoot, monkeypatch: pytest.MonkeyPatch, state: str, why: str | None
) -> None:
    for name in (OLD, OTHER):
        put(root, f"code/{name}/empslurm/x.py")
    sent(root, OLD, name="aaaaaaaa", job=None if state == "unresolved" else "7")
    jobs: Mapping[str, Job] | None = {} if state == "gone" else job("aaaaaaaa", state)
    if state in ("unresolved", "damaged", "probe", "end"):
        jobs = {}
    if state == "silent":
        jobs = None
    if state == "no script":
        jobs = job("aaaaaaaa", "RUNNING")
        next(root.submissions.glob("*/arrays/0001/*.sh")).unlink()
    if state == "damaged":
        next(root.submissions.glob("*/arrays/0001.json")).write_text("{}")
    if state == "probe":
        put(root, "probes/empslurm-probe.1/probe.json")
    if state == "end":
        end = next(root.submissions.iterdir()) / "end.json"
        end.write_text(json.dumps({"name": "small-end.1"}))
        jobs = {"8": Job(id="8", state="PENDING", restarts=0, reason="", node="", name="small-end.1")}
    monkeypatch.setattr(queue, "ask", lambda *_: jobs)
    expected = {f"code/{OLD}": why, f"code/{OTHER}": why if why == cleaning.UNSURE_JOBS else None}
    assert named(root) == {name: "code" for name, reason in expected.items() if reason is None}
    assert {name: reason for name, reason in kept(root).items() if name.startswith("code/")} == {
        name: reason for name, reason in expected.items() if reason is not None
    }


def test_the_running_code_and_what_is_being_written_stay(root: RunsRoot) -> None:
    own = snapshot.take(root)
    assert own.name == snapshot.name()
    put(root, f"code/.{OLD}.0123abcd.tmp/x", age_s=60)
    put(root, f"code/.{OTHER}.0123abcd.tmp/x")
    put(root, "code/notes.txt")
    assert named(root) == {f"code/.{OTHER}.0123abcd.tmp": "temporary"}
    assert kept(root) == {
        f"code/{own.name}": cleaning.CURRENT_CODE,
        f"code/.{OLD}.0123abcd.tmp": cleaning.BEING_WRITTEN,
    }
    assert unknown(root) == {"code/notes.txt"}


@pytest.mark.parametrize("answers", [True, False])
def test_code_stays_where_slurm_may_hide_the_job(
    root: RunsRoot, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    def cluster() -> scontrol.Cluster:
        if not answers:
            raise SchedulerError("silent")
        return scontrol.Cluster(name="here", max_array=1000, hides_jobs=False)

    monkeypatch.setattr(scontrol, "cluster", cluster)
    put(root, f"code/{OLD}/empslurm/x.py")
    sent(root, OLD, name="aaaaaaaa", job="7", cluster="here")
    assert named(root) == ({f"code/{OLD}": "code"} if answers else {})
    assert kept(root) == ({} if answers else {f"code/{OLD}": cleaning.OF_JOBS})


def test_a_copy_that_was_just_made_or_taken_again_stays(root: RunsRoot) -> None:
    put(root, f"code/{OLD}/code.json", age_s=60)
    put(root, f"code/{OTHER}/code.json")
    assert named(root) == {f"code/{OTHER}": "code"}
    assert kept(root) == {f"code/{OLD}": cleaning.RECENT}
    own = snapshot.take(root)
    os.utime(own, (0, 0))
    snapshot.take(root)
    assert time.time() - own.stat().st_mtime < cleaning.HOUR_S


# ---- prepared data ---------------------------------------------------------------------------------------------------


def prepared(root: RunsRoot) -> None:
    for name in (
        "epitome-0123456789ab/meta.json",
        "tokens/0123456789abcdef01234567/done.json",
        "checksums.json",
        "audit-0123456789ab.json",
        ".epitome-0123456789ab.12.0123456789ab/x",
        "tokens/.0123456789abcdef01234567.12.0123456789ab/x",
        "notes.txt",
        "tokens/notes.txt",
    ):
        put(root, f"prepared/{name}")


TOKENS, PARSED = "prepared/tokens/0123456789abcdef01234567", "prepared/epitome-0123456789ab"


def test_data_that_no_unfinished_cell_needs_is_named_and_what_gather_reads_stays(root: RunsRoot) -> None:
    prepared(root)
    assert named(root) == {
        TOKENS: "tokens",
        PARSED: "parsed",
        "prepared/.epitome-0123456789ab.12.0123456789ab": "temporary",
        "prepared/tokens/.0123456789abcdef01234567.12.0123456789ab": "temporary",
    }
    assert kept(root) == dict.fromkeys(
        ("prepared/checksums.json", "prepared/audit-0123456789ab.json"), cleaning.READ_BY_GATHER
    )
    assert unknown(root) == {"prepared/notes.txt", "prepared/tokens/notes.txt"}


def test_what_was_just_made_stays(root: RunsRoot) -> None:
    prepared(root)
    for name in (TOKENS, PARSED):
        os.utime(root.path / name)
    assert {kept(root)[name] for name in (TOKENS, PARSED)} == {cleaning.RECENT}


def started(root: RunsRoot, cell: Cell) -> None:
    root.cell(cell.id).create(cell)


@pytest.mark.parametrize("how", ["began", "sent", "unknown dataset", "damaged identity", "damaged submission"])
def test_where_the_needs_of_an_unfinished_cell_cannot_be_known_all_stays(root: RunsRoot, how: str) -> None:
    """Its parsed data is not there, so its tokens cannot be told from others."""
    prepared(root)
    cell = baseline("epitome_er")
    if how in ("sent", "damaged submission"):
        created = submissions.create(root, "small", root.path, (), packs([cell]))
        if how == "damaged submission":
            created.folder(root).file.write_text("{}\n")
    elif how == "unknown dataset":
        started(root, replace(cell, data=replace(cell.data, dataset="kites")))
    else:
        started(root, cell)
        if how == "damaged identity":
            root.cell(cell.id).identity_file.write_text("{}")
    why = kept(root)
    assert why[TOKENS] == cleaning.UNSURE_CELLS
    # The parsed data of a cell that can be read is told by its name.
    assert (why.get(PARSED) is None) == (how in ("began", "sent"))


def test_a_finished_cell_of_a_submission_needs_nothing(root: RunsRoot) -> None:
    prepared(root)
    cell = baseline("epitome_er")
    submissions.create(root, "small", root.path, (), packs([cell]))
    finish(root, cell)
    assert {TOKENS, PARSED} <= set(named(root))


# ---- the whole runs root ---------------------------------------------------------------------------------------------


def test_everything_that_is_looked_at_is_named_kept_or_unknown(root: RunsRoot) -> None:
    cells = [baseline("epitome_er", 1), baseline("epitome_er", 2)]
    for cell in cells:
        finish(root, cell)
        left_behind(root, cell)
    root.cell(cells[1].id).result_file.unlink()
    prepared(root)
    put(root, f"code/{OLD}/x")
    put(root, "gathered/verified-3.parquet")
    put(root, "gathered/verified-4.parquet")
    put(root, "gathered/verified-5.parquet")  # of a later version
    for name in (
        "searches/a/journal.log",
        "suitability/a.json",
        "trackers/a",
        "submissions/lock",
        "gathered/small/a.csv",
    ):
        put(root, name)
    put(root, "mine/x")
    found = find(root)
    looked_at = {
        *(path for name in ("code", "prepared", "prepared/tokens") for path in (root.path / name).iterdir()),
        *(path for cell in cells for path in root.cell(cell.id).path.iterdir() if path.name not in cleaning.OF_CELL),
        *root.gathered.glob("verified-[34].parquet"),
        root.path / "mine",
    } - {root.prepared / "tokens"}
    sorted_out = [*(entry.path for entry in found.spare), *found.kept, *found.unknown]
    assert sorted(sorted_out) == sorted(looked_at)  # each once
    assert {*found.kept.values()} <= {*cleaning.KEPT}
    assert {entry.kind for entry in found.spare} <= {*cleaning.KINDS}
    assert all((entry.n_inodes > 0, entry.why) for entry in found.spare)


def test_what_has_become_needed_meanwhile_is_not_removed(root: RunsRoot) -> None:
    prepared(root)
    cell = baseline("epitome_er")
    finish(root, cell)
    left_behind(root, cell)
    found = find(root)
    root.cell(cell.id).result_file.unlink()
    submissions.create(root, "small", root.path, (), packs([baseline("epitome_er", 5)]))
    removed = remove(found)
    assert {path.relative_to(root.path).as_posix() for path in removed.failed} >= {
        TOKENS,
        f"cells/{cell.id}/checkpoint",
        f"cells/{cell.id}/output-0007",
    }
    assert (root.path / TOKENS).is_dir()
    assert (root.cell(cell.id).checkpoints / "step-000000001.ckpt").is_file()


def test_a_local_run_that_begins_during_the_removal_is_noticed(root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(root)
    found = find(root)
    removing = cleaning._remove

    def slow(path: Path) -> str:
        said = removing(path)
        if path.name.startswith(".epitome"):  # the first of its class that is removed here
            submissions.create(root, "small", root.path, (), packs([baseline("epitome_er", 5)]))
        return said

    monkeypatch.setattr(cleaning, "_remove", slow)
    order = sorted(found.spare, key=lambda entry: not entry.path.name.startswith(".epitome"))
    removed = remove(replace(found, spare=tuple(order)))
    assert removed.failed[root.path / TOKENS] == cleaning.UNSURE_CELLS
    assert (root.path / TOKENS).is_dir()


def test_what_cannot_be_removed_is_said(root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, f"code/{OLD}/x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    removed = remove(find(root))
    assert removed.spare == ()
    assert removed.failed == {root.path / "code" / OLD: "the file system says: Permission denied"}
