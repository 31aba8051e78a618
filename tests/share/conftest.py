"""Finished studies: one that was trained, with its bundle; and one of a real plan with invented predictions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from empslurm import api, reference
from empslurm.report import figures
from empslurm.report.write import write
from empslurm.share import study as studies
from empslurm.share.study import Study
from empslurm.store.runs import RunsRoot
from tests.end_to_end.conftest import MANIFEST as TRAINED
from tests.gather.grids import finish
from tests.project import Project, once, trained_on_sample

MANIFEST = """\
name: small
tasks: [epitome_er, news_empathy]
seeds: [1, 2]
backbone: tiny
"""


def opened(folder: Path) -> Study:
    """The study in a folder that `made` filled, or in a copy of it."""
    return studies.of_manifest(folder / "small.yaml", runs=folder / "runs", data=folder / "data")


def gather(study: Study, **options: object) -> None:
    """Write the tables, as the verb does."""
    chosen = {"ratings": reference.ratings(), "grouped": True, "margin": None, **options}
    write(study.gathered(), study.tables, **chosen)  # type: ignore[arg-type]


def finished(folder: Path) -> Path:
    """Fill a folder with a manifest and a runs root whose cells are all finished."""
    (folder / "small.yaml").write_text(MANIFEST)
    (folder / "runs").mkdir()
    plan = api.planned(folder / "small.yaml", runs=folder / "runs", data=folder / "data")
    for cell in plan.cells:
        finish(RunsRoot(folder / "runs"), cell)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study and its tables. Tests leave it as it is."""
    folder = finished(tmp_path_factory.mktemp("study"))
    gather(opened(folder))
    return folder


def undrawn(patch: pytest.MonkeyPatch) -> None:
    """Draw no figures: they take most of the time of a gather."""
    patch.setattr(figures, "draw", lambda *_: None)
    patch.setattr(figures, "draw_overview", lambda *_: None)
    patch.setattr(figures, "save", lambda *_: [])


@pytest.fixture(scope="session")
def made_undrawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without figures."""
    folder = finished(tmp_path_factory.mktemp("undrawn"))
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        gather(opened(folder))
    return folder


@pytest.fixture
def drawn(made: Path, tmp_path: Path) -> Study:
    """A copy of the study, to be changed."""
    shutil.copytree(made, tmp_path / "study")
    return opened(tmp_path / "study")


@pytest.fixture
def study(made_undrawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A copy of the study without figures, which are not drawn in this test."""
    undrawn(monkeypatch)
    shutil.copytree(made_undrawn, tmp_path / "study")
    return opened(tmp_path / "study")


def tamper(path: Path) -> None:
    """Change one byte in the middle of a file, and keep its size, time and inode."""
    before = os.stat(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with open(path, "r+b") as stream:
        stream.write(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose grid has run to its end. Tests leave it as it is."""
    return Project(path=once(tmp_path_factory, "grid", lambda path: trained_on_sample(path, TRAINED)))


@pytest.fixture
def copy(trained: Project, tmp_path: Path) -> Project:
    """The trained project, to be changed."""
    shutil.copytree(trained.path, tmp_path / "project", symlinks=True)
    return Project(path=tmp_path / "project")


@pytest.fixture(scope="session")
def bundle(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the study, a folder, without adapters. Tests leave it as it is."""

    def make(path: Path) -> None:
        trained.call("bundle", "small", "--to", str(path / "bundle"))

    return once(tmp_path_factory, "bundle", make) / "bundle"
