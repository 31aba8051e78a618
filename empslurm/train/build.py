"""Build the model that cells start from: the backbone, the verified adapters of their sources, new adapters on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from empslurm.cells import Cell, Trainable, Transfer
from empslurm.config import BANKED
from empslurm.errors import DamagedError, StoreError
from empslurm.launch.policy import failure_of
from empslurm.store.cell_folder import LAST_ADAPTER
from empslurm.store.results import ADAPTER
from empslurm.store.runs import RunsRoot
from empslurm.train.context import Node, set_precision
from empslurm.train.data import task_data as datas
from empslurm.train.member import Lost, Member
from empslurm.train.model import adapter_files
from empslurm.train.model.adapter_bank import Bank, CellTensors, PackModel, initial
from empslurm.train.model.backbone import load_model
from empslurm.train.model.encoder import Encoder


def starting_model(
    members: Sequence[Member], node: Node, data: datas.TaskData, leave: Lost
) -> tuple[list[Member], PackModel | None]:
    """The members that can start, and their model (None if none can). Calls `leave` for each of the others."""
    first = members[0].cell
    tuned = isinstance(first, Transfer) and first.source_use.mode == "tuned"
    if len(members) == 1 and needs_library(first, node.root):
        try:
            return list(members), _library_model(first, node, data, tune_source=tuned)
        except Exception as error:
            if failure_of(error).smaller_passes:
                raise
            leave(members[0], error)
            return [], None
    encoder = node.encoder(first.backbone, first.training)
    n_outputs = len(data.task.labels) if data.task.kind == "classification" else 1
    starts: list[tuple[Member, CellTensors]] = []
    for member in members:
        try:
            starts.append((member, _start(member.cell, node, encoder, n_outputs)))
        except Exception as error:
            leave(member, error)
    if not starts:
        return [], None
    free = ("new", "head", "source") if tuned else ("new", "head")
    bank = Bank(encoder, [tensors for _, tensors in starts], first.adapter, free=free)
    return [member for member, _ in starts], bank


def needs_library(cell: Trainable, root: RunsRoot) -> bool:
    """Whether a bank cannot hold the cell: its kind of adapter has no bank, or its source's adapter differs."""
    if cell.adapter.kind not in BANKED:
        return True
    if cell.starts_from is None:
        return False
    try:
        return bool(root.cell(cell.starts_from).identity()["adapter"] != cell.adapter.settings)
    except (FileNotFoundError, StoreError):
        return False  # reported when the source is read


def _library_model(cell: Trainable, node: Node, data: datas.TaskData, *, tune_source: bool) -> PackModel:
    set_precision(cell.training)
    model = load_model(cell.backbone, cell.training).to(node.accelerator.device)
    from empslurm.train.model.single_adapter import LibraryModel  # imports the library, which may not be installed

    source = parent_adapter(cell, node.root)
    labels = data.task.labels if data.task.kind == "classification" else ()
    return LibraryModel(model, cell.adapter, labels, cell.seed, source, tune_source=tune_source)


def _start(cell: Trainable, node: Node, encoder: Encoder, n_outputs: int) -> CellTensors:
    """A bank cell's first tensors. Raises DamagedError or StoreError if its source is damaged or missing."""
    start = initial(encoder, cell.adapter, n_outputs, cell.seed)
    folder = parent_adapter(cell, node.root)
    return start if folder is None else replace(start, source=_source(folder, cell))


def _source(folder: Path, cell: Trainable) -> adapter_files.Tensors:
    saved = adapter_files.read_adapter(folder)
    if saved.adapter != cell.adapter:
        raise DamagedError(
            f"{folder} must hold an adapter with the settings {cell.adapter}, but has {saved.adapter}; move its cell's "
            "folder away and submit again"
        )
    return saved.tensors


def parent_adapter(cell: Cell, root: RunsRoot) -> Path | None:
    """The verified folder of the source's adapter. Raises DamagedError or StoreError if it is damaged or missing."""
    if cell.starts_from is None:
        return None
    parent = root.cell(cell.starts_from)
    result = parent.result()
    if result is None:
        raise StoreError(
            f"{cell.id} must start from the finished cell {parent.id}, but that cell has no result; run it first"
        )
    last = isinstance(cell, Transfer) and cell.source_use.epoch == "last"
    name = LAST_ADAPTER if last else ADAPTER
    return parent.verify(result) / name
