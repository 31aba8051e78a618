"""A user's folder on the cluster: manifest, profile, invented data, a runs root, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests import schemas

ROOT = Path(__file__).parents[2]
TRAINING = "{epochs: 2, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}"
# Saves checkpoints often, so that an interruption costs little; asks for so little that four jobs fit a node.
PROFILE = {
    "kind": "slurm",
    "partition": "batch",
    "cpus": 1,
    "mem_gb": 0.9,
    "time": 20,
    "signal_lead_s": 40,
    "environment": "{OMP_NUM_THREADS: '1'}",
    "checkpoint_minutes": 0.02,
    "requeues": 20,
}


@dataclass(frozen=True, kw_only=True)
class Project:
    """`path` holds manifests/, slurm/, data/ and runs/."""

    path: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)  # by `start`, the twin's too

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def environment(self) -> dict[str, str]:
        given = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "EMPSLURM_RUNS": "runs"}
        return {**os.environ, **given, "EMPSLURM_DATA": "data"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a call without waiting for it, in its own session."""
        process = subprocess.Popen(
            [sys.executable, "-m", "empslurm", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.path,
            env=self.environment(),
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what a failed test has left running, with its children: other tests must not see it."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            with process:  # closes the pipes and waits
                pass

    def call(self, *words: str, expect: int = 0) -> tuple[str, str]:
        """Standard output and error of one call, which must end with the status expected."""
        process = self.start(*words)
        said, told = process.communicate(timeout=600)
        assert process.returncode == expect, said + told
        assert "Traceback" not in said + told, said + told
        return said, told

    def json(self, *words: str, expect: int = 0) -> Any:
        """The JSON document that a call prints."""
        document = json.loads(self.call(*words, "--json", expect=expect)[0])
        schemas.check(words, document)
        return document

    def start_twin(self, manifest: str) -> tuple[Project, subprocess.Popen[str]]:
        """Start the same manifest in its own folder: one undisturbed process, without Slurm."""
        twin = replace(self, path=self.path.with_name(f"{self.path.name}-twin"))
        shutil.copytree(self.path, twin.path)
        return twin, twin.start("submit", manifest, "--profile", "local")

    def equals(self, twin: Project, process: subprocess.Popen[str]) -> bool:
        """Whether the twin, after it has ended with success, holds the same results bit for bit."""
        said, told = process.communicate(timeout=3600)
        assert process.returncode == 0, said + told
        return bool(self.results()) and self.results() == twin.results()

    # Input.

    def manifest(
        self, name: str, tasks: Iterable[str], seeds: Iterable[int], training: str = TRAINING, **more: object
    ) -> None:
        text = f"name: {name}\ntasks: [{', '.join(tasks)}]\nseeds: [{', '.join(map(str, seeds))}]\nbackbone: tiny\n"
        extra = "".join(f"{key}: {value}\n" for key, value in more.items())
        (self.path / "manifests" / f"{name}.yaml").write_text(f"{text}training: {training}\n{extra}")

    def profile(self, name: str = "here", **changes: object) -> None:
        text = "".join(f"{key}: {value}\n" for key, value in {**PROFILE, **changes}.items())
        (self.path / "slurm" / f"{name}.yaml").write_text(text)

    # Results.

    def totals(self, manifest: str) -> dict[str, int]:
        """Number of cells in each state, by `status`; states without cells are left out."""
        return {state: n for state, n in self.json("status", manifest)["totals"].items() if n}

    def cells(self) -> list[Path]:
        return sorted((self.runs / "cells").glob("*"))

    def results(self) -> dict[str, dict[str, Any]]:
        """What each cell has saved: scores, history, and checksums of predictions and adapters."""
        kept = {}
        for path in self.cells():
            if (path / "result.json").exists():
                value = json.loads((path / "result.json").read_text())
                sums = {name: value["files"][name] for name in value["files"] if "provenance" not in name}
                scores = {key: value[key] for key in ("validation", "test", "history", "best_epoch", "n_tokens")}
                kept[path.name] = {**scores, "files": sums}
        return kept

    def trainer(self, text: str) -> int | None:
        """The process id of a running jobs/train.py of this project whose command line holds `text`."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                line = b" ".join(words)
                mine = str(self.runs).encode() in line and text.encode() in line
                if mine and any(word.endswith(b"jobs/train.py") for word in words[1:2]):
                    return int(entry.name)
        return None


def create(path: Path) -> Project:
    """A new project with the invented corpus."""
    for name in ("manifests", "slurm"):
        (path / name).mkdir(parents=True)
    project = Project(path=path)
    project.profile()
    (path / "slurm" / "local.yaml").write_text("kind: local\n")
    project.call("data", "sample")
    return project
