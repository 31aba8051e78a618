"""What cells start from: the backbone with their new adapters, on the verified adapters of their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from empslurm.cells import Cell
from empslurm.config import BANKED, Adapter
from empslurm.errors import DamagedError, StoreError
from empslurm.launch.policy import failure_of
from empslurm.store.cell_folder import ADAPTER, LAST_ADAPTER
from empslurm.store.runs import RunsRoot
from empslurm.train.context import Node, set_precision
from empslurm.train.data import task_data as datas
from empslurm.train.loop import Lost, Member
from empslurm.train.model import adapter_files
from empslurm.train.model.adapter_bank import Bank, CellTensors, PackModel, initial
from empslurm.train.model.backbone import load_model
from empslurm.train.model.encoder import Encoder


def starting_model(
    members: Sequence[Member], node: Node, data: datas.TaskData, leave: Lost
) -> tuple[list[Member], PackModel | None]:
    """The members that can start and their model, None where none can."""
    first = members[0].cell
    tuned = first.source_use is not None and first.source_use.mode == "tuned"
    if len(members) == 1 and needs_library(first, node.root):
        try:
            return list(members), _library_model(first, node, data, tune_source=tuned)
        except Exception as error:
            if failure_of(error).smaller_passes:
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
    if cell.adapter.kind not in BANKED:
        return True
    if cell.parent is None:
        return False
    try:
        return bool(root.cell(cell.parent).identity()["adapter"] != cell.adapter.settings)
    except (FileNotFoundError, StoreError):
        return False  # looked at again when the source is read


def _library_model(cell: Cell, node: Node, data: datas.TaskData, *, tune_source: bool) -> PackModel:
    from empslurm.train.model.single_adapter import LibraryModel  # slow, and only for the kinds that need it

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


def _source(folder: Path, cell: Cell) -> adapter_files.Tensors:
    saved = adapter_files.read_adapter(folder)
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
    name = LAST_ADAPTER if last else ADAPTER
    return parent.verify(result) / name
