"""The training loop of a pack of cells on one backbone: read it top to bottom. A solo cell is a pack of one.

Everything random (batch order, dropout) is a pure function of (seed, epoch, step, example). So no state of a random
generator is saved, and on a CPU a resumed run gives the same bits as one without interruption.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from empslurm import files, metrics
from empslurm.errors import StoreError
from empslurm.store.cell_folder import Progress
from empslurm.tasks.schema import Part
from empslurm.train import checkpoint as checkpoints
from empslurm.train.data.batch import Cut, batch_of, cut_here, to_host
from empslurm.train.data.task_data import TaskData
from empslurm.train.evaluate import predict
from empslurm.train.member import Lost, Member
from empslurm.train.model.adapter_bank import PackModel
from empslurm.train.model.dropout import step_key
from empslurm.train.optimise import MOMENTS, Optimiser
from empslurm.train.processes import one_fate
from empslurm.train.replay import Passes
from empslurm.train.schedule import epoch_batches, lr_at, n_batches
from empslurm.train.trackers import NO_CURVES, Curves

PROGRESS_EVERY_S = 5.0
CHECKPOINT_SHARE = 20  # an epoch shorter than this many times a checkpoint's time ends without one


class Interrupted(Exception):
    """The process was asked to stop; the checkpoints are written."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a node runs cells. Nothing here changes a number beyond rounding, so nothing here enters a cell's id."""

    checkpoint_every_s: float = 300.0
    checkpoint_every_steps: int | None = None
    micro_batch: int | None = None  # examples per forward pass; None: the whole batch
    group_size: int | None = None  # cells per forward pass; None: see `memory.group_size`
    memory_share: float = 1.0  # share of the device's memory that this process may use
    stop: Callable[[], bool] = lambda: False
    curves: Curves = NO_CURVES  # the trackers that get the loss curves


class Trainer:
    """Trains the cells of `members`, which are in the order of the model's cell axis."""

    def __init__(
        self,
        members: Sequence[Member],
        data: TaskData,
        model: PackModel,
        accelerator: Any,
        settings: Settings,
        lost: Lost,
    ) -> None:
        """`lost(member, error)` is called for each cell that leaves because of an error in its own files or claim."""
        self.members, self.data, self.model, self.accelerator = list(members), data, model, accelerator
        self.settings, self.lost, self.n_started = settings, lost, len(members)
        self.training, self.seed = members[0].cell.training, members[0].cell.seed
        self.train_rows = data.rows["train"]
        self.targets = torch.from_numpy(data.model_targets()).to(accelerator.device)
        self.steps_per_epoch = n_batches(len(self.train_rows), self.training.batch_size)
        self.n_steps = self.steps_per_epoch * self.training.epochs
        self.step = 0  # optimiser steps done
        self.n_tokens = 0  # real tokens trained on, padding not counted
        # Per cell, summed over this epoch; on the device, so that no step waits for a copy.
        self.losses = torch.zeros(len(members), dtype=torch.float64, device=accelerator.device)
        self.cuda = accelerator.device.type == "cuda"
        self._at_once = len(members) if self.cuda else 1  # cells that are evaluated together
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._writing: Future[list[tuple[Member, Exception]]] | None = None
        self._prepare()
        self._marks = {"start": time.monotonic(), "checkpoint": time.monotonic(), "progress": 0.0, "cost": 0.0}

    def _prepare(self) -> None:
        """Set up the optimiser, groups and passes for the remaining cells."""
        self.optimiser = Optimiser(self.model.free, self.training, self.settings.group_size or len(self.members))
        self.model.free = self.optimiser.free
        self._step_losses = torch.zeros_like(self.losses)
        even = self.cuda and self.model.recordable
        self._passes = Passes(self._pass, self.accelerator.device, even=even, largest=self._longest)

    # ---- the loop -----------------------------------------------------------------------------------------------

    def train(self) -> Iterator[Member]:
        """Train the remaining epochs. Yields each cell when it has ended; it then leaves the pack."""
        self._marks |= {"tokens": float(self.n_tokens), "steps": float(self.step)}
        with self._writer:  # waits for the last checkpoint, however training ends
            try:
                yield from self._epochs()
            finally:
                self._passes.close()

    def _epochs(self) -> Iterator[Member]:
        yield from self._ended()
        while self.members:
            epoch = len(self.members[0].history)
            lengths = self.data.tokens.lengths[self.train_rows]
            batches = epoch_batches(lengths, seed=self.seed, epoch=epoch, training=self.training)
            for batch in batches[self.step - epoch * self.steps_per_epoch :]:
                self.train_step(self.train_rows[batch])
                self.after_step()
                if not self.members:  # all of them lost their folders or claims
                    return
            self.finish_epoch(epoch)
            yield from self._ended()

    def train_step(self, rows: NDArray[np.int64]) -> None:
        """Take one optimiser step of every cell on the mean loss of `rows`, however the batch is split."""
        self._step_losses.zero_()
        with one_fate(self.accelerator):
            for part in self._pieces(rows):
                self._passes(self._cut(part), len(rows))
        if not self._alone:
            self._exchange(self._step_losses)
        self.losses += self._step_losses
        self.optimiser.step(lr_at(self.step, self.n_steps, self.training))
        self.step += 1
        self.n_tokens += int(self.data.tokens.lengths[rows].sum())

    def _pieces(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """This process's examples of a step, split into micro-batches."""
        mine = rows[self.accelerator.process_index :: self.accelerator.num_processes]
        size = self.settings.micro_batch or max(1, len(mine))
        return [mine[start : start + size] for start in range(0, len(mine), size)]

    def _cut(self, examples: NDArray[np.int64]) -> Cut:
        """The batch of a pass; recorded passes need few different shapes."""
        along = {"examples": examples, "key": np.array([step_key(self.seed, self.step)], np.int64)}
        return cut_here(self.data.tokens, examples, even=self._passes.even, along=along)

    def _longest(self) -> tuple[Cut, int]:
        """The largest micro-batch, and the number of examples of a step."""
        lengths = self.data.tokens.lengths[self.train_rows]
        rows = self.train_rows[np.argsort(-lengths, kind="stable")[: self.training.batch_size]]
        return self._cut(self._pieces(rows)[0]), len(rows)

    def _pass(self, parts: Mapping[str, torch.Tensor], n: int) -> None:
        """Add every cell's gradients and loss on some of the n examples of a step."""
        examples = parts["examples"]
        masks, targets = self.model.masks(parts["key"], examples), self.targets[examples]
        with self.accelerator.autocast():
            below = self.model.below(batch_of(parts), masks)
            for group in self.optimiser.groups:
                logits = self.model.logits(below, group.cells, group.free, masks)
                summed = self.loss(torch.stack(list(logits)).float(), targets) / n
                group.add_gradients(summed.sum())
                self._step_losses[group.cells] += summed.detach()

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Per cell the summed cross-entropy, or squared error in standardised units: (n_cells,).

        logits: (n_cells, n_rows, n_labels), or (n_cells, n_rows, 1). targets: (n_rows,), the same for every cell.
        """
        n_cells = len(logits)
        if self.data.task.kind == "classification":
            each = functional.cross_entropy(logits.flatten(0, 1), targets.repeat(n_cells), reduction="none")
            return each.view(n_cells, -1).sum(1)
        return (logits[:, :, 0] - targets).square().sum(1)

    def _exchange(self, losses: torch.Tensor) -> None:
        """Sum gradients and losses (n_cells,) over the processes, in place: each saw its part of the batch."""
        parts = [*self.optimiser.gradients, losses]
        flat = self.accelerator.reduce(torch.cat([part.flatten().double() for part in parts]), "sum")
        for part, total in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part))

    def finish_epoch(self, epoch: int) -> None:
        """Score the validation part, remember each cell's best weights, write the checkpoints."""
        task = self.data.task
        outputs = self._validated()
        losses = (self.losses / self.steps_per_epoch).tolist()
        weights = to_host(self.model.free)  # one copy for all cells
        self.losses.zero_()
        for index, member in enumerate(self.members):
            values = {"train_loss": losses[index], **self.score("validation", outputs[index])}
            member.history.append({"epoch": epoch + 1, "step": self.step, **metrics.to_json(values)})
            best = max(
                (entry for entry in member.history if entry[task.metric] is not None),
                key=lambda entry: entry[task.metric],
                default=member.history[-1],  # no score is defined yet: take the latest epoch
            )
            if best is member.history[-1] or member.best_epoch is None:
                member.best_epoch = epoch + 1
                member.best = {name: value[index].clone() for name, value in weights.items()}
            if member.course is not None and not member.ended:
                member.stopped = member.course.judge(member.history)
            self.settings.curves.log(member)
        if self._pays or any(member.ended for member in self.members):
            self.checkpoint(note_epoch=True)

    def _validated(self) -> list[NDArray[np.float64]]:
        """Outputs on the validation part; on a GPU several cells share a pass, if the graphs leave enough memory."""
        everyone, rows = range(len(self.members)), self.data.rows["validation"]
        try:
            return predict(self.model, everyone, self.data, rows, self.accelerator, self._at_once)
        except torch.OutOfMemoryError:
            if self._at_once == 1:
                raise
        self._at_once = 1
        self._passes.forget()
        return predict(self.model, everyone, self.data, rows, self.accelerator)

    def of(self, index: int) -> dict[str, torch.Tensor]:
        """The free tensors of one cell, sharing memory with the pack's."""
        return {name: value.detach()[index] for name, value in self.model.free.items()}

    def load_best(self, index: int) -> None:
        """Put the weights of a cell's best epoch into the model."""
        for name, value in self.of(index).items():
            value.copy_(self.members[index].best[name])

    def score(self, part: Part, outputs: NDArray[np.float64]) -> dict[str, float]:
        """All metrics of the task on a part."""
        gold = self.data.table.targets[self.data.rows[part]]
        return metrics.score(self.data.task.kind, len(self.data.task.labels), gold, outputs)

    def _ended(self) -> Iterator[Member]:
        """Yield the cells that have ended, after their checkpoints are written; the others continue without them."""
        if any(member.ended for member in self.members):
            self.settle()
        ended = [member for member in self.members if member.ended]
        yield from ended
        self.leave(ended)

    def leave(self, gone: Sequence[Member]) -> None:
        """Continue without these cells; the state of the others stays unchanged."""
        if not gone:
            return
        kept = [index for index, member in enumerate(self.members) if member not in gone]
        moments = [self.optimiser.moments(index) for index in kept]
        self._passes.close()
        self.members = [self.members[index] for index in kept]
        self.losses = self.losses[kept]
        if kept:
            self.model.keep(kept)
            self._prepare()
            self.optimiser.load(self.step, moments)

    # ---- interruptions ------------------------------------------------------------------------------------------

    def after_step(self) -> None:
        """Write progress, write checkpoints when due, and stop when asked to."""
        now = time.monotonic()
        if self.accelerator.is_main_process and now - self._marks["progress"] > PROGRESS_EVERY_S:
            self._write_progress(now)
        every = self.settings.checkpoint_every_steps
        due = every is not None and self.step % every == 0
        due = due or (self._alone and now - self._marks["checkpoint"] > self.settings.checkpoint_every_s)
        stop = self._agreed_stop()
        if due or stop:
            self.checkpoint()
        if stop:
            self.settle()
            raise Interrupted

    @property
    def _alone(self) -> bool:
        return bool(self.accelerator.num_processes == 1)

    def _agreed_stop(self) -> bool:
        """Whether to stop; several processes agree on it at every tenth step, so that none waits for another."""
        if self._alone:
            return self.settings.stop()
        if self.step % 10:
            return False
        flag = torch.tensor(float(self.settings.stop()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)

    def _write_progress(self, now: float) -> None:
        elapsed = max(now - self._marks["start"], 1e-9)
        progress = Progress(
            time=time.time(),
            step=self.step,
            n_steps=self.n_steps,
            epoch=self.step // self.steps_per_epoch + 1,
            epochs=self.training.epochs,
            tokens_per_s=(self.n_tokens - self._marks["tokens"]) / elapsed,
            steps_per_s=(self.step - self._marks["steps"]) / elapsed,
            pack=len(self.members),
        )
        for member in self.members:
            member.folder.write_progress(progress)
        self._marks["progress"] = now

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def checkpoint(self, *, note_epoch: bool = False) -> None:
        """Write every cell's state to its own folder, in a thread, while training continues.

        The state is copied first. Waits for the checkpoints before these: only one round is written at a time.
        """
        began = time.monotonic()
        self.settle()
        if not self.members:
            return
        now = time.monotonic()
        share = (now - self._marks["checkpoint"]) / len(self.members)
        self._marks["checkpoint"] = now
        for member in self.members:
            member.wall_s += share
        if self.accelerator.is_main_process:
            states = self._states()
            self._writing = self._writer.submit(_write, list(self.members), states, note_epoch=note_epoch)
        self._marks["cost"] = time.monotonic() - began

    @property
    def _pays(self) -> bool:
        """Whether a checkpoint at the end of an epoch is worth its time: on a GPU an epoch may take less.

        Several processes always write one: they must agree, and their clocks may not.
        """
        if not (self.cuda and self._alone):
            return True
        return time.monotonic() - self._marks["checkpoint"] >= CHECKPOINT_SHARE * self._marks["cost"]

    def settle(self) -> None:
        """Wait for the checkpoints being written; a cell whose folder or claim failed leaves the pack."""
        if self._writing is None:
            return
        failed, self._writing = self._writing.result(), None
        for member, reason in failed:
            self.lost(member, reason)
        self.leave([member for member, _ in failed])

    def _states(self) -> list[checkpoints.Checkpoint]:
        """Copy every cell's state, so that later steps do not change it."""
        losses = self.losses.to("cpu", copy=True)
        states = []
        for index, (member, tensors) in enumerate(zip(self.members, self.optimiser.snapshot(), strict=True)):
            best = {f"best/{name}": value for name, value in member.best.items()}
            state = checkpoints.State(
                id=member.cell.id,
                step=self.step,
                history=tuple(member.history),
                best_epoch=member.best_epoch,
                stopped=member.stopped,
                n_tokens=self.n_tokens,
                wall_s=member.wall_s,
                group_size=self.settings.group_size,
                micro_batch=self.settings.micro_batch,
            )
            states.append(checkpoints.Checkpoint(state=state, tensors={"loss": losses[index], **tensors, **best}))
        return states

    def fits(self, saved: Sequence[checkpoints.Checkpoint]) -> bool:
        """Whether checkpoints, one per cell, hold what this model and task need: another version's may not."""
        wanted = {"train_loss", self.data.task.metric}
        for index, kept in enumerate(saved):
            epochs, step = kept.state.history, kept.state.step
            if not 0 <= step - len(epochs) * self.steps_per_epoch <= self.steps_per_epoch or step > self.n_steps:
                return False
            if not all(wanted <= set(entry) for entry in epochs):
                return False
            shapes = {name: value.shape for name, value in self.of(index).items()}
            needed = {"loss": self.losses[index].shape} | {f"free/{name}": shape for name, shape in shapes.items()}
            needed |= {f"best/{name}": shape for name, shape in shapes.items()} if epochs else {}
            needed |= {f"{key}/{name}": shape for key in MOMENTS for name, shape in shapes.items()} if step else {}
            if {name: value.shape for name, value in kept.tensors.items()} != needed:
                return False
        return True

    def restore(self, saved: Sequence[checkpoints.Checkpoint]) -> None:
        """Resume from checkpoints of one step, one per cell."""
        self.step, self.n_tokens = saved[0].state.step, saved[0].state.n_tokens
        for index, (member, kept) in enumerate(zip(self.members, saved, strict=True)):
            member.history, member.best_epoch = [dict(entry) for entry in kept.state.history], kept.state.best_epoch
            member.wall_s, member.stopped = kept.state.wall_s, kept.state.stopped
            member.best = {
                name.removeprefix("best/"): value for name, value in kept.tensors.items() if name.startswith("best/")
            }
            self.losses[index] = kept.tensors["loss"]
            for name, value in self.of(index).items():
                value.copy_(kept.tensors[f"free/{name}"])
        self.optimiser.load(self.step, [kept.tensors for kept in saved])


def _write(
    members: Sequence[Member], states: Sequence[checkpoints.Checkpoint], *, note_epoch: bool
) -> list[tuple[Member, Exception]]:
    """Write the checkpoints of cells; returns those whose folder or claim failed, with the reason."""
    failed: list[tuple[Member, Exception]] = []
    for member, checkpoint in zip(members, states, strict=True):
        try:
            member.folder.check(member.claim)
            if note_epoch:  # the whole file again: an epoch that is repeated after a kill must not appear twice
                lines = "".join(f"{files.to_line(entry)}\n" for entry in checkpoint.state.history)
                files.write_text(member.folder.history_file, lines)
            checkpoints.write(member.folder.checkpoints, checkpoint)
        except (StoreError, OSError) as error:
            failed.append((member, error))
    return failed
