"""Another person continues a study from its bundle."""

import json
import shutil
from pathlib import Path

import pytest

from tests.project import ROOT, Project
from tests.share.test_bundle import tables

pytestmark = pytest.mark.heavy


def handed_over(bundle: Path, place: Path) -> Project:
    """The study of a bundle, in a new folder."""
    Project(path=place.parent).call("init", "--from", str(bundle), place.name)
    return Project(path=place)


def test_a_finished_study_is_gathered_without_its_data(trained: Project, bundle: Path, tmp_path: Path) -> None:
    study = handed_over(bundle, tmp_path / "again")
    assert not any((study.path / "data").iterdir())
    study.call("gather", "small", "--out", "tables")
    assert tables(study.path / "tables") == tables(bundle / "tables")
    planned = study.json("plan", "small")
    assert planned["actions"] == {"reuse": 8}
    assert "8 reuse" in study.run("submit", "small", "--profile", "local").stderr


@pytest.mark.parametrize("extra", [(), ("--with", "adapters")])
def test_an_unfinished_study_is_continued(copy: Project, tmp_path: Path, extra: tuple[str, ...]) -> None:
    lost = next((copy.path / "runs" / "cells").glob("epitome_er--news_empathy-s1-*"))
    before = next(lost.glob("output-*/predictions.parquet")).read_bytes()
    shutil.rmtree(lost)
    copy.call("bundle", "small", "--to", str(tmp_path / "half.zip"), *extra)
    study = handed_over(tmp_path / "half.zip", tmp_path / "again")
    planned = study.json("plan", "small")
    missing = {cell["id"] for cell in planned["cells"] if cell["action"] == "skip"}
    source = {cell["id"] for cell in planned["cells"] if cell["id"].startswith("epitome_er-s1-")}
    assert missing == ({lost.name} if extra else {lost.name, *source})  # its data is not here
    shutil.copytree(copy.path / "data", study.path / "data", dirs_exist_ok=True)
    study.call("submit", "small", "--profile", str(ROOT / "slurm" / "local.yaml"), cold=True)
    after = next((study.path / "runs" / "cells" / lost.name).glob("output-*/predictions.parquet")).read_bytes()
    assert after == before


def test_nothing_is_written_where_something_is(bundle: Path, tmp_path: Path) -> None:
    project = Project(path=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "new or an empty folder" in project.run("init", "--from", str(bundle), "full", expect=2).stderr
    assert "must be a bundle" in project.run("init", "--from", "nowhere", "new", expect=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_cell_does_not_start_from_an_adapter_that_was_left_out(bundle: Path, copy: Project) -> None:
    cells = copy.path / "runs" / "cells"
    transfer = next(cells.glob("epitome_er--news_empathy-s1-*"))
    parent = json.loads((transfer / "cell.json").read_text())["parent"]
    shutil.rmtree(transfer)
    shutil.rmtree(cells / parent)
    shutil.copytree(bundle / "runs" / "cells" / parent, cells / parent)
    decided = {cell["id"]: cell for cell in copy.json("plan", "small")["cells"]}
    assert decided[transfer.name]["action"] == "skip"
    assert "move its folder away" in decided[transfer.name]["why"]
    assert decided[parent]["action"] == "reuse"
