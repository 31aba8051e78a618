"""Run packs on this node: claim each cell, train it, commit it; one cell's failure leaves the others alone."""

from __future__ import annotations

import resource
import shutil
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from empslurm import files, predictions, provenance
from empslurm.cells import Cell
from empslurm.config import Backbone, Training
from empslurm.errors import BackboneError, ClaimLostError, DamagedError, DataError, EmpslurmError, StoreError
from empslurm.plan import Pack
from empslurm.store import CellDir, Claim, Liveness, RunsRoot
from empslurm.tasks import Registry
from empslurm.tasks.prepare import Prepared, prepare
from empslurm.tasks.raw import locate
from empslurm.train import data as datas
from empslurm.train import model as models
from empslurm.train.backbone import load_model, load_tokenizer, quiet
from empslurm.train.evaluate import predict
from empslurm.train.loop import Interrupted, Settings, Trainer, outcome

TRACEBACK_LINES = 30


@dataclass(kw_only=True)
class Tally:
    """What became of the cells of a run, by id."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False


class Stop:
    """Turns TERM, INT and USR1 into a flag that the loop reads between two steps."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


class Node:
    """What cells of one process share: the accelerator, the backbone, prepared data."""

    def __init__(self, root: RunsRoot, data_root: Path, registry: Registry, accelerator: Accelerator) -> None:
        self.root, self.data_root, self.registry, self.accelerator = root, data_root, registry, accelerator
        quiet()
        # Bound per instance: a process trains many cells on few tasks.
        self.prepared: Callable[[str], Prepared] = lru_cache(self._prepared)
        self.tokenizer = lru_cache(load_tokenizer)
        self._model: tuple[object, Any] = (None, None)
        self._data: tuple[object, Any] = (None, None)

    def _prepared(self, dataset: str) -> Prepared:
        return prepare(self.registry.datasets[dataset], self.data_root, self.root.prepared)

    def model(self, backbone: Backbone, training: Training) -> Any:
        """The frozen backbone on this process's device, loaded once."""
        key = (backbone, training.dropout, training.attention_dropout)
        if self._model[0] != key:
            self._model = (key, load_model(backbone, training).to(self.accelerator.device))
        return self._model[1]

    def forget_model(self) -> None:
        """After a failure the model may be in any state; the next cell loads a fresh one."""
        self._model = (None, None)

    def data(self, cell: Cell) -> datas.TaskData:
        """The data of a cell, kept for the next cell of the pack. Raises DataError where the files are others."""
        key = (cell.target, cell.seed, cell.data, cell.training, cell.backbone)
        if self._data[0] != key:
            dataset = self.registry.datasets[cell.data.dataset]
            found = locate(dataset, self.data_root, self.root.prepared)
            if found.raw_digest != cell.data.raw or found.state == "missing":
                raise DataError(
                    f"{dataset.id} must be the data that {cell.id} was planned with, but is {found.state} now; "
                    f"{found.problem or 'plan and submit again'}"
                )
            task = self.registry.tasks[cell.target]
            tokenizer = self.tokenizer(cell.backbone)
            self._data = (key, datas.load(cell, task, self.prepared(dataset.id), tokenizer, self.root.prepared))
        return self._data[1]


def run_packs(
    packs: Sequence[Pack],
    *,
    root: RunsRoot,
    data_root: Path,
    registry: Registry,
    settings: Settings,
    alive: Liveness,
    identity: Mapping[str, Any],
    say: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Train what is missing of `packs`, in order. Never raises for a cell's failure; that is in its error.json.

    `identity`: job id, restart count and log file of this process, as claims hold them.
    """
    precision = {cell.training.precision for pack in packs for cell in pack.cells}
    if len(precision) > 1:
        raise DataError("one process must run packs of one precision, but got several; launch them apart")
    accelerator = Accelerator(mixed_precision="bf16" if "bf16" in precision else "no")
    stop = Stop()
    settings = replace(settings, stop=stop)
    node, tally = Node(root, data_root, registry, accelerator), Tally()
    for cell in (cell for pack in packs for cell in pack.cells):
        if stop():
            tally.interrupted = True
            break
        folder = root.cell(cell.id)
        claim = _claim(cell, folder, accelerator, alive, identity, say)
        if claim is None:
            tally.skipped.append(cell.id)
            continue
        try:
            train_within_memory(cell, folder, claim, node, settings, say)
            tally.done.append(cell.id)
        except Interrupted:
            tally.interrupted = True
        except ClaimLostError as error:
            say(str(error))
            tally.skipped.append(cell.id)
        except Exception as error:
            tally.failed.append(cell.id)
            node.forget_model()
            _record(error, cell, folder, claim, accelerator, say)
        finally:
            if accelerator.is_main_process:
                folder.release(claim)
    return tally


def _claim(
    cell: Cell,
    folder: CellDir,
    accelerator: Accelerator,
    alive: Liveness,
    identity: Mapping[str, Any],
    say: Callable[[str], None],
) -> Claim | None:
    """The main process claims for all of them; None when there is nothing to do here."""
    box: list[Any] = [None]
    if accelerator.is_main_process:
        folder.create(cell)
        if folder.result() is None:
            box[0] = folder.take(alive, **identity)
            if box[0] is None:
                say(f"{cell.id} is left alone: another process runs it")
    if accelerator.num_processes > 1:
        broadcast_object_list(box)
    claim: Claim | None = box[0]
    return claim


def parent_adapter(cell: Cell, root: RunsRoot) -> Path | None:
    """The folder of the source's adapter, verified. Raises DamagedError or StoreError where it is not there."""
    if cell.parent is None:
        return None
    assert cell.source_use is not None
    parent = root.cell(cell.parent)
    result = parent.result()
    if result is None:
        raise StoreError(
            f"{cell.id} must start from the finished cell {cell.parent}, but that has no result; run it first"
        )
    name = "adapter" if cell.source_use.epoch == "best" else "last/adapter"
    return parent.verify(result) / name


def train_within_memory(
    cell: Cell, folder: CellDir, claim: Claim, node: Node, settings: Settings, say: Callable[[str], None]
) -> None:
    """Train a cell; when the device's memory does not hold a batch, go on from the checkpoint in smaller pieces of it.

    The batch that the optimiser sees stays the same; the piece's size is in the provenance.
    """
    size = settings.micro_batch or cell.training.batch_size
    while True:
        try:
            return train_cell(cell, folder, claim, node, replace(settings, micro_batch=size), say)
        except Exception as error:
            if failure_class(error) != "device memory" or size == 1:
                raise
            size = max(1, size // 2)
            say(f"{cell.id} does not fit the device's memory; it goes on in pieces of {size} examples")
        node.forget_model()
        torch.cuda.empty_cache()


def train_cell(
    cell: Cell, folder: CellDir, claim: Claim, node: Node, settings: Settings, say: Callable[[str], None]
) -> None:
    """Train, predict and commit one cell that this process has claimed."""
    main = node.accelerator.is_main_process
    data = node.data(cell)
    tuned = cell.source_use is not None and cell.source_use.mode == "tuned"
    source = parent_adapter(cell, node.root)
    model = node.model(cell.backbone, cell.training)
    models.install(model, data.task, cell.adapter, cell.seed, source, tune_source=tuned)
    model.to(node.accelerator.device)
    trainer = Trainer(cell, data, model, node.accelerator, folder, claim, settings)
    trainer.train()
    for note in trainer.notes:
        say(note)
    output = folder.output(claim)
    if main:
        shutil.rmtree(output, ignore_errors=True)
        if cell.kind == "baseline":
            models.save(model, data.task, output / "last", tuned_source=False)
    trainer.load_best()
    outputs = {part: predict(trainer.model, data, data.rows[part], node.accelerator) for part in ("validation", "test")}
    if main:
        models.save(model, data.task, output, tuned_source=tuned)
        predictions.write(
            output / predictions.NAME, {part: _predictions(data, part, outputs[part]) for part in outputs}
        )
        files.write_json(output / "provenance.json", _provenance(trainer))
        if not folder.commit(claim, outcome(trainer, outputs)):
            say(f"{cell.id} was finished by another process first; its result stands")
        say(_sentence(cell, folder))
    models.uninstall(model, data.task)
    node.accelerator.wait_for_everyone()


def _predictions(data: datas.TaskData, part: Any, outputs: Any) -> predictions.Predictions:
    rows = data.rows[part]
    return predictions.Predictions(
        ids=tuple(data.table.ids[row] for row in rows),
        groups=tuple(data.table.groups[row] for row in rows),
        gold=data.table.targets[rows].astype("float64"),
        outputs=outputs,
    )


def _provenance(trainer: Trainer) -> dict[str, Any]:
    """The cell's provenance: the process's, and what this run used."""
    device = trainer.accelerator.device
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    gpu = None
    if device.type == "cuda":
        gpu = {
            "name": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
        }
    return {
        **provenance.collect(),
        "attempt": trainer.claim.number,
        "device": str(device),
        "gpu": gpu,
        "n_processes": trainer.accelerator.num_processes,
        "n_threads": torch.get_num_threads(),
        "micro_batch": trainer.settings.micro_batch,
        "peak_host_memory_bytes": peak,
        "wall_s": trainer.run.wall_s,
    }


def _sentence(cell: Cell, folder: CellDir) -> str:
    """One line for the log of a finished cell."""
    result = folder.result() or {}
    value = result.get("test", {}).get(result.get("metric"))
    shown = "undefined" if value is None else f"{value:.3f}"
    flags = "".join(f", {flag}" for flag in result.get("flags", ()))
    return f"{cell.id} is done: test {result.get('metric')} {shown} at epoch {result.get('best_epoch')}{flags}"


def failure_class(error: Exception) -> str:
    """The class of a failure, which decides what is done about it."""
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return "device memory"
    if isinstance(error, MemoryError):
        return "host memory"
    if isinstance(error, DamagedError):
        return "damaged"
    if isinstance(error, StoreError | OSError):
        return "storage"
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, BackboneError):
        return "backbone"
    return "error"


def _record(
    error: Exception, cell: Cell, folder: CellDir, claim: Claim, accelerator: Accelerator, say: Callable[[str], None]
) -> None:
    """Write error.json; a storage that cannot take it must not hide the failure."""
    message = str(error) if isinstance(error, EmpslurmError) else f"{type(error).__name__}: {error}"
    say(f"{cell.id} failed: {message}")
    if accelerator.is_main_process:
        lines = "".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:]
        try:
            folder.fail(claim, kind=failure_class(error), message=message, traceback="\n".join(lines))
        except StoreError as second:
            say(str(second))
    if accelerator.num_processes > 1:
        raise error  # the other processes wait for this one: the launcher ends them all
