"""A small study that has run to its end, and its bundle."""

import shutil
from pathlib import Path

import pytest

from tests.end_to_end.conftest import MANIFEST
from tests.project import Project, once, trained_on_sample


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose grid has run to its end. Tests leave it as it is."""
    return Project(path=once(tmp_path_factory, "grid", lambda path: trained_on_sample(path, MANIFEST)))


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
