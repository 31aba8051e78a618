"""The verb `clean` on a study that was really trained: what it names is what neither gather nor submit needs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from empslurm.cli import main
from empslurm.launch.lock import submitting
from empslurm.store.runs import RunsRoot
from tests.end_to_end.conftest import MANIFEST
from tests.project import Project, once, trained_on_sample

pytestmark = pytest.mark.heavy
OLD = "0123456789abcdef"


def age(folder: Path, seconds: float = 10_000) -> None:
    """Let everything in a folder be older."""
    then = time.time() - seconds
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Project:
    """A finished study in which killed processes and earlier versions have left things behind."""
    trained = once(tmp_path_factory, "grid", lambda path: trained_on_sample(path, MANIFEST))
    shutil.copytree(trained, tmp_path / "project", symlinks=True)
    runs = tmp_path / "project" / "runs"
    cell = next((runs / "cells").glob("epitome_er-s1-*"))
    for name, content in {
        f"cells/{cell.name}/checkpoint/step-000000002.ckpt": b"x" * 1000,
        f"cells/{cell.name}/output-0002/predictions.parquet": b"half",
        f"code/{OLD}/empslurm/old.py": b"pass\n",
        "prepared/tokens/0123456789abcdef01234567/done.json": b"{}",
        "prepared/epitome-0123456789ab/meta.json": b"{}",
        "gathered/verified-3.parquet": b"old",
        "notes.txt": b"mine",
    }.items():
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_bytes(content)
    for name in ("prepared", "code"):
        age(runs / name)
    return Project(path=tmp_path / "project")


def test_what_a_dry_run_names_is_needed_by_no_second_gather_and_submit(project: Project) -> None:
    project.call("gather", "small", "--out", "before")
    before = project.files()
    found = project.json("clean", "--dry-run")
    assert project.files() == before
    named = {entry["path"]: entry["kind"] for entry in found["entries"]}
    runs = project.path / "runs"
    cell = next((runs / "cells").glob("epitome_er-s1-*")).name
    made = {f"prepared/{path.name}" for path in (runs / "prepared").iterdir() if path.is_dir()} - {"prepared/tokens"}
    tokens = {f"prepared/tokens/{path.name}" for path in (runs / "prepared" / "tokens").iterdir()}
    assert len(made) == len(tokens) == 3  # two of each are of finished cells alone
    assert named == {
        **dict.fromkeys((f"cells/{cell}/checkpoint", f"cells/{cell}/output-0002"), "cells"),
        f"code/{OLD}": "code",
        **dict.fromkeys(tokens, "tokens"),
        **dict.fromkeys(made, "parsed"),
        "gathered/verified-3.parquet": "caches",
    }
    assert found["unknown"] == ["notes.txt"]
    sizes = {entry["path"]: (entry["n_inodes"], entry["n_bytes"]) for entry in found["entries"]}
    assert sizes[f"cells/{cell}/checkpoint"] == (2, 1000)
    assert sizes[f"code/{OLD}"] == (3, 5)
    assert found["n_bytes"] == sum(n_bytes for _, n_bytes in sizes.values())

    for name in named:
        path = runs / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    kept = project.files()
    (runs / "gathered" / "verified-4.parquet").unlink()  # so that all results are read again
    shutil.copytree(runs / "gathered", project.path / "unused")
    project.call("gather", "small", "--out", "after")
    for path in sorted((project.path / "before").rglob("*")):
        if path.is_file() and path.name not in ("report.html", "summary.json"):  # they say when they were made
            assert (
                project.path / "after" / path.relative_to(project.path / "before")
            ).read_bytes() == path.read_bytes()
    assert project.json("submit", "small", "--profile", "local")["submitted"] == 0
    after = project.files()
    after.pop("runs/gathered/verified-4.parquet")
    kept.pop("runs/gathered/verified-4.parquet")
    assert after == kept


def test_the_rest_of_a_clean_up(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Cleaning removes what the dry run named, leaves what unfinished cells need, and heeds the lock."""
    runs = project.path / "runs"
    (next((runs / "cells").glob("news_empathy-s2-*")) / "result.json").unlink()
    words = ["--runs", str(runs), "clean"]
    found = project.json("clean", "--dry-run")
    named = {entry["path"] for entry in found["entries"]}
    assert {name for name in named if name.startswith("prepared/news-")} == set()
    assert len({name for name in named if name.startswith("prepared/tokens/")}) == 2
    assert found["kept"]["an unfinished cell needs it"] == 2
    assert found["kept"]["belongs to a cell without a result, which goes on from it"] == 1

    with submitting(RunsRoot(runs), print, wait=False):
        assert main(words) == 1
    assert "only one submission can run at a time" in capsys.readouterr().err
    assert all((runs / name).exists() for name in named)

    before = project.files()
    removed = project.json("clean")
    assert {entry["path"] for entry in removed["entries"]} == named
    assert removed["failed"] == {}
    left = project.files()
    left.pop("runs/submissions/lock", None)
    before.pop("runs/submissions/lock", None)
    gone = {name for name in before if any(f"{name}/".startswith(f"runs/{each}/") for each in named)}
    assert left == {name: data for name, data in before.items() if name not in gone}
    assert project.call("clean").startswith("Nothing to remove")
    assert project.json("submit", "small", "--profile", "local")["submitted"] == 1


def test_without_a_runs_root_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["clean"], ["clean", "--dry-run"]):
        assert main(["--runs", str(tmp_path / "none"), *words]) == 2
        assert "the runs root must be a folder" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
