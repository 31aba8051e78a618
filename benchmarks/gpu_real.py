"""Measure real studies on this device: the parts `grid`, `row` and `projection` of benchmarks/gpu.py."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
import torch
from engine import claimed, local_accelerator, random_bank, random_encoder, shape, workload
from gpu_speed import BASELINE, NO_TIME, Keep, Left, Setup, free_memory
from rivals import FAIR
from scratch import Scratch, scratch
from training import N_TASKS, STUDIES, arithmetic, floor_hours, study_hours

from empslurm.config import Training
from empslurm.store.runs import RunsRoot
from empslurm.train import memory
from empslurm.train.evaluate import predict
from empslurm.train.loop import Settings, Trainer
from empslurm.train.member import Member

SEED = 1
REFERENCE_S = 30.0  # seconds that one process of AdapterTrainer may need


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A small grid: all ordered pairs of its tasks, one seed."""

    tasks: tuple[str, ...]
    backbone: str
    epochs: int
    examples: int  # at most, of the training part; a third of that of validation and test
    precision: str
    n_references: int  # processes of AdapterTrainer that are timed for comparison


# ---- grid -----------------------------------------------------------------------------------------------------------


def grid(size: Grid, data: Path | None, keep: Keep, left: Left) -> None:
    """Time from `submit` to the gathered table, start-up included; and some processes of AdapterTrainer to compare."""
    with scratch(data) as project:
        project.write_manifest("grid", manifest(size))
        began = time.perf_counter()
        try:
            project.call("runs", "submit", "grid", "--profile", "local", timeout_s=max(1.0, left()))
        except RuntimeError as error:
            logs = [log.read_text()[-1500:] for log in project.path.glob("runs/submissions/*/*.log")]
            raise RuntimeError("\n".join([str(error), *logs])) from error
        submitted = time.perf_counter() - began
        project.call("runs", "gather", "grid", timeout_s=max(1.0, left()))
        total = time.perf_counter() - began
        cells = [cell for _, cell, _ in project.finished("runs")]
        n_cells = sum(cell.kind in ("baseline", "transfer") for cell in cells)
        if n_cells != len(size.tasks) ** 2:
            raise RuntimeError(f"the grid must have {len(size.tasks) ** 2} finished cells, but has {n_cells}")
        keep("n_cells", n_cells)
        keep("data", "real" if data else "the invented sample")
        keep("submit_s", submitted)
        keep("with_gather_s", total)
        keep("cells_per_hour", 3600 * n_cells / total)
        references(project, size, n_cells, total, keep, left)


def manifest(size: Grid) -> dict[str, Any]:
    training = {
        "epochs": size.epochs,
        "batch_size": processes.BATCH_SIZE,
        "max_length": processes.MAX_LENGTH,
        "max_train_examples": size.examples,
        "max_eval_examples": max(8, size.examples // 3),
        "precision": size.precision,
    }
    sections = {"tasks": list(size.tasks), "pairs": "all_ordered", "seeds": [SEED], "backbone": size.backbone}
    return {**sections, "training": training}


def references(project: Scratch, size: Grid, n_cells: int, total_s: float, keep: Keep, left: Left) -> None:
    """Time some of the same transfers, each in a process of AdapterTrainer with the fair rival's settings."""
    if size.backbone == "tiny":
        keep("adapter_trainer", "not run: the tiny backbone is no folder that AdapterTrainer could load")
        return
    target, *sources = size.tasks
    took: list[processes.Took] = []
    for source in sources[: size.n_references]:
        if left() < (1.2 * took[-1].wall_s if took else REFERENCE_S):
            break
        words = argparse.Namespace(target=target, sources=[source], epochs=size.epochs, lr=Training().lr, fair=True)
        took += processes.theirs(project, words, SEED)
    keep("adapter_trainer", beside(took, n_cells, total_s) if took else NO_TIME)


def beside(took: Sequence[processes.Took], n_cells: int, total_s: float) -> dict[str, Any]:
    """The time of a cell as one process, and the ratio of the grid's cells per hour to that."""
    each = sum(process.wall_s for process in took) / len(took)
    return {
        "n_processes_timed": len(took),
        "s_per_cell": each,
        "first_step_s": sum(process.first_step_s for process in took) / len(took),
        "cells_per_hour": 3600 / each,
        "ratio": each * n_cells / total_s,
    }


# ---- row ------------------------------------------------------------------------------------------------------------


class Clocked(Trainer):
    """The loop, with the time of what is not a step: ends of epochs, and waits for checkpoints after the last one."""

    epoch_ends_s = 0.0
    waits_s = 0.0
    _at_end = False

    def finish_epoch(self, epoch: int) -> None:
        self._wait()
        began, self._at_end = time.perf_counter(), True
        super().finish_epoch(epoch)
        self._wait()
        self.epoch_ends_s += time.perf_counter() - began
        self._at_end = False

    def settle(self) -> None:
        began = time.perf_counter()
        super().settle()
        self.waits_s += 0.0 if self._at_end else time.perf_counter() - began

    def _wait(self) -> None:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()


def row(setup: Setup, keep: Keep, left: Left) -> None:
    """Time one target with its transfers: all epochs, evaluation, checkpoints, test part and adapter files."""
    free_memory()
    n_cells, n_train, epochs = (17, 608, Training().epochs) if setup.cuda else (3, 64, 2)
    precision = setup.sizes.main
    data = workload(n_train, n_eval=n_train // 8)
    training = Training(epochs=epochs, precision=precision)
    encoder = random_encoder(
        setup.sizes.shape,
        setup.device,
        bf16=precision == "bf16",
        dropout=training.dropout,
        attention_dropout=training.attention_dropout,
    )
    bank, accelerator = random_bank(encoder, n_cells, stacked=True), local_accelerator(setup.device, precision)
    size = memory.group_size(bank, data, training.batch_size, accelerator)
    lost: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        members = claimed(RunsRoot(Path(folder)), training, n_cells)
        settings = Settings(group_size=size)
        trainer = Clocked(members, data, bank, accelerator, settings, lambda _, error: lost.append(str(error)))
        began, finishing = time.perf_counter(), 0.0
        for member in trainer.train():
            finished = time.perf_counter()
            finish(trainer, member)
            finishing += time.perf_counter() - finished
        total = time.perf_counter() - began
    if lost:
        raise RuntimeError(f"no cell must be lost, but: {lost[0]}")
    steps = total - trainer.epoch_ends_s - trainer.waits_s - finishing
    keep("cells, epochs, training examples, validation examples", [n_cells, epochs, n_train, n_train // 8])
    keep("seconds", total)
    keep("steps_s", steps)
    keep("evaluation_and_checkpoints_at_epoch_ends_s", trainer.epoch_ends_s)
    keep("waits_for_checkpoints_s", trainer.waits_s)
    keep("test_part_and_files_s", finishing)
    keep("cell_tokens_per_s", n_cells * trainer.n_tokens / total)
    setup.rates["evaluation share"] = 1 - steps / total
    keep("evaluation_share", 1 - steps / total)


def finish(trainer: Trainer, member: Member) -> None:
    """Finish a cell: predict validation and test part with its best epoch, and write its files."""
    index, data = trainer.members.index(member), trainer.data
    trainer.load_best(index)
    for part in ("validation", "test"):
        predict(trainer.model, [index], data, data.rows[part], trainer.accelerator)
    trainer.model.save(index, "task", data.task.labels, member.folder.path / "output")


# ---- projection -----------------------------------------------------------------------------------------------------


def projection(setup: Setup, keep: Keep, left: Left) -> None:
    """Project the hours of the paper's grid and of the full study, next to the physical floor and the fair rival."""
    precision = setup.sizes.main
    rates, config = setup.rates, shape(setup.sizes.shape)
    share = rates.get("evaluation share", 0.0)
    if not {f"{precision} {BASELINE}", f"{precision} {N_TASKS - 1} cells"} <= set(rates):
        keep("not_run", "it needs the rates of the part `speed`")
        return
    solo, packed = (rates[f"{precision} {name}"] for name in (BASELINE, f"{N_TASKS - 1} cells"))
    fair = rates.get(f"{precision} {FAIR}")
    keep("device", "this GPU" if setup.cuda else "a CPU, on a tiny shape: no figure of a GPU")
    keep("real tokens per second", {"baseline": solo, "packed transfers": packed, "fair rival": fair})
    keep("evaluation_share", share)
    for study in STUDIES:
        hours = {
            "arithmetic": arithmetic(study),
            "hours": study_hours(study, solo, packed, share),
            "floor_hours": floor_hours(study, config, setup.peak(precision)),
        }
        if fair:
            hours["fair_rival_hours_steps_only"] = study_hours(study, fair, fair)
        keep(study, hours)
