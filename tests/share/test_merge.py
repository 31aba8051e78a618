"""Merging runs roots: what is taken, what is refused, that nothing is overwritten, and what interruptions leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from empslurm import api, files, ids
from empslurm.cells import Cell, TaskEmbedding
from empslurm.config import Fisher
from empslurm.errors import UsageError
from empslurm.gather import gather
from empslurm.launch.states import states
from empslurm.share import merge
from empslurm.share.merge import Step
from empslurm.store.claims import local_liveness
from empslurm.store.results import LEFT_OUT, of_adapters
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import TASKS as REGISTERED
from tests.gather.grids import finish, grid

TASKS = ("epitome_er", "news_empathy")


@pytest.fixture
def cells() -> list[Cell]:
    return grid(TASKS, seeds=(1, 2))


@pytest.fixture
def there(tmp_path: Path, cells: list[Cell]) -> RunsRoot:
    """The other runs root: all finished."""
    root = RunsRoot(tmp_path / "there")
    for cell in cells:
        finish(root, cell)
    return root


@pytest.fixture
def here(tmp_path: Path) -> RunsRoot:
    return RunsRoot(tmp_path / "here")


def take(there: RunsRoot, here: RunsRoot, *, dry_run: bool = False) -> list[Step]:
    with merge.opened([there.path], here) as sources:
        return list(merge.merge(sources, here, dry_run=dry_run))


def fates(steps: list[Step]) -> dict[str, int]:
    return dict(Counter(step.fate for step in steps))


def results(root: RunsRoot) -> dict[str, bytes]:
    return {cell.id: cell.result_file.read_bytes() for cell in root.cells()}


# ---- what is taken ---------------------------------------------------------------------------------------------------


def test_finished_cells_are_linked_with_their_seals(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    steps = take(there, here)
    assert fates(steps) == {"linked": len(cells)}
    assert results(here) == results(there)
    for cell in here.cells():
        result = cell.result()
        assert result is not None
        output = cell.verify(result)
        for name in result["files"]:
            assert (output / name).samefile(there.cell(cell.id).path / output.name / name)
    assert {state.state for state in states([cell.id for cell in cells], here).values()} == {"done"}


def test_they_are_copied_where_links_are_refused(
    there: RunsRoot, here: RunsRoot, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(old: Path, new: Path, **more: bool) -> None:
        if str(old).startswith(str(there.path)):
            raise OSError(18, "Invalid cross-device link")
        real(old, new, **more)

    monkeypatch.setattr(os, "link", link)
    assert fates(take(there, here)) == {"copied": len(cells)}
    assert results(here) == results(there)
    assert gather(here, None, registry()).n_done == len(cells)


def test_a_gather_of_them_is_that_of_the_other_runs_root(there: RunsRoot, here: RunsRoot) -> None:
    take(there, here)
    (mine,), (theirs,) = (gather(root, None, registry()).groups for root in (here, there))
    scores = ["id", "source", "target", "seed", "seal", "test.pearson", "test.f1_macro"]
    assert mine.runs[scores].equals(theirs.runs[scores])


def test_a_dry_run_writes_nothing_and_tells_the_same(there: RunsRoot, here: RunsRoot) -> None:
    steps = take(there, here, dry_run=True)
    assert not here.path.exists()
    done = take(there, here)
    assert [(step.id, step.fate, step.n_bytes) for step in steps] == [
        (step.id, step.fate, step.n_bytes) for step in done
    ]
    assert all(step.n_bytes > 0 for step in steps)


def test_a_second_import_finds_all_of_them_here(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    take(there, here)
    before = {path: path.stat().st_mtime_ns for path in here.path.rglob("*") if path.is_file()}
    assert fates(take(there, here)) == {"here": len(cells)}
    assert before == {path: path.stat().st_mtime_ns for path in here.path.rglob("*") if path.is_file()}


def test_two_runs_roots_at_once(tmp_path: Path, here: RunsRoot, cells: list[Cell]) -> None:
    one, two = RunsRoot(tmp_path / "one"), RunsRoot(tmp_path / "two")
    for cell in cells[:5]:
        finish(one, cell)
    for cell in cells[3:]:
        finish(two, cell, provenance={"wall_s": 8.0})
    with merge.opened([one.path, two.path], here) as sources:
        dry = list(merge.merge(sources, here, dry_run=True))
        steps = list(merge.merge(sources, here, dry_run=False))
    assert fates(dry) == fates(steps) == {"linked": len(cells), "here": 2}


def bare(there: RunsRoot, folder: Path) -> RunsRoot:
    """The same cells as a bundle without adapters has them."""
    root = RunsRoot(folder)
    shutil.copytree(there.path, folder)
    for cell in root.cells():
        result = cell.result()
        assert result is not None
        names = sorted(of_adapters(result))
        for name in names:
            (cell.path / result["output"] / name).unlink()
        files.write_json(cell.path / LEFT_OUT, {"files": names})
    return root


@pytest.mark.parametrize("interrupted", [True, False])
def test_adapters_that_a_bundle_left_out_are_added_from_the_runs_root(
    tmp_path: Path, there: RunsRoot, here: RunsRoot, *, interrupted: bool
) -> None:
    small = bare(there, tmp_path / "small")
    assert all(step.without_adapter for step in take(small, here))
    n = len(there.ids())
    assert fates(take(small, here)) == {"here": n}
    assert fates(take(there, here, dry_run=True)) == {"completed": n}
    assert all((cell.path / LEFT_OUT).exists() for cell in here.cells())
    if interrupted:
        cell = here.cell(here.ids()[0])
        known = cell.result()
        assert known is not None
        output = cell.path / str(known["output"])
        (output / "adapter").mkdir(exist_ok=True)
        (output / "adapter" / "adapter.safetensors").write_bytes(b"torn")
    assert fates(take(there, here)) == {"completed": n}
    for cell in here.cells():
        result = cell.result()
        assert result is not None
        cell.verify(result)
        assert not (cell.path / LEFT_OUT).exists()
    assert fates(take(there, here)) == {"here": n}


def test_two_imports_add_adapters_at_once(
    tmp_path: Path, there: RunsRoot, here: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second runs from its begin to its end while the first is at its first file."""
    take(bare(there, tmp_path / "small"), here)
    place = merge._place
    others: list[Step] = []

    def slow(pairs: Iterable[tuple[Path, Path]]) -> bool:
        monkeypatch.setattr(merge, "_place", place)
        others.extend(take(there, here))
        return place(pairs)

    monkeypatch.setattr(merge, "_place", slow)
    n = len(there.ids())
    assert fates(take(there, here)) == {"completed": 1, "here": n - 1}
    assert fates(others) == {"completed": n}
    for cell in here.cells():
        result = cell.result()
        assert result is not None
        cell.verify(result)
        assert not (cell.path / LEFT_OUT).exists()
        assert not list(cell.path.glob(".*"))


def test_other_adapters_are_not_added(tmp_path: Path, there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    """Only the files that the result's seal names: another training of the cell may have others."""
    take(bare(there, tmp_path / "small"), here)
    again = RunsRoot(tmp_path / "again")
    finish(again, cells[0], provenance={"wall_s": 9.0})
    assert fates(take(again, here)) == {"here": 1}
    assert (here.cell(cells[0].id).path / LEFT_OUT).exists()


def test_a_cell_without_scores_is_compared_by_its_files(tmp_path: Path, here: RunsRoot) -> None:
    def embedded(root: RunsRoot, data: bytes) -> None:
        (plain,) = grid(TASKS[:1])
        cell = TaskEmbedding.like(plain, fisher=Fisher(), parent=plain.id)
        folder = root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(local_liveness)
        assert claim is not None
        files.write_bytes(folder.output(claim) / "fisher.npy", data)
        folder.save(claim, {"kind": cell.kind, "target": cell.target, "seed": cell.seed})
        folder.release(claim)

    same, other = RunsRoot(tmp_path / "same"), RunsRoot(tmp_path / "other")
    for root, data in ((here, b"a"), (same, b"a"), (other, b"b")):
        embedded(root, data)
    assert fates(take(same, here)) == {"here": 1}
    (step,) = take(other, here)
    assert step.fate == "not compared"
    assert "the one here is kept" in step.why


# ---- what is left alone ----------------------------------------------------------------------------------------------


def test_a_cell_here_with_other_scores_is_kept_and_told(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    finish(here, cells[0], skill=0.3)
    before = results(here)
    steps = {step.id: step for step in take(there, here)}
    assert steps[cells[0].id].fate == "differs"
    assert "the one here is kept" in steps[cells[0].id].why
    assert fates(list(steps.values())) == {"differs": 1, "linked": len(cells) - 1}
    assert results(here)[cells[0].id] == before[cells[0].id]


def test_a_cell_that_runs_here_is_left_alone(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    folder = here.cell(cells[0].id)
    folder.create(cells[0])
    claim = folder.take(local_liveness)
    assert claim is not None
    files.write_text(folder.output(claim) / "half", "written")
    assert fates(take(there, here)) == {"running": 1, "linked": len(cells) - 1}
    assert folder.result() is None
    assert (folder.output(claim) / "half").read_text() == "written"
    folder.check(claim)  # still its holder


def test_a_lost_cell_here_is_replaced_by_the_finished_one(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    folder = here.cell(cells[0].id)
    folder.create(cells[0])
    claim = folder.take(local_liveness)
    assert claim is not None
    files.write_text(folder.output(claim) / "half", "written")
    folder.fail(claim, kind="data", message="no rows")
    folder.release(claim)
    assert folder.state(local_liveness).state == "failed"
    assert fates(take(there, here)) == {"linked": len(cells)}
    assert folder.state(local_liveness).state == "done"
    result = folder.result()
    assert result is not None
    assert not (folder.verify(result) / "half").exists()
    assert not folder.error_file.exists()


def test_unfinished_cells_there_are_not_taken(there: RunsRoot, here: RunsRoot) -> None:
    new = grid(TASKS, seeds=(7,))[0]
    there.cell(new.id).create(new)
    steps = take(there, here)
    assert [step.id for step in steps if step.fate == "unfinished"] == [new.id]
    assert not here.cell(new.id).path.exists()


# ---- what is refused -------------------------------------------------------------------------------------------------


def _change_prediction(root: RunsRoot, cell: Cell) -> str:
    path = root.cell(cell.id).path / "output-0001" / "predictions.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    return "predictions.parquet must match its checksum"


def _change_adapter(root: RunsRoot, cell: Cell) -> str:
    path = root.cell(cell.id).path / "output-0001" / "adapter" / "adapter.safetensors"
    path.write_bytes(b"other")
    return "adapter.safetensors must match its checksum"


def _remove_a_file(root: RunsRoot, cell: Cell) -> str:
    (root.cell(cell.id).path / "output-0001" / "provenance.json").unlink()
    return "provenance.json must be part of the result"


def _add_a_file(root: RunsRoot, cell: Cell) -> str:
    (root.cell(cell.id).path / "output-0001" / "more.bin").write_bytes(b"x")
    return "more.bin must be named in result.json"


def _link_outside(root: RunsRoot, cell: Cell) -> str:
    path = root.cell(cell.id).path / "output-0001" / "provenance.json"
    path.rename(root.path / "moved.json")
    path.symlink_to(root.path / "moved.json")
    return "provenance.json must be a regular file"


def _change_a_score(root: RunsRoot, cell: Cell) -> str:
    path = root.cell(cell.id).result_file
    value = json.loads(path.read_text())
    value["test"][REGISTERED[cell.target].metric] = 0.99
    path.write_text(json.dumps(value))
    return "its id or seal differs"


def _seal_a_wrong_score(root: RunsRoot, cell: Cell) -> str:
    path = root.cell(cell.id).result_file
    value = json.loads(path.read_text())
    value["test"][REGISTERED[cell.target].metric] = 0.99
    del value["seal"]
    path.write_bytes(files.to_json({**value, "seal": ids.digest(value)}))
    return "predictions.parquet must give the test"


def _change_the_identity(root: RunsRoot, cell: Cell) -> str:
    path = root.cell(cell.id).identity_file
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    return "cell.json must hold the identity"


def _no_json(root: RunsRoot, cell: Cell) -> str:
    root.cell(cell.id).result_file.write_bytes(b"\x00")
    return "result.json must hold JSON"


CHANGES = (
    *(_change_prediction, _change_adapter, _remove_a_file, _add_a_file, _link_outside, _change_a_score),
    *(_seal_a_wrong_score, _change_the_identity, _no_json),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_cell_is_refused_naming_the_file(
    there: RunsRoot, here: RunsRoot, cells: list[Cell], change: object
) -> None:
    said = change(there, cells[0])  # type: ignore[operator]
    steps = {step.id: step for step in take(there, here)}
    assert steps[cells[0].id].fate == "refused"
    assert said in steps[cells[0].id].why
    assert fates(list(steps.values())) == {"refused": 1, "linked": len(cells) - 1}
    assert not here.cell(cells[0].id).path.exists()


def test_a_copy_that_goes_wrong_is_no_result(
    there: RunsRoot, here: RunsRoot, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = merge._place

    def place(pairs: object) -> bool:
        done = [*pairs]  # type: ignore[misc]
        real(done)
        done[0][1].unlink()
        done[0][1].write_bytes(b"garbage")
        return False

    monkeypatch.setattr(merge, "_place", place)
    assert fates(take(there, here)) == {"refused": len(cells)}
    assert all(cell.result() is None for cell in here.cells())
    assert gather(here, None, registry()).n_done == 0
    monkeypatch.undo()
    assert fates(take(there, here)) == {"linked": len(cells)}


def test_a_damaged_result_here_is_told_and_kept(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    take(there, here)
    path = here.cell(cells[0].id).result_file
    path.unlink()
    path.write_bytes(b"{}")
    steps = {step.id: step for step in take(there, here)}
    assert steps[cells[0].id].fate == "differs"
    assert "the result here is damaged" in steps[cells[0].id].why
    assert path.read_bytes() == b"{}"


def test_what_is_no_runs_root_is_refused(there: RunsRoot, here: RunsRoot, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for path, said in (("empty", "is a folder without cells/"), ("file", "is a file"), ("none", "is not there")):
        with (
            pytest.raises(UsageError, match=f"must be a runs root .* or a bundle, but {said}"),
            merge.opened([tmp_path / path], here),
        ):
            pass
    with pytest.raises(UsageError, match="must be another one"), merge.opened([there.path / "."], there):
        pass


# ---- interruptions and several processes -----------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from empslurm import files
from empslurm.share import merge
from empslurm.store.runs import RunsRoot
at, n = int(sys.argv[3]), 0
def counted(name):
    real = getattr(os, name)
    def call(*words, **more):
        global n
        n += 1
        if n == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **more)
    setattr(os, name, call)
for name in ("link", "rename", "replace", "unlink"):
    counted(name)
there, here = RunsRoot(Path(sys.argv[1])), RunsRoot(Path(sys.argv[2]))
with merge.opened([there.path], here) as sources:
    for step in merge.merge(sources, here, dry_run=False):
        pass
print(n)
"""


def test_a_kill_at_any_moment_leaves_no_false_result(tmp_path: Path, here: RunsRoot) -> None:
    """One cell; the process is killed before its first, second, ... link, rename or removal."""
    there = RunsRoot(tmp_path / "there")
    cell = grid(TASKS, seeds=(1,))[0]
    finish(there, cell)
    n_killed = 0
    for at in range(1, 60, 2):
        target = RunsRoot(tmp_path / f"here-{at}")
        words = [sys.executable, "-c", KILLED, str(there.path), str(target.path), str(at)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        n_killed += 1
        for folder in target.cells():
            result = folder.result()
            if result is not None:
                folder.verify(result)
        assert [step.fate in ("linked", "here") for step in take(there, target)] == [True]
        assert results(target) == results(there)
    assert n_killed >= 4
    assert done.returncode == 0, done.stderr


def test_two_imports_at_once(there: RunsRoot, here: RunsRoot, cells: list[Cell]) -> None:
    code = KILLED.replace("at, n = int(sys.argv[3]), 0", "at, n = -1, 0")
    words = [sys.executable, "-c", code, str(there.path), str(here.path)]
    running = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True, stdout=subprocess.PIPE) for _ in range(2)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    steps = take(there, here)
    assert fates(steps) == {"here": len(cells)}
    assert results(here) == results(there)


def test_a_cell_that_training_finishes_meanwhile_is_kept(
    there: RunsRoot, here: RunsRoot, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training takes the cell between this process's look and its claim."""
    cells.sort(key=lambda cell: cell.id)
    real = type(here.cell(cells[0].id)).take

    def take_late(self: object, *words: object, **more: object) -> object:
        monkeypatch.undo()
        finish(here, replace(cells[0]), provenance={"wall_s": 1.0})
        return real(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(here.cell(cells[0].id)), "take", take_late)
    steps = take(there, here)
    assert steps[0].fate == "here"
    result = here.cell(cells[0].id).result()
    assert result is not None
    assert files.read_object(here.cell(cells[0].id).path / result["output"] / "provenance.json") == {"wall_s": 1.0}


def test_cells_of_a_manifest_are_done_for_its_plan(tmp_path: Path) -> None:
    """A manifest whose cells another runs root has: nothing is left to run."""
    manifest = tmp_path / "small.yaml"
    manifest.write_text("name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\n")
    there, here, data = RunsRoot(tmp_path / "there"), RunsRoot(tmp_path / "here"), tmp_path / "data"
    plan = api.planned(manifest, runs=here.path, data=data)
    for cell in plan.cells:
        finish(there, cell)
    take(there, here)
    found = api.status(manifest, runs=here.path, data=data)
    assert {state.state for state in found.values()} == {"done"}
    assert len(found) == len(plan.cells) == 4
