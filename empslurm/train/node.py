"""Run packs on this node: claim each cell, train them together, commit each; a failure is one cell's alone."""

from __future__ import annotations

import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from empslurm import files, measures, predictions, provenance
from empslurm.cells import TRAINED, Cell
from empslurm.config import Adapter, Backbone, Training
from empslurm.errors import BackboneError, ClaimLostError, DamagedError, DataError, EmpslurmError, StoreError
from empslurm.plan import Pack
from empslurm.store import Claim, Liveness, RunsRoot
from empslurm.tasks import Registry
from empslurm.tasks.prepare import Prepared, prepare
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Part
from empslurm.train import checkpoint as checkpoints
from empslurm.train import data as datas
from empslurm.train import derive, hub, likeness, memory, trials
from empslurm.train.backbone import load_encoder, load_model, load_tokenizer, quiet
from empslurm.train.bank import Bank, CellTensors, PackModel, initial
from empslurm.train.encoder import Encoder
from empslurm.train.evaluate import predict
from empslurm.train.loop import Interrupted, Member, Settings, Trainer, outcome

TRACEBACK_LINES = 30
BANKED = "seq_bn"  # the kind of adapter that banks hold

Say = Callable[[str], None]
Lost = Callable[[Member, Exception], None]


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
        self._encoder: tuple[object, Any] = (None, None)
        self._data: tuple[object, Any] = (None, None)
        self._typical: tuple[object, Any] = (None, None)

    def _prepared(self, dataset: str) -> Prepared:
        return prepare(self.registry.datasets[dataset], self.data_root, self.root.prepared)

    def encoder(self, backbone: Backbone, training: Training) -> Encoder:
        """The frozen backbone on this process's device, loaded once; sets the precision of its products."""
        set_precision(training)
        key = (backbone, training.dropout, training.attention_dropout, training.precision)
        if self._encoder[0] != key:
            self._encoder = (None, None)  # never two at once in memory
            encoder = Encoder(
                load_encoder(backbone).to(self.accelerator.device),
                dropout=training.dropout,
                attention_dropout=training.attention_dropout,
                bf16=training.precision == "bf16",
            )
            self._encoder = (key, encoder)
        made: Encoder = self._encoder[1]
        return made

    def examples(self, cell: Cell) -> Prepared:
        """The parsed dataset of a cell. Raises DataError where the files are others than the plan's."""
        dataset = self.registry.datasets[cell.data.dataset]
        found = locate(dataset, self.data_root, self.root.prepared)
        if found.raw_digest != cell.data.raw or found.state == "missing":
            raise DataError(
                f"{dataset.id} must be the data that {cell.id} was planned with, but is {found.state} now; "
                f"{found.problem or 'plan and submit again'}"
            )
        return self.prepared(dataset.id)

    def data(self, cell: Cell) -> datas.TaskData:
        """The tokenised data of a cell, kept for the next pack. Raises DataError as `examples` does."""
        key = (cell.target, cell.seed, cell.data, cell.training, cell.backbone)
        if self._data[0] != key:
            task, tokenizer = self.registry.tasks[cell.target], self.tokenizer(cell.backbone)
            self._data = (key, datas.load(cell, task, self.examples(cell), tokenizer, self.root.prepared))
        made: datas.TaskData = self._data[1]
        return made

    def measure(self, cell: Cell) -> measures.Measure:
        """What the cell's adapter measures; what its training texts look like is worked out once per data."""
        data = self.data(cell)
        if self._typical[0] is not data:
            encoder = self.encoder(cell.backbone, cell.hyper_parameters)
            self._typical = (data, likeness.typical(encoder, data, self.accelerator))
        return measures.describe(
            cell,
            data.task,
            self.registry.datasets[cell.data.dataset],
            centre=data.centre,
            scale=data.scale,
            n_train=len(data.rows["train"]),
            typical=self._typical[1],
        )


def set_precision(training: Training) -> None:
    """Of products in single precision."""
    torch.set_float32_matmul_precision("medium" if training.precision == "fp32_medium" else "highest")


def run_packs(
    packs: Sequence[Pack],
    *,
    root: RunsRoot,
    data_root: Path,
    registry: Registry,
    settings: Settings,
    alive: Liveness,
    identity: Mapping[str, Any],
    say: Say = lambda _: None,
    others: Sequence[Cell] = (),
) -> Tally:
    """Train what is missing of `packs`, in order. Never raises for a cell's failure; that is in its error.json.

    `others`: trials that belong to other processes; those of this one's studies that nobody runs are taken over last.
    `identity`: job id, restart count and log file of this process, as claims hold them.
    """
    mixed = {cell.mixed_precision for pack in packs for cell in pack.cells}
    if len(mixed) > 1:
        raise DataError("one process must run packs of one mixed precision, but got several; launch them apart")
    # Unless it is told that there is no GPU, several processes on a CPU would each believe to be the only one.
    accelerator = Accelerator(mixed_precision=mixed.pop() if mixed else "no", cpu=not torch.cuda.is_available())
    stop = Stop()
    settings = replace(settings, stop=stop)
    node, tally = Node(root, data_root, registry, accelerator), Tally()
    for cells in (cells for pack in packs for cells in alike(pack.cells, root)):
        if stop():
            tally.interrupted = True
            break
        _run_together(cells, node, settings, alive, identity, tally, say)
    studies = {cell.study for pack in packs for cell in pack.cells if cell.kind == "trial"}
    for cell in (cell for cell in others if cell.kind == "trial" and cell.study in studies):
        if tally.interrupted or stop():
            break
        if root.cell(cell.id).state(alive).state in ("pending", "lost"):
            _run_together([cell], node, settings, alive, identity, tally, say)
    return tally


def alike(cells: Sequence[Cell], root: RunsRoot) -> list[list[Cell]]:
    """Cells that can share a data pass and a bank: one task, seed, data, backbone, adapter and kind of stack.

    A trial is alone, since its parameters are its own, and so is a cell that only the library can train.
    """
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        alone = cell.kind == "trial" or (cell.kind in TRAINED and needs_library(cell, root))
        mode = cell.source_use.mode if cell.source_use is not None else None
        key: tuple[object, ...] = (
            cell.kind,
            cell.target,
            cell.seed,
            cell.data,
            cell.backbone,
            cell.adapter,
            cell.training,
            mode,
        )
        key = (*key, cell.id) if alone else key
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def _run_together(
    cells: Sequence[Cell],
    node: Node,
    settings: Settings,
    alive: Liveness,
    identity: Mapping[str, Any],
    tally: Tally,
    say: Say,
) -> None:
    """Claim the cells, train those that this process got, and let go of the claims, whatever came of it."""

    def lost(member: Member, error: Exception) -> None:
        if isinstance(error, ClaimLostError):
            say(str(error))
            tally.skipped.append(member.cell.id)
            return
        tally.failed.append(member.cell.id)
        _record(error, member, node.accelerator, say)

    members: list[Member] = []
    for cell in cells:
        claim = _claim(cell, node, alive, identity, tally, say)
        if claim is not None:
            members.append(Member(cell=cell, folder=node.root.cell(cell.id), claim=claim))
    try:
        trained = bool(members) and members[0].cell.kind in (*TRAINED, "trial")
        run = train_members if trained else derive_members
        ready = [member for member in members if _drawn(member, node, lost)]
        for member in run(ready, node, settings, lost, say):
            tally.done.append(member.cell.id)
    except Interrupted:
        tally.interrupted = True
    finally:
        if node.accelerator.is_main_process:
            for member in members:
                member.folder.release(member.claim)


def _claim(
    cell: Cell, node: Node, alive: Liveness, identity: Mapping[str, Any], tally: Tally, say: Say
) -> Claim | None:
    """The main process claims for all of them; None when there is nothing to do here, or its folder is damaged."""
    box: list[Any] = [None]
    folder = node.root.cell(cell.id)
    if node.accelerator.is_main_process:
        try:
            folder.create(cell)
            box[0] = folder.take(alive, **identity)
            if box[0] is None:
                tally.skipped.append(cell.id)
                if folder.result() is None:
                    say(f"{cell.id} is left alone: another process runs it")
        except StoreError as error:  # this cell's alone: without a claim there is no place to note it
            tally.failed.append(cell.id)
            say(f"{cell.id} is left out: {error}")
    if node.accelerator.num_processes > 1:
        broadcast_object_list(box)
    claim: Claim | None = box[0]
    return claim


def derive_members(members: Sequence[Member], node: Node, settings: Settings, lost: Lost, say: Say) -> Iterator[Member]:
    """Make the embeddings of cells that train nothing; yields and tells as `train_members` does."""
    for member in members if node.accelerator.is_main_process else ():
        if settings.stop():
            raise Interrupted
        started = time.monotonic()
        try:
            vectors, facts = derive.derive(member.cell, node, parent_adapter(member.cell, node.root))
            device = node.accelerator.device
            known = {**_process(device), "attempt": member.claim.number, "wall_s": time.monotonic() - started}
            derive.commit(member, vectors, facts, known)
            say(f"{member.cell.id} is done: {facts['n_examples']:,} examples")
        except Exception as error:
            lost(member, error)
        else:
            yield member


def _drawn(member: Member, node: Node, lost: Lost) -> bool:
    """Give a trial its parameters and its judge; False where that failed, which `lost` is told."""
    if member.cell.kind != "trial":
        return True
    try:
        course = trials.Course(node.root, member.cell, node.registry.tasks[member.cell.target].metric, node.accelerator)
        member.cell, member.judge = course.cell, course.judge
    except Exception as error:
        lost(member, error)
        return False
    return True


# ---- training what is claimed -----------------------------------------------------------------------------------


def train_members(members: Sequence[Member], node: Node, settings: Settings, lost: Lost, say: Say) -> Iterator[Member]:
    """Train cells that are alike together; yields each one that is done, tells `lost` of each that is not.

    When the device's memory does not hold a pass, it goes on from the checkpoints with fewer cells at once, and then
    with smaller pieces of a batch: the batch that the optimiser sees stays the same.
    """
    open_, sizes = list(members), settings
    while open_:

        def leave(member: Member, error: Exception) -> None:
            open_.remove(member)
            lost(member, error)

        used: list[int] = []
        try:
            for part, found in _parts(open_, say):
                for member in _train_part(part, found, node, sizes, leave, used, say):
                    open_.remove(member)
                    yield member
            return
        except Interrupted:
            raise
        except Exception as error:
            smaller = _smaller(sizes, used, members[0].cell.hyper_parameters.batch_size)
            if failure_class(error) != "device memory" or smaller is None:
                for member in list(open_):
                    leave(member, error)
                return
            sizes = smaller
            say(
                f"{open_[0].cell.id} and its pack do not fit the device's memory; they go on with {sizes.group_size} "
                f"cells and pieces of {sizes.micro_batch or 'all'} examples at once"
            )
        torch.cuda.empty_cache()


def _smaller(sizes: Settings, used: Sequence[int], batch_size: int) -> Settings | None:
    """Half the cells of a pass; with one cell, half the examples; None when there is nothing left to halve."""
    cells = used[-1] if used else 1
    if cells > 1:
        return replace(sizes, group_size=cells // 2)
    examples = sizes.micro_batch or batch_size
    return replace(sizes, group_size=1, micro_batch=examples // 2) if examples > 1 else None


def _parts(members: Sequence[Member], say: Say) -> list[tuple[list[Member], list[checkpoints.Checkpoint]]]:
    """Members that go on together, with their checkpoints of the same step (none: from the beginning)."""
    kept: list[dict[checkpoints.Position, checkpoints.Checkpoint]] = []
    for member in members:
        sound, notes = checkpoints.read_sound(member.folder.path / "checkpoint", member.cell.id)
        for note in notes:
            say(note)
        kept.append({checkpoint.position: checkpoint for checkpoint in sound})
    return [
        ([members[place] for place in places], [kept[place][position] for place in places if position in kept[place]])
        for position, places in checkpoints.common_positions(kept)
    ]


def _train_part(
    members: Sequence[Member],
    found: Sequence[checkpoints.Checkpoint],
    node: Node,
    settings: Settings,
    leave: Lost,
    used: list[int],
    say: Say,
) -> Iterator[Member]:
    """Train cells from one step on; yields each one when it is committed. `used`: takes the cells of one pass."""
    if settings.stop():
        raise Interrupted
    first = members[0].cell
    training = first.hyper_parameters
    data = node.data(first)
    by_id = {checkpoint.state["id"]: checkpoint for checkpoint in found}
    members, model = _model(members, node, data, leave)
    if model is None:
        return
    if settings.group_size is None:
        size = memory.group_size(model, data, settings.micro_batch or training.batch_size, node.accelerator)
        settings = replace(settings, group_size=size)
    used.append(min(settings.group_size or 1, len(members)))
    trainer = Trainer(members, data, model, node.accelerator, settings, leave)
    kept = [by_id[member.cell.id] for member in members] if found else []
    if kept and trainer.fits(kept):
        trainer.restore(kept)
    elif kept:
        say(f"{members[0].cell.id} and its pack cannot go on from these checkpoints, so they begin anew")
        for member in members:
            checkpoints.forget(member.folder.path / "checkpoint")
    for member in trainer.train():
        try:
            _commit(trainer, member, node, say)
        except Exception as error:
            leave(member, error)
        else:
            yield member
    node.accelerator.wait_for_everyone()


def _model(
    members: Sequence[Member], node: Node, data: datas.TaskData, leave: Lost
) -> tuple[list[Member], PackModel | None]:
    """The members that can start and their model, None where none can."""
    first = members[0].cell
    tuned = first.source_use is not None and first.source_use.mode == "tuned"
    if len(members) == 1 and needs_library(first, node.root):
        try:
            return list(members), _library_model(first, node, data, tune_source=tuned)
        except Exception as error:
            if failure_class(error) == "device memory":
                raise
            leave(members[0], error)
            return [], None
    encoder = node.encoder(first.backbone, first.hyper_parameters)
    ready, tensors = _starts(members, node, encoder, data, leave)
    if not ready:
        return [], None
    assert first.adapter is not None
    return ready, Bank(encoder, tensors, first.adapter, free=("new", "head", "source") if tuned else ("new", "head"))


def needs_library(cell: Cell, root: RunsRoot) -> bool:
    """Whether a bank cannot hold the cell: its adapter is no bottleneck, or its source's is another than its own."""
    assert cell.adapter is not None
    if cell.adapter.kind != BANKED:
        return True
    if cell.parent is None:
        return False
    try:
        return bool(root.cell(cell.parent).identity()["adapter"] != cell.adapter.settings)
    except (FileNotFoundError, StoreError):
        return False  # looked at again when the source is read


def _library_model(cell: Cell, node: Node, data: datas.TaskData, *, tune_source: bool) -> PackModel:
    from empslurm.train.library import LibraryModel  # slow, and only for the kinds that need it

    assert cell.adapter is not None
    set_precision(cell.hyper_parameters)
    model = load_model(cell.backbone, cell.hyper_parameters).to(node.accelerator.device)
    source = parent_adapter(cell, node.root)
    labels = data.task.labels if data.task.kind == "classification" else ()
    return LibraryModel(model, cell.adapter, labels, cell.seed, source, tune_source=tune_source)


def _starts(
    members: Sequence[Member], node: Node, encoder: Encoder, data: datas.TaskData, leave: Lost
) -> tuple[list[Member], list[CellTensors]]:
    """The cells whose sources are there, and what each starts from."""
    task = data.task
    n_outputs = len(task.labels) if task.kind == "classification" else 1
    ready: list[Member] = []
    tensors: list[CellTensors] = []
    for member in members:
        cell = member.cell
        start = initial(encoder, _adapter(cell), n_outputs, cell.seed)
        try:
            folder = parent_adapter(cell, node.root)
            if folder is not None:
                start = replace(start, source=_source(folder, cell))
        except Exception as error:
            leave(member, error)
            continue
        ready.append(member)
        tensors.append(start)
    return ready, tensors


def _source(folder: Path, cell: Cell) -> hub.Tensors:
    saved = hub.read_adapter(folder)
    if saved.adapter != cell.adapter:
        raise DamagedError(f"{folder} must hold an adapter as {cell.adapter}, but holds {saved.adapter}; run it again")
    return saved.tensors


def _adapter(cell: Cell) -> Adapter:
    if cell.adapter is None:
        raise TypeError(f"a cell of kind {cell.kind} has no adapter")
    return cell.adapter


def parent_adapter(cell: Cell, root: RunsRoot) -> Path | None:
    """The folder of the source's adapter, verified. Raises DamagedError or StoreError where it is not there."""
    if cell.parent is None:
        return None
    parent = root.cell(cell.parent)
    result = parent.result()
    if result is None:
        raise StoreError(
            f"{cell.id} must start from the finished cell {cell.parent}, but that has no result; run it first"
        )
    last = cell.source_use is not None and cell.source_use.epoch == "last"
    name = "last/adapter" if last else "adapter"
    return parent.verify(result) / name


def _commit(trainer: Trainer, member: Member, node: Node, say: Say) -> None:
    """Predict with a cell's best epoch, and write and seal its output."""
    main, cell, data, folder = node.accelerator.is_main_process, member.cell, trainer.data, member.folder
    place, task = trainer.members.index(member), trainer.data.task
    output = folder.output(member.claim)
    if main:
        shutil.rmtree(output, ignore_errors=True)
        if cell.kind == "baseline":
            trainer.model.save(place, task.id, task.labels, output / "last")
    trainer.load_best(place)
    parts: tuple[Part, ...] = ("validation",) if cell.kind == "trial" else ("validation", "test")  # no look at test
    outputs = {part: predict(trainer.model, [place], data, data.rows[part], node.accelerator)[0] for part in parts}
    if not main:
        return
    trainer.model.save(place, task.id, task.labels, output)
    measures.write(output / "adapter", node.measure(cell))
    predictions.write(output / predictions.NAME, {part: _predictions(data, part, outputs[part]) for part in outputs})
    files.write_json(output / "provenance.json", _provenance(trainer, member))
    result = outcome(trainer, member, outputs)
    if cell.kind == "trial":
        result["trial"] = trials.outcome(node.root, member)
    if not folder.commit(member.claim, result):
        say(f"{cell.id} was finished by another process first; its result stands")
    if cell.kind == "trial":
        trials.tell(node.root, cell, say)
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
        **_process(trainer.accelerator.device),
        "attempt": member.claim.number,
        "n_processes": trainer.accelerator.num_processes,
        "micro_batch": trainer.settings.micro_batch,
        "pack_size": trainer.n_started,
        "group_size": trainer.settings.group_size,
        "wall_s": member.wall_s,
    }


def _process(device: torch.device) -> dict[str, Any]:
    """What is known of this process, whatever the cell."""
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
        "device": str(device),
        "gpu": gpu,
        "n_threads": torch.get_num_threads(),
        "peak_host_memory_bytes": peak,
    }


def _sentence(member: Member) -> str:
    """One line for the log of a finished cell."""
    result = member.folder.result() or {}
    part = "validation" if member.cell.kind == "trial" else "test"
    value = result.get(part, {}).get(result.get("metric"))
    shown = "undefined" if value is None else f"{value:.3f}"
    flags = "".join(f", {flag}" for flag in result.get("flags", ()))
    return f"{member.cell.id} is done: {part} {result.get('metric')} {shown} at epoch {result.get('best_epoch')}{flags}"


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


def _record(error: Exception, member: Member, accelerator: Accelerator, say: Say) -> None:
    """Write error.json; a storage that cannot take it must not hide the failure."""
    message = str(error) if isinstance(error, EmpslurmError) else f"{type(error).__name__}: {error}"
    say(f"{member.cell.id} failed: {message}")
    if accelerator.is_main_process:
        lines = "".join(traceback.format_exception(error)).splitlines()[-TRACEBACK_LINES:]
        try:
            member.folder.fail(member.claim, kind=failure_class(error), message=message, traceback="\n".join(lines))
        except StoreError as second:
            say(str(second))
    if accelerator.num_processes > 1:
        raise error  # the other processes wait for this one: the launcher ends them all
