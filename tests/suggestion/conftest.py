"""A small grid, trained once, as it is and where texts were read; both are left as they are."""

from pathlib import Path

import pytest

from tests.project import Project
from tests.suggestion import made


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return made.trained(tmp_path_factory)


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return made.read(tmp_path_factory)


@pytest.fixture
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few texts of each task, as in `read`."""
    made.few(monkeypatch)


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    """A folder without data or runs."""
    return Project(path=tmp_path)
