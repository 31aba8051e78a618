"""The training loop of one cell: read it top to bottom.

Batch order and dropout are functions of (seed, epoch, step), so a resumed run is the same run, bit for bit, on the CPU.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm import files, metrics
from empslurm.cells import Cell
from empslurm.store import CellDir, Claim
from empslurm.train import checkpoint as checkpoints
from empslurm.train import model as models
from empslurm.train.data import TaskData
from empslurm.train.evaluate import predict
from empslurm.train.order import epoch_batches, lr_at, n_batches, stream

PROGRESS_EVERY_S = 5.0


class Interrupted(Exception):
    """The process was asked to stop; the checkpoint is written."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a node runs cells; nothing here changes a number beyond rounding, so nothing here is identity."""

    checkpoint_every_s: float = 300.0
    checkpoint_every_steps: int | None = None
    micro_batch: int | None = None  # examples per forward pass; None: the whole batch
    stop: Callable[[], bool] = lambda: False


@dataclass(kw_only=True)
class Run:
    """The mutable state of one training run: what a checkpoint holds."""

    step: int = 0  # optimiser steps done
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch
    best_epoch: int | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # the free parameters at the best epoch, on the CPU
    loss_sum: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))  # of this epoch
    n_tokens: int = 0  # real tokens trained on, padding not counted
    wall_s: float = 0.0  # over all attempts


class Trainer:
    """Trains one installed cell. `model` has the cell's adapter and head in place and free."""

    def __init__(
        self,
        cell: Cell,
        data: TaskData,
        model: Any,
        accelerator: Any,
        folder: CellDir,
        claim: Claim,
        settings: Settings,
    ) -> None:
        self.cell, self.data, self.folder, self.claim, self.settings = cell, data, folder, claim, settings
        self.accelerator, self.bare = accelerator, model
        self.model = accelerator.prepare(model) if accelerator.num_processes > 1 else model
        self.free = models.free_parameters(model)
        training = cell.training
        self.optimizer = torch.optim.AdamW(
            list(self.free.values()), lr=training.lr, weight_decay=training.weight_decay, fused=True
        )
        self.train_rows = data.rows["train"]
        self.targets = torch.from_numpy(data.model_targets()).to(accelerator.device)
        self.steps_per_epoch = n_batches(len(self.train_rows), training.batch_size)
        self.n_steps = self.steps_per_epoch * training.epochs
        self.run = Run()
        self.notes: list[str] = []
        self._marks = {"start": time.monotonic(), "checkpoint": time.monotonic(), "progress": 0.0}

    # ---- the loop -----------------------------------------------------------------------------------------------

    def train(self) -> None:
        """All epochs that are left, from the newest sound checkpoint on."""
        self.restore()
        self._marks |= {"tokens": float(self.run.n_tokens), "steps": float(self.run.step)}
        while len(self.run.history) < self.cell.training.epochs:
            epoch = len(self.run.history)
            lengths = self.data.tokens.lengths[self.train_rows]
            batches = epoch_batches(lengths, seed=self.cell.seed, epoch=epoch, training=self.cell.training)
            for batch in batches[self.run.step - epoch * self.steps_per_epoch :]:
                self.train_step(self.train_rows[batch])
                self.after_step()
            self.finish_epoch(epoch)

    def train_step(self, rows: NDArray[np.int64]) -> None:
        """One optimiser step on the examples `rows`; the mean loss of the batch, whatever the micro-batches."""
        run, training = self.run, self.cell.training
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(run.step, self.n_steps, training)
        self.model.train()
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = rows[rank::world]
        weight = float(len(mine) > 0)  # a process without an example still takes part, with weight 0
        mine = mine if len(mine) else rows[:1]
        size = self.settings.micro_batch or len(mine)
        parts = [mine[start : start + size] for start in range(0, len(mine), size)]
        for place, part in enumerate(parts):
            torch.manual_seed(stream("dropout", self.cell.seed, run.step, place, rank))
            with self._sync(place == len(parts) - 1), self.accelerator.autocast():
                inputs = self.data.tokens.batch(part, self.accelerator.device)
                logits = self.model(**inputs).logits
                loss = weight * self.loss(logits.float(), part) / len(rows)
                self.accelerator.backward(loss * world)  # several processes average their gradients
            run.loss_sum += loss.detach().double().cpu()
        if training.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(list(self.free.values()), training.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        run.step += 1
        run.n_tokens += int(self.data.tokens.lengths[rows].sum())

    def loss(self, logits: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        """Summed cross-entropy of logits (n_rows, n_labels), or squared error of (n_rows, 1) in standardised units."""
        targets = self.targets[torch.from_numpy(rows).to(self.targets.device)]
        if self.data.task.kind == "classification":
            return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        return torch.nn.functional.mse_loss(logits[:, 0], targets, reduction="sum")

    def finish_epoch(self, epoch: int) -> None:
        """Score the validation part, remember the best weights, write the checkpoint."""
        run, task = self.run, self.data.task
        outputs = predict(self.model, self.data, self.data.rows["validation"], self.accelerator)
        scores = self.score("validation", outputs)
        train_loss = self.accelerator.reduce(run.loss_sum.clone(), "sum").item() / self.steps_per_epoch
        run.loss_sum = torch.zeros((), dtype=torch.float64)
        values = {"train_loss": train_loss, **scores}
        run.history.append({"epoch": epoch + 1, "step": run.step, **metrics.to_json(values)})
        best = max(
            (entry for entry in run.history if entry[task.metric] is not None),
            key=lambda entry: entry[task.metric],
            default=run.history[-1],  # nothing defined yet: the latest
        )
        if best is run.history[-1] or run.best_epoch is None:
            run.best_epoch = epoch + 1
            run.best = {name: parameter.detach().cpu().clone() for name, parameter in self.free.items()}
        if self.accelerator.is_main_process:
            files.append_line(self.folder.path / "metrics.jsonl", files.to_line(run.history[-1]))
        self.checkpoint()

    def score(self, part: str, outputs: NDArray[np.float64]) -> dict[str, float]:
        """All metrics of the task on a part."""
        gold = self.data.table.targets[self.data.rows[part]]  # type: ignore[index]
        return metrics.score(self.data.task.kind, len(self.data.task.labels), gold, outputs)

    # ---- what may interrupt it ----------------------------------------------------------------------------------

    def after_step(self) -> None:
        """Progress, checkpoint when due, and stop when asked to."""
        now = time.monotonic()
        if self.accelerator.is_main_process and now - self._marks["progress"] > PROGRESS_EVERY_S:
            self._write_progress(now)
        every = self.settings.checkpoint_every_steps
        due = every is not None and self.run.step % every == 0
        due = due or (self._alone and now - self._marks["checkpoint"] > self.settings.checkpoint_every_s)
        stop = self._agreed_stop()
        if due or stop:
            self.checkpoint()
        if stop:
            raise Interrupted

    @property
    def _alone(self) -> bool:
        return bool(self.accelerator.num_processes == 1)

    def _agreed_stop(self) -> bool:
        """Whether to stop; several processes agree on it at every tenth step, so that none waits for another."""
        if self._alone:
            return self.settings.stop()
        if self.run.step % 10:
            return False
        flag = torch.tensor(float(self.settings.stop()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)

    def _sync(self, last: bool) -> Any:
        """Gradients of several processes are exchanged with the last micro-batch only."""
        if last or self._alone:
            return contextlib.nullcontext()
        return self.accelerator.no_sync(self.model)

    def _write_progress(self, now: float) -> None:
        elapsed = now - self._marks["start"]
        rate = (self.run.n_tokens - self._marks["tokens"]) / max(elapsed, 1e-9)
        steps = (self.run.step - self._marks["steps"]) / max(elapsed, 1e-9)
        note: dict[str, float] = {"step": self.run.step, "n_steps": self.n_steps, "epoch": len(self.run.history) + 1}
        note |= {"epochs": self.cell.training.epochs, "tokens_per_s": rate, "steps_per_s": steps}
        self.folder.write_progress(note)
        self._marks["progress"] = now

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write the whole state of the run; only the holder of the cell may."""
        now = time.monotonic()
        self.run.wall_s += now - self._marks["checkpoint"]
        self._marks["checkpoint"] = now
        if not self._alone:  # every process holds its own part of the epoch's loss: the writer takes it all
            total = self.accelerator.reduce(self.run.loss_sum.clone(), "sum")
            self.run.loss_sum = total if self.accelerator.is_main_process else torch.zeros_like(total)
        if self.accelerator.is_main_process:
            self.folder.check(self.claim)
            checkpoints.write(self.folder.path / "checkpoint", self._checkpoint())

    def _checkpoint(self) -> checkpoints.Checkpoint:
        run = self.run
        tensors: dict[str, torch.Tensor] = {"loss_sum": run.loss_sum}
        for name, parameter in self.free.items():
            tensors[f"parameter/{name}"] = parameter
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        tensors |= {f"best/{name}": value for name, value in run.best.items()}
        state = {
            "id": self.cell.id,
            "step": run.step,
            "history": run.history,
            "best_epoch": run.best_epoch,
            "n_tokens": run.n_tokens,
            "wall_s": run.wall_s,
        }
        return checkpoints.Checkpoint(state=state, tensors=tensors)

    def restore(self) -> None:
        """Take up the newest sound checkpoint, if there is one."""
        found, self.notes = checkpoints.read_newest(self.folder.path / "checkpoint", self.cell.id)
        if found is None:
            return
        run, state, tensors = self.run, found.state, found.tensors
        run.step, run.history, run.best_epoch = state["step"], list(state["history"]), state["best_epoch"]
        run.n_tokens, run.wall_s = state["n_tokens"], state["wall_s"]
        if self.accelerator.is_main_process:
            run.loss_sum = tensors["loss_sum"]
        for name, parameter in self.free.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"parameter/{name}"])
            if f"exp_avg/{name}" in tensors:
                self.optimizer.state[parameter] = {
                    key: tensors[f"{key}/{name}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
                }
            if f"best/{name}" in tensors:
                run.best[name] = tensors[f"best/{name}"]

    def load_best(self) -> None:
        """Put the best epoch's weights into the model."""
        with torch.no_grad():
            for name, parameter in self.free.items():
                parameter.copy_(self.run.best[name])


def outcome(trainer: Trainer, outputs: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """What result.json says: scores of the best epoch, flags, sizes, the history of epochs."""
    cell, data, run = trainer.cell, trainer.data, trainer.run
    every = np.concatenate([outputs["test"], outputs["validation"]])
    return {
        "kind": cell.kind,
        "target": cell.target,
        "source": cell.source,
        "seed": cell.seed,
        "fraction": cell.data.fraction,
        "metric": data.task.metric,
        **{part: metrics.to_json(trainer.score(part, outputs[part])) for part in ("validation", "test")},
        "flags": list(metrics.flags(data.task.kind, every)),
        "best_epoch": run.best_epoch,
        "history": run.history,
        "n_steps": trainer.n_steps,
        "n_tokens": run.n_tokens,
        **{f"n_{part}": len(rows) for part, rows in data.rows.items()},
        "n_truncated": data.tokens.n_truncated,
    }
