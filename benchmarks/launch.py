"""Measure the time of plan, the marking part of submit, and status for ten thousand cells.

    python benchmarks/launch.py

Writes benchmarks/results/launch.json. The runs root is invented: finished, running and failed cells as jobs would leave
them, with a stand-in for squeue.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

from empslurm import ids
from empslurm.cells import Cell
from empslurm.cli import common, main
from empslurm.launch import markers, snapshot
from empslurm.launch import submission as submissions
from empslurm.launch.arrays import chunks, groups
from empslurm.launch.profile import Profile
from empslurm.launch.states import queue_of
from empslurm.plan import decide, packs
from empslurm.store.runs import RunsRoot

RESULTS = Path(__file__).parent / "results" / "launch.json"
N_SEEDS = 31  # of 18 tasks and 306 pairs: 10,044 cells
LIMITS_S = {"plan": 2.0, "submit, planning and marking": 10.0, "status": 5.0}
MANIFEST = """\
name: large
tasks: ['*']
pairs: all_ordered
seeds: [{seeds}]
backbone: tiny
"""
SQUEUE = """\
#!/usr/bin/env python3
fields = (14, 14, 14, 20, 8, 60, 60, 100)
for task in range(600):
    row = ("77", str(task), str(1000 + task), "RUNNING" if task < 300 else "PENDING", "0", "None", "node1", "large.x")
    print("".join(value.ljust(width) for value, width in zip(row, fields)))
"""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A scratch project with invented data, as the working directory."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "manifests").mkdir()
        seeds = ", ".join(str(seed) for seed in range(1, N_SEEDS + 1))
        (path / "manifests" / "large.yaml").write_text(MANIFEST.format(seeds=seeds))
        (path / "bin").mkdir()
        (path / "bin" / "squeue").write_text(SQUEUE)
        (path / "bin" / "squeue").chmod(0o755)
        os.environ["PATH"] = f"{path / 'bin'}:{os.environ['PATH']}"
        os.chdir(path)
        try:
            quiet("data", "sample")
            yield path
        finally:
            os.chdir(before)


def quiet(*words: str) -> None:
    """Run a verb and discard its output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main([*words, "--runs", "runs", "--data", "data"])


def fill(root: RunsRoot, cells: tuple[Cell, ...]) -> None:
    """Fill a runs root: of ten cells, eight are done, one runs in a job array, one has failed."""
    for index, cell in enumerate(cells):
        path = root.path / "cells" / cell.id
        (path / "claims").mkdir(parents=True)
        (path / "cell.json").write_text(json.dumps(cell.identity(), indent=1, sort_keys=True))
        job = f"77_{index % 300}"
        claim = {"number": 1, "nonce": "0", "host": "node1", "pid": 1, "process_start": 1.0, "started": time.time()}
        (path / "claims" / "0001.json").write_text(json.dumps({**claim, "job_id": job, "restart_count": 0}))
        if index % 10 == 8:
            note = {"epoch": 1, "epochs": 10, "step": 7, "n_steps": 100, "tokens_per_s": 1e4, "steps_per_s": 3.0}
            (path / "progress.json").write_text(json.dumps({**note, "time": time.time()}))
            continue
        (path / "claims" / "0001.released").touch()
        if index % 10 == 9:
            error = {"class": "error", "message": f"{cell.id}: a sentence", "claim": 1, "time": time.time()}
            (path / "error.json").write_text(json.dumps(error))
            continue
        entry = {"epoch": 1, "step": 100, "train_loss": 0.5, "accuracy": 0.5, "macro_f1": 0.5, "loss": 0.7}
        sums = {f"adapter/file-{n}": "0" * 64 for n in range(8)}
        value = {"id": cell.id, "claim": 1, "output": "output-0001", "files": sums, "history": [entry] * 10}
        value |= {"kind": cell.kind, "target": cell.target, "seed": cell.seed, "test": entry, "validation": entry}
        value["seal"] = ids.digest(value)
        (path / "result.json").write_text(json.dumps(value, indent=1, sort_keys=True))


def timed(what: Callable[[], object]) -> dict[str, float]:
    """Wall seconds and CPU seconds of this process; the latter hardly depend on other work on the machine."""
    wall, cpu = time.perf_counter(), time.process_time()
    what()
    return {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def mark_everything() -> None:
    """Do what submit does before and between its calls of sbatch, for an empty runs root."""
    options = Namespace(runs=Path("empty"), data=Path("data"), manifest="large")
    plan, root = common.load_plan(options)
    wanted = [item.cell for item in decide(plan, common.states(plan, root, queue_of(root))) if item.action == "run"]
    snapshot.take(root)
    profile = Profile(name="x", kind="slurm")
    grouped = packs(wanted, None)
    submission = submissions.create(root, "large", Path("data"), (), grouped, submissions.node_settings(profile))
    unfinished = {cell.id for cell in wanted}
    for number, group in enumerate(groups(grouped, unfinished)):
        for part in chunks(group, 1001):
            markers.mark(root, submission, part, "large").resolve(str(number))


def measure() -> dict[str, object]:
    with folder():
        seconds: dict[str, dict[str, float]] = {}
        seconds["plan"] = timed(lambda: quiet("plan", "large"))
        seconds["submit, planning and marking"] = timed(mark_everything)
        options = Namespace(runs=Path("runs"), data=Path("data"), manifest="large")
        plan, root = common.load_plan(options)
        fill(root, plan.cells)
        seconds["status"] = timed(lambda: quiet("status", "large"))
        seconds["plan, all cells present"] = timed(lambda: quiet("plan", "large"))
        return {"n_cells": len(plan.cells), "seconds": seconds}


if __name__ == "__main__":
    value = {**measure(), "limits_s": LIMITS_S, "cpu": platform.processor() or platform.machine()}
    RESULTS.write_text(json.dumps(value, indent=1) + "\n")
    print(json.dumps(value, indent=1))
