"""Save a trained cell: write and seal its adapter, predictions and provenance, and log one line."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm import files, metrics, provenance
from empslurm.cells import KINDS
from empslurm.store import adapter_metadata, predictions
from empslurm.store.cell_folder import PROVENANCE
from empslurm.store.results import ADAPTER, LAST
from empslurm.tasks.schema import Part
from empslurm.train.context import Node
from empslurm.train.data import task_data as datas
from empslurm.train.evaluate import predict
from empslurm.train.loop import Trainer
from empslurm.train.member import Member
from empslurm.train.tally import Say


def save(trainer: Trainer, member: Member, node: Node, say: Say) -> None:
    """Predict with a cell's best epoch, and write and seal its output."""
    main, cell, data, folder = node.accelerator.is_main_process, member.cell, trainer.data, member.folder
    kind = KINDS[cell.kind]
    index, task = trainer.members.index(member), trainer.data.task
    output = folder.output(member.claim)
    if main:
        shutil.rmtree(output, ignore_errors=True)
        if kind.keeps_last_epoch:
            trainer.model.save(index, task.id, task.labels, output / LAST)
    trainer.load_best(index)
    outputs = {
        part: predict(trainer.model, [index], data, data.rows[part], node.accelerator)[0] for part in kind.predicts
    }
    if not main:
        return
    trainer.model.save(index, task.id, task.labels, output)
    adapter_metadata.write(output / ADAPTER, node.measure(cell))
    predictions.write(output / predictions.NAME, {part: _predictions(data, part, outputs[part]) for part in outputs})
    files.write_json(output / PROVENANCE, _provenance(trainer, member))
    result = _outcome(trainer, member, outputs)
    if member.course is not None:
        result |= member.course.outcome(member)
    if not folder.save(member.claim, result):
        say(f"{cell.id} was finished by another process first; that result is kept")
    if member.course is not None:
        member.course.tell(say)
    say(_sentence(member))


def _predictions(data: datas.TaskData, part: Any, outputs: Any) -> predictions.Predictions:
    rows = data.rows[part]
    return predictions.Predictions(
        ids=tuple(data.table.ids[row] for row in rows),
        groups=tuple(data.table.groups[row] for row in rows),
        gold=data.table.targets[rows].astype("float64"),
        outputs=outputs,
    )


def _provenance(trainer: Trainer, member: Member) -> dict[str, Any]:
    """A trained cell's provenance: the process's, and what this run used."""
    return {
        **process(trainer.accelerator.device),
        "attempt": member.claim.number,
        "n_processes": trainer.accelerator.num_processes,
        "micro_batch": trainer.settings.micro_batch,
        "pack_size": trainer.n_started,
        "group_size": trainer.settings.group_size,
        "wall_s": member.wall_s,
    }


def process(device: torch.device) -> dict[str, Any]:
    """The provenance of this process, the same for every cell."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    gpu = None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        gpu = {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,  # on a MIG instance: the instance's
            "cuda": torch.version.cuda,
            "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
        }
    return {
        **provenance.collect(),
        "device": str(device),
        "gpu": gpu,
        "n_threads": torch.get_num_threads(),
        "peak_host_memory_bytes": peak,
    }


def _sentence(member: Member) -> str:
    """The log line of a finished cell."""
    result = member.folder.result() or {}
    part = KINDS[member.cell.kind].predicts[-1]
    value = result.get(part, {}).get(result.get("metric"))
    shown = "undefined" if value is None else f"{value:.3f}"
    flags = "".join(f", {flag}" for flag in result.get("flags", ()))
    return f"{member.cell.id} is done: {part} {result.get('metric')} {shown} at epoch {result.get('best_epoch')}{flags}"


def _outcome(trainer: Trainer, member: Member, outputs: Mapping[Part, NDArray[np.float64]]) -> dict[str, Any]:
    """The fields of result.json: scores of the best epoch, flags, sizes, the history of epochs."""
    cell, data = member.cell, trainer.data
    flags = metrics.run_flags(
        data.task.metric, {part: (data.table.targets[data.rows[part]], outputs[part]) for part in outputs}
    )
    return {
        "kind": cell.kind,
        "target": cell.target,
        "source": cell.source_task,
        "seed": cell.seed,
        "fraction": cell.data.fraction,
        "metric": data.task.metric,
        **{part: metrics.to_json(trainer.score(part, outputs[part])) for part in outputs},
        "flags": list(dict.fromkeys((metrics.DIVERGED, *flags) if member.diverged else flags)),
        "best_epoch": member.best_epoch,
        "history": member.history,
        "n_steps": trainer.n_steps,
        "n_tokens": trainer.n_tokens,
        **{f"n_{part}": len(rows) for part, rows in data.rows.items()},
        "n_truncated": data.tokens.n_truncated,
    }
