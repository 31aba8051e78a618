"""The command line as a user calls it, on an invented corpus and random weights."""

import shutil
from pathlib import Path

import pytest

from tests.project import Project, once, trained_on_sample

MANIFEST = """\
name: small
tasks: [epitome_er, news_empathy]
seeds: [1, 2]
backbone: tiny
training: {epochs: 2, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose grid has run to its end. Tests leave it as it is."""
    return Project(path=once(tmp_path_factory, "grid", lambda path: trained_on_sample(path, MANIFEST)))


@pytest.fixture
def copy(trained: Project, tmp_path: Path) -> Project:
    """The trained project, to be changed."""
    shutil.copytree(trained.path, tmp_path / "project", symlinks=True)
    return Project(path=tmp_path / "project")
