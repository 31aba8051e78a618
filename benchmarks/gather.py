"""Measure the time of a first and of a second gather over a synthetic runs root.

    python benchmarks/gather.py [--results N] [--examples N] [--keep DIR]

Every result has invented predictions for N test and N validation examples of one of the eighteen tasks, an adapter
file, provenance, a seal and checksums; the first gather verifies everything. The tree has many copies of the contents
of a few hundred distinct cells, each under its own identity. Writes benchmarks/results/gather.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from empslurm import ids, metrics
from empslurm.cells import Baseline, Cell, DataIdentity, Transfer
from empslurm.config import Adapter, Backbone, DataUse, SourceUse, Training
from empslurm.files import sha256_bytes, to_json
from empslurm.gather import cache, gather
from empslurm.store import predictions
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, registry

OUT = Path(__file__).parent / "results" / "gather.json"
N_VARIANTS = 5  # distinct predictions per task
ADAPTER_BYTES = 4096


def cells(known: Registry, n_results: int) -> list[Cell]:
    """`n_results` baselines and transfers of all tasks, seed after seed."""
    planned: list[Cell] = []
    for seed in range(1, n_results):
        bases = {task: _baseline(known, task, seed) for task in known.tasks}
        planned += bases.values()
        for source, first in bases.items():
            moved = (second for target, second in bases.items() if target != source)
            planned += [Transfer.like(cell, source=source, source_use=SourceUse(), parent=first.id) for cell in moved]
        if len(planned) >= n_results:
            break
    return planned[:n_results]


def _baseline(known: Registry, task: str, seed: int) -> Cell:
    data = DataIdentity(
        dataset=known.tasks[task].dataset, raw="0" * 64, split="family-1-0", use=DataUse(), labels="all", fraction=1.0
    )
    return Baseline(
        target=task,
        seed=seed,
        data=data,
        backbone=Backbone(name="tiny"),
        backbone_digest="tiny-1",
        adapter=Adapter(),
        training=Training(),
    )


def content(known: Registry, task: str, variant: int, n_examples: int, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a predictions file, and its scores."""
    own, rng = known.tasks[task], np.random.default_rng([variant, len(task), n_examples])
    parts = {}
    for part in ("validation", "test"):
        if own.kind == "regression":
            gold, outputs = rng.normal(size=n_examples), rng.normal(size=n_examples)
        else:
            gold = rng.integers(0, len(own.labels), n_examples).astype(np.float64)
            outputs = rng.normal(size=(n_examples, len(own.labels)))
        parts[part] = predictions.Predictions(
            ids=tuple(f"{task}-{part}-{at}" for at in range(n_examples)),
            groups=tuple(f"{at // 4}" for at in range(n_examples)),
            gold=gold,
            outputs=outputs,
        )
    path = folder / "predictions.parquet"
    predictions.write(path, parts)
    scores = {
        part: metrics.to_json(metrics.score(own.kind, len(own.labels), predicted.gold, predicted.outputs))
        for part, predicted in parts.items()
    }
    return path.read_bytes(), {**scores, "metric": own.metric, "flags": []}


def plant(root: RunsRoot, known: Registry, n_results: int, n_examples: int) -> None:
    """Write the tree as the store would, but without its flushes to disk, which are not measured."""
    with tempfile.TemporaryDirectory() as folder:
        contents = {
            (task, variant): content(known, task, variant, n_examples, Path(folder))
            for task in known.tasks
            for variant in range(N_VARIANTS)
        }
    provenance = to_json({"wall_s": 60.0, "device": "cpu", "gpu": None, "code": {"commit": "0" * 40}})
    adapter = os.urandom(ADAPTER_BYTES)
    for at, cell in enumerate(cells(known, n_results)):
        data, scores = contents[cell.target, at % N_VARIANTS]
        _plant_one(root, cell, {"predictions.parquet": data, "provenance.json": provenance, "adapter": adapter}, scores)


def _plant_one(root: RunsRoot, cell: Cell, contents: dict[str, bytes], scores: dict[str, Any]) -> None:
    folder = root.cell(cell.id).path
    output = folder / "output-0001"
    output.mkdir(parents=True)
    for name, data in contents.items():
        (output / name).write_bytes(data)
    history = [{"epoch": epoch, "loss": 1.0 / epoch, "validation": scores["validation"]} for epoch in range(1, 11)]
    result = {
        **scores,
        **{name: getattr(cell, name) for name in ("id", "kind", "source", "target", "seed")},
        "fraction": 1.0,
        "history": history,
        "best_epoch": 3,
        "n_steps": 1000,
        "n_tokens": 100_000,
        "n_train": 8000,
        "claim": 1,
        "output": output.name,
        "files": {name: sha256_bytes(data) for name, data in contents.items()},
    }
    (folder / "cell.json").write_bytes(to_json(cell.identity()))
    (folder / "result.json").write_bytes(to_json({**result, "seal": ids.digest(result)}))


def timed(root: RunsRoot, known: Registry) -> tuple[float, float, int]:
    """Wall seconds of one gather with its long table, processor seconds, and the number of cells that it found."""
    start, used = time.perf_counter(), _cpu_s()
    gathered = gather(root, None, known)
    assert not gathered.missing, gathered.missing[0].why
    n_rows = len(gathered.long())
    assert n_rows > gathered.n_done
    return time.perf_counter() - start, _cpu_s() - used, gathered.n_done


def _cpu_s() -> float:
    """Processor seconds of this process and its ended children, which other work on the machine hardly changes."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=30_000)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder in which the tree is kept; default: a temporary folder")
    options = parser.parse_args()
    known = registry()
    folder = options.keep or Path(tempfile.mkdtemp())
    root = RunsRoot(folder)
    if not (folder / "cells").exists():
        plant(root, known, options.results, options.examples)
    shutil.rmtree(root.gathered, ignore_errors=True)
    first, first_cpu, n_done = timed(root, known)
    second, second_cpu, _ = timed(root, known)
    figures = {
        "n_results": n_done,
        "n_examples": options.examples,
        "n_cores": len(os.sched_getaffinity(0)),
        "first_s": round(first, 2),
        "first_cpu_s": round(first_cpu, 2),
        "second_s": round(second, 2),
        "second_cpu_s": round(second_cpu, 2),
        "load": os.getloadavg(),
        "memory_bytes": (root.gathered / cache.NAME).stat().st_size,
    }
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    if options.keep is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
