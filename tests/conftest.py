"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the datasets as distributed; tests that need it are skipped where it is not."""
    root = Path(os.environ.get("EMPSLURM_DATA") or BESIDE)
    if not root.is_dir():
        pytest.skip("needs the real data: set EMPSLURM_DATA to its folder")
    return root
