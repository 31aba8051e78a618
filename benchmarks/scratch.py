"""Shared by benchmarks: a scratch project for calling the verbs, and whether the device has bf16 units."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from empslurm.cells import Cell, from_identity

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A project folder with manifests/ and slurm/, and its data root."""

    path: Path
    data: Path

    def command(self, runs: str, *words: str) -> list[str]:
        """The command line of a verb, with the runs root `runs` in the folder."""
        roots = ["--data", str(self.data), "--runs", runs]
        return [sys.executable, "-m", "empslurm", *roots, *words]

    def call(self, runs: str, *words: str, timeout_s: float | None = None) -> None:
        """Run a verb. Raises RuntimeError with its output if it fails, TimeoutExpired if it takes too long."""
        command = self.command(runs, *words)
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False, timeout=timeout_s)
        if done.returncode:
            raise RuntimeError((done.stdout + done.stderr)[-2000:])

    def write_manifest(self, name: str, sections: Mapping[str, Any]) -> None:
        (self.path / "manifests" / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **sections}))

    def finished(self, runs: str) -> Iterator[tuple[Path, Cell, dict[str, Any]]]:
        """Folder, identity and result of every finished cell."""
        for path in sorted((self.path / runs / "cells").glob("*/result.json")):
            cell = from_identity(json.loads((path.parent / "cell.json").read_text()))
            yield path.parent, cell, json.loads(path.read_text())


@contextlib.contextmanager
def scratch(data: Path | None) -> Iterator[Scratch]:
    """A new scratch project, deleted at the end; without `data`, with the invented sample. It runs this tree's code."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    with tempfile.TemporaryDirectory() as name:
        project = Scratch(path=Path(name), data=data or Path(name) / "data")
        (project.path / "manifests").mkdir()
        (project.path / "slurm").symlink_to(ROOT / "slurm")
        if data is None:
            project.call("runs", "data", "sample")
        yield project


def bf16_units() -> bool:
    """Whether the device computes in bf16; where it does not, a processor emulates it, many times slower than fp32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags
