"""What `gather --results` reads: each kind of input alone as before, several as labs, and everything else refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from empslurm import ids
from empslurm.errors import DamagedError, DataError, UsageError
from empslurm.gather import Gathered, from_file, gather
from empslurm.share import inputs
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid
from tests.gather.lab_tables import HEAD, rows, write
from tests.project import Project

TASKS = ("epitome_er", "news_empathy")


def read(paths: list[Path], predictions: list[Path] | None = None) -> inputs.Read:
    with inputs.read(paths, predictions or [], known=registry(), data=Path("/nothing")) as found:
        return found


def refusal(paths: list[Path], predictions: list[Path] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read(paths, predictions)
    return str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> RunsRoot:
    root = RunsRoot(tmp_path / "north" / "runs")
    for cell in grid(TASKS, seeds=(1, 2)):
        finish(root, cell)
    return root


def test_one_table_is_read_as_before(tmp_path: Path) -> None:
    path = write(tmp_path, "a", rows((1, 2)))
    found, before = read([path]).gathered, from_file(path, registry())
    assert (found.name, found.origin, found.labs) == ("a", "results", ())
    assert found.groups[0].setting == before.groups[0].setting
    assert found.groups[0].runs.equals(before.groups[0].runs)


def test_one_runs_root_is_an_ordinary_gather_with_its_name(root: RunsRoot) -> None:
    found, before = read([root.path]).gathered, gather(root, None, registry())
    assert (found.name, found.origin, found.labs) == ("north", "runs", ())
    assert found.groups[0].runs.equals(before.groups[0].runs)


def test_a_runs_root_that_may_not_be_written_is_read(root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    from empslurm import files
    from empslurm.errors import StoreError

    def refuse(path: Path, data: bytes) -> None:
        raise StoreError("read only")

    monkeypatch.setattr(files, "write_bytes", refuse)
    assert read([root.path]).gathered.n_done == 8


def test_names_of_labs_are_unique(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    paths = [write(tmp_path, "a", rows((1, 2))), write(tmp_path / "x", "a", rows((3, 4)))]
    assert [lab.name for lab in read(paths).gathered.labs] == ["a", "a-2"]


def test_kinds_can_be_mixed(tmp_path: Path, root: RunsRoot) -> None:
    found = read([write(tmp_path, "t", rows((1, 2))), root.path]).gathered
    assert {lab.lab: lab.kind for lab in found.labs} == {"t": "table", "north": "runs root"}
    assert {group.name for group in found.groups} == {"tables", "tiny"}


def test_each_table_has_its_own_predictions(tmp_path: Path) -> None:
    paths, folders = [], []
    for name, guess in (("a", "up"), ("b", "down")):
        value = 1.0 if guess == "up" else 0.5
        paths.append(write(tmp_path, name, [f"run-{name},,t,1,accuracy,{value}"], f"id,{HEAD}"))
        folder = tmp_path / f"predictions-{name}"
        folder.mkdir()
        (folder / f"run-{name}.csv").write_text(f"id,gold,predicted\n1,up,up\n2,{guess},up\n")
        folders.append(folder)
    found = read(paths, folders).gathered
    assert {*found.groups[0].runs["predictions"]} == {str(folders[0] / "run-a.csv"), str(folders[1] / "run-b.csv")}
    (folders[1] / "run-b.csv").write_text("id,gold,predicted\n1,up,up\n2,up,up\n")
    with pytest.raises(DataError, match=r"run-b\.csv must give the accuracy"):
        read(paths, folders)
    assert "must name one folder per table, in the same order, but names 1 for 2" in refusal(paths, folders[:1])


# ---- bundles ---------------------------------------------------------------------------------------------------------


def test_one_bundle_keeps_its_name_origin_and_margin(bundle: Path) -> None:
    found = read([bundle])
    assert (found.name, found.gathered.name, found.gathered.origin) == ("bundle", "small", "runs")
    assert (found.gathered.n_done, found.margin) == (8, None)


def test_a_bundle_is_a_lab_like_others(bundle: Path, trained: Project) -> None:
    found = read([bundle, trained.path / "runs"])
    kinds = [(lab.kind, len(lab.group.runs), lab.n_copies, lab.n_disagreeing) for lab in found.gathered.labs]
    assert kinds == [("bundle", 8, 0, 0), ("runs root", 0, 8, 0)]
    assert found.margin is None


def test_a_bundle_that_was_changed_is_refused_naming_the_file(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "deposit")
    path = next((tmp_path / "deposit").rglob("predictions.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"predictions\.parquet does not match its checksum"):
        read([tmp_path / "deposit", write(tmp_path, "a", rows((1, 2)))])


# ---- what is no input ------------------------------------------------------------------------------------------------


def test_what_is_no_input_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path, "a", rows((1, 2)))
    (tmp_path / "empty").mkdir()
    said = refusal([table, tmp_path / "empty"])
    assert "must be a table of results, a runs root or a bundle, but is a folder without cells/" in said
    assert f"names {table} twice" in refusal([table, table])
    assert f"names {tmp_path / 'empty' / '..' / 'a.csv'} twice" in refusal([table, tmp_path / "empty" / ".." / "a.csv"])
    assert "--predictions must be a folder" in refusal([table], [tmp_path / "none"])
    for absent in ("nothing.csv", "nothing.zip", "nothing"):
        assert f"{absent} must be a table of results, a runs root or a bundle, but is not there" in refusal(
            [table, tmp_path / absent]
        )


def test_the_same_inputs_give_the_same_result(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a", rows((1, 2))), write(tmp_path, "b", rows((1, 2), lab=4))]

    def digest(found: Gathered) -> str:
        return ids.digest([*found.groups[0].runs["id"]])

    assert digest(read(paths).gathered) == digest(read(paths).gathered)
