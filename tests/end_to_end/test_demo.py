"""The demo as a newcomer runs it: one corpus, real training of the pretrained MiniLM, one interruption, the truth."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import empslurm
from tests.project import ROOT


def test_the_demo_finds_what_was_planted(tmp_path: Path) -> None:
    for name in ("manifests", "slurm"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "empslurm", "--data", "data", "--runs", "runs", "demo", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 0 < told["n_interrupted"] < told["n_cells"]
    assert told["n_kept"] == told["n_interrupted"]
    assert {effect: count["n_planted"] for effect, count in told["found"].items()} == {
        "helps": 4,
        "none": 4,
        "harms": 1,
    }
    assert told["found"]["helps"]["n_found"] >= 3
    assert told["found"]["none"]["n_found"] == 4
    assert told["found"]["harms"]["n_found"] >= 1
    assert (tmp_path / told["report"]).is_file()
    _the_notebook_runs(tmp_path, told["report"])


def _the_notebook_runs(project: Path, report: str) -> None:
    """docs/notebook.py, on what the demo trained: it prints the verdicts of the gathered table and writes a figure."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EMPSLURM_RUNS": "runs", "EMPSLURM_DATA": "data"}
    command = [sys.executable, str(ROOT / "docs" / "notebook.py")]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    verdicts = empslurm.load_gathered((project / report).parent).frame("verdicts")
    for word, count in verdicts["verdict"].value_counts().items():
        assert len(re.findall(rf"\b{word}\b", done.stdout)) == count
    assert (project / "changes.pdf").read_bytes().startswith(b"%PDF")
