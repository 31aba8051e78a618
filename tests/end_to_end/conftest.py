"""The command line as a user calls it, on an invented corpus and random weights."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MANIFEST = """\
name: small
tasks: [epitome_er, news_empathy]
seeds: [1, 2]
backbone: tiny
training: {epochs: 2, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a manifest, data and a runs root, as a user has it."""

    path: Path

    def call(self, *words: str, expect: int = 0) -> str:
        """Standard output of one call, which must end with the status expected."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        environment |= {"EMPSLURM_RUNS": "runs", "EMPSLURM_DATA": "data"}
        command = [sys.executable, "-m", "empslurm", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.path, env=environment, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    def json(self, *words: str, expect: int = 0) -> Any:
        """The one JSON document of a call."""
        return json.loads(self.call(*words, "--json", expect=expect))

    def files(self) -> dict[str, bytes]:
        """Every file of the runs root."""
        there = sorted((self.path / "runs").rglob("*"))
        return {str(path.relative_to(self.path)): path.read_bytes() for path in there if path.is_file()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose grid has run to its end. Tests leave it as it is."""
    project = Project(path=tmp_path_factory.mktemp("project"))
    (project.path / "manifests").mkdir()
    (project.path / "manifests" / "small.yaml").write_text(MANIFEST)
    (project.path / "slurm").symlink_to(ROOT / "slurm")
    project.call("data", "sample")
    project.call("submit", "small", "--profile", "local")
    return project


@pytest.fixture
def copy(trained: Project, tmp_path: Path) -> Project:
    """The trained project, to be changed."""
    shutil.copytree(trained.path, tmp_path / "project", symlinks=True)
    return Project(path=tmp_path / "project")
