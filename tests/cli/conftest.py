"""What several modules of these tests look at."""

from pathlib import Path

import pytest

from empslurm.cli import main


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's own tables, gathered once: the same gather into this folder only prints them."""
    folder = tmp_path_factory.mktemp("published")
    assert main(["gather", "--published", "--json", "--out", str(folder)]) == 0
    return folder
