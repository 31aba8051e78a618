"""A user's folder on one machine: a manifest, invented data, a runs root, and the command line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Project:
    """`path` holds manifests/, slurm/, data/ and runs/."""

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
    project.call("data", "sample")
    project.call("submit", "small", "--profile", "local")
    return project
