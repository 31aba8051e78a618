"""Small grids of finished cells, made through the store as training makes them; predictions are invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from empslurm import files, metrics
from empslurm.cells import Baseline, Cell, DataIdentity, Transfer
from empslurm.config import Adapter, Backbone, DataUse, SourceUse, Training
from empslurm.store import predictions
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry

TASKS = registry().tasks
ON_CPU: Mapping[str, Any] = {"wall_s": 2.5, "device": "cpu", "gpu": None}
N_EXAMPLES = {"validation": 20, "test": 30}


def baseline(
    target: str, seed: int = 1, *, fraction: float = 1.0, lr: float = 5e-4, backbone: str = "tiny"
) -> Baseline:
    """A planned baseline."""
    data = DataIdentity(
        dataset=TASKS[target].dataset, raw="0" * 64, split="family-1-0", use=DataUse(), labels="all", fraction=fraction
    )
    return Baseline(
        target=target,
        seed=seed,
        data=data,
        backbone=Backbone(name=backbone),
        backbone_digest=f"{backbone}-1",
        adapter=Adapter(),
        training=Training(lr=lr),
    )


def transfer(source: Cell, target: Cell, **changes: Any) -> Cell:
    """A planned transfer to the target's setting from a source's cell."""
    made = Transfer.like(target, source=source.target, source_use=SourceUse(), parent=source.id)
    return replace(made, **changes)


def grid(
    tasks: Sequence[str], seeds: Sequence[int] = (1,), fractions: Sequence[float] = (1.0,), **changes: Any
) -> list[Cell]:
    """All baselines and transfers."""
    cells: dict[str, Cell] = {}
    for fraction in fractions:
        for seed in seeds:
            bases = {task: baseline(task, seed, fraction=fraction, **changes) for task in tasks}
            sources = {task: baseline(task, seed, **changes) for task in tasks}
            made: list[Cell] = [*sources.values(), *bases.values()]
            made += [transfer(sources[one], bases[two]) for one in tasks for two in tasks if one != two]
            cells |= {cell.id: cell for cell in made}
    return list(cells.values())


def outputs(cell: Cell, part: str, *, skill: float, rng: np.random.Generator) -> predictions.Predictions:
    """Predictions that are right about `skill` of the time (a correlation of about that for ratings)."""
    task, n = TASKS[cell.target], N_EXAMPLES[part]
    shared = np.random.default_rng([len(cell.target), n])  # gold does not depend on the cell
    if task.kind == "regression":
        gold = shared.normal(3, 1, n)
        values = skill * (gold - 3) + np.sqrt(1 - skill**2) * rng.normal(size=n) + 3
    else:
        gold = shared.integers(0, len(task.labels), n).astype(float)
        said = np.where(rng.random(n) < skill, gold, rng.integers(0, len(task.labels), n)).astype(int)
        values = np.eye(len(task.labels))[said] * 2.0
    return predictions.Predictions(
        ids=tuple(f"{part}-{at}" for at in range(n)),
        groups=tuple(f"{part}-{at // 3}" for at in range(n)),
        gold=gold,
        outputs=values,
    )


def finish(
    root: RunsRoot,
    cell: Cell,
    *,
    skill: float = 0.7,
    constant: bool | str = False,
    provenance: Mapping[str, Any] = ON_CPU,
    history: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Give a cell a result, as training does; returns its folder. `constant`: both parts, or the one that is named."""
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(local_liveness)
    assert claim is not None
    rng = np.random.default_rng(int(cell.id[-8:], 16))
    parts = {part: outputs(cell, part, skill=skill, rng=rng) for part in ("validation", "test")}
    for part in parts if constant is True else [constant] if constant else []:
        parts[part] = replace(parts[part], outputs=np.ones_like(parts[part].outputs))
    task = TASKS[cell.target]
    output = folder.output(claim)
    files.write_bytes(output / "adapter" / "adapter.safetensors", cell.id.encode())
    predictions.write(output / predictions.NAME, parts)
    files.write_json(output / "provenance.json", dict(provenance))
    result = {
        "kind": cell.kind,
        "target": cell.target,
        "source": cell.source_task,
        "seed": cell.seed,
        "fraction": cell.data.fraction,
        "metric": task.metric,
        **{
            part: metrics.to_json(metrics.score(task.kind, len(task.labels), made.gold, made.outputs))
            for part, made in parts.items()
        },
        "flags": list(
            metrics.run_flags(task.metric, {part: (made.gold, made.outputs) for part, made in parts.items()})
        ),
        "best_epoch": 1,
        "history": [dict(entry) for entry in history],
        "n_steps": 10,
        "n_tokens": 1000,
        "n_train": 100,
    }
    assert folder.save(claim, result)
    folder.release(claim)
    return folder.path
