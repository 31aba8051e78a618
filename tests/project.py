"""A user's folder on one machine: a manifest, invented data, a runs root, and the command line."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, warm

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Project:
    """`path` holds manifests/, slurm/, data/ and runs/."""

    path: Path

    def run(self, *words: str, expect: int = 0, cold: bool = False) -> subprocess.CompletedProcess[str]:
        """One call, which must end with the status expected; `cold`: by a Python that imports everything itself."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        environment |= {"EMPSLURM_RUNS": "runs", "EMPSLURM_DATA": "data"}
        python = ["-m", "empslurm", *words]
        if cold:
            command = [sys.executable, *python]
            done = subprocess.run(command, capture_output=True, text=True, cwd=self.path, env=environment, check=False)
        else:
            done = warm.run(python, cwd=self.path, env=environment)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def call(self, *words: str, expect: int = 0, cold: bool = False) -> str:
        """Standard output of one call."""
        return self.run(*words, expect=expect, cold=cold).stdout

    def json(self, *words: str, expect: int = 0) -> Any:
        """The one JSON document of a call."""
        document = json.loads(self.call(*words, "--json", expect=expect))
        schemas.check(words, document)
        return document

    def files(self) -> dict[str, bytes]:
        """Every file of the runs root."""
        there = sorted((self.path / "runs").rglob("*"))
        return {str(path.relative_to(self.path)): path.read_bytes() for path in there if path.is_file()}


def create(path: Path, manifests: dict[str, str]) -> Project:
    """A project with these manifests, text by name, and no data."""
    (path / "manifests").mkdir()
    for name, text in manifests.items():
        (path / "manifests" / f"{name}.yaml").write_text(text)
    (path / "slurm").symlink_to(ROOT / "slurm")
    return Project(path=path)


def trained_on_sample(path: Path, manifest: str) -> Project:
    """A project whose one manifest, `small`, has run to its end on the invented sample."""
    project = create(path, {"small": manifest})
    project.call("data", "sample", cold=True)
    project.call("submit", "small", "--profile", "local", cold=True)
    return project


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made once for all processes that run tests at the same time. Tests leave it as it is."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = base / name, base / f"{name}.made"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
