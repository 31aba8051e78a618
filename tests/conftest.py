"""Fixtures for all tests, and what holds `make quick` to tests that need no torch."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import pytest

from tests import schemas

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"

# Folders of long tests, which start first: the last file to start decides when a worker has nothing left to do.
LONG_FIRST = ("end_to_end", "extension", "upgrade", "soak", "scoring", "train")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the datasets as distributed; tests that need it are skipped where it is not."""
    root = Path(os.environ.get("EMPSLURM_DATA") or BESIDE)
    if not root.is_dir():
        pytest.skip("needs the real data: set EMPSLURM_DATA to its folder")
    return root


class NoTorch(MetaPathFinder, Loader):
    """Finds torch as ever, and refuses to import it: the traceback names who needs it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname == "torch" else None
        if found is not None:
            found.loader = self
        return found

    def exec_module(self, module: ModuleType) -> None:
        raise ImportError(f"what `make quick` runs must not import {module.__name__}: see QUICK in the Makefile")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-torch", action="store_true", help="fail what imports torch: it is not for `make quick`")


def pytest_configure(config: pytest.Config) -> None:
    schemas.watch()
    if config.getoption("without_torch"):
        assert "torch" not in sys.modules
        sys.meta_path.insert(0, NoTorch())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0]
        return LONG_FIRST.index(folder) if folder in LONG_FIRST else len(LONG_FIRST)

    items.sort(key=rank)
