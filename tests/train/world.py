"""A small invented world for tests of training: data, cells and a node that needs no files of a dataset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator

from empslurm.cells import Baseline, Cell, DataIdentity, Trainable, Transfer
from empslurm.config import Adapter, Backbone, DataUse, SourceUse, Training
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.tasks.prepare import TaskTable
from empslurm.tasks.schema import PARTS
from empslurm.train.context import Node
from empslurm.train.data.batch import Batch
from empslurm.train.data.task_data import TaskData
from empslurm.train.data.tokens import Tokens
from empslurm.train.group import train_members
from empslurm.train.loop import Settings
from empslurm.train.member import Held, Member
from empslurm.train.tally import Tally

ADAPTER = Adapter(reduction_factor=4)
TRAINING = Training(epochs=3, batch_size=8, lr=5e-3, max_length=24)
N_TRAIN, N_EVAL = 30, 12


def invented_data(n_labels: int = 3, seed: int = 0, n_train: int = N_TRAIN) -> TaskData:
    """Random token sequences of 4 to 20 tokens; the label is a function of the second token, so it can be learnt."""
    rng = np.random.default_rng(seed)
    n = n_train + 2 * N_EVAL
    lengths = rng.integers(4, 21, n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = rng.integers(1000, 1030, starts[-1]).astype(np.int32)
    flat[starts[:-1]] = 101
    labels = flat[starts[:-1] + 1] % n_labels
    parts = np.array(["train"] * n_train + ["validation"] * N_EVAL + ["test"] * N_EVAL)
    table = TaskTable(
        ids=tuple(f"example-{place}" for place in range(n)),
        groups=tuple(f"group-{place}" for place in range(n)),
        contexts=((),) * n,
        texts=("",) * n,
        targets=labels.astype(np.int64),
        parts=parts,
        digest="invented",
    )
    tokens = Tokens(flat=flat, starts=starts, text_starts=np.zeros(n, np.int32), n_truncated=0, pad_id=0, segments=True)
    rows = {part: np.flatnonzero(parts == part) for part in PARTS}
    return TaskData(task=registry().tasks["epitome_er"], table=table, tokens=tokens, rows=rows, centre=0.0, scale=1.0)


class InventedNode(Node):
    """A real node with invented data."""

    def __init__(self, root: RunsRoot, data: TaskData | None = None) -> None:
        super().__init__(root, Path(), registry(), Accelerator(cpu=True))
        self.invented = data or invented_data()

    def data(self, cell: Cell) -> TaskData:
        return self.invented


def baseline(seed: int = 1, training: Training = TRAINING, **changes: Any) -> Baseline:
    data = DataIdentity(dataset="epitome", raw="0" * 64, split="family-1-0", use=DataUse(), labels="all", fraction=1.0)
    cell = Baseline(
        target="epitome_er",
        seed=seed,
        data=data,
        backbone=Backbone(name="tiny"),
        backbone_digest="tiny-1",
        adapter=ADAPTER,
        training=training,
    )
    return replace(cell, **changes)


def transfer(
    parent: Cell, source: str, mode: Literal["frozen", "tuned"] = "frozen", training: Training = TRAINING
) -> Transfer:
    return Transfer.like(baseline(training=training), source=source, source_use=SourceUse(mode=mode), parent=parent.id)


def claimed(root: RunsRoot, cells: Sequence[Trainable]) -> list[Member]:
    members = []
    for cell in cells:
        folder = root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(local_liveness)
        assert claim is not None
        members.append(Member(cell=cell, folder=folder, claim=claim))
    return members


def unclaimed(cell: Trainable) -> Member:
    """A member for a trainer that writes nothing: it has neither a folder nor a claim."""
    nothing: Any = None
    return Member(cell=cell, folder=nothing, claim=nothing)


@dataclass(kw_only=True)
class Strict(Tally):
    """Raises the error of a failed cell unless `take` accepts it."""

    take: Callable[[Held, Exception], object] | None = None

    def lost(self, held: Held, error: Exception) -> None:
        if self.take is None:
            raise error
        self.take(held, error)


def train(
    root: RunsRoot,
    cells: Sequence[Trainable],
    node: Node | None = None,
    settings: Settings | None = None,
    lost: Callable[[Held, Exception], object] | None = None,
) -> list[str]:
    """Train cells together; raises their errors unless `lost` accepts them. Returns the ids of finished cells."""
    members, node = claimed(root, cells), node or InventedNode(root)
    tally = Strict(accelerator=node.accelerator, take=lost)
    done = []
    try:
        for member in train_members(members, node, settings or Settings(), tally):
            done.append(member.cell.id)
    finally:
        for member in members:
            member.folder.release(member.claim)
    return done


def outputs_of(root: RunsRoot, cell: Cell) -> dict[str, Any]:
    """The bytes of a finished cell's outputs, by name: adapter, predictions, metrics, history."""
    folder = root.cell(cell.id)
    result = folder.result()
    assert result is not None
    output = folder.verify(result)
    made = {name: (output / name).read_bytes() for name in result["files"] if name != "provenance.json"}
    kept = ("test", "validation", "history", "best_epoch", "flags", "n_tokens")
    return made | {key: result[key] for key in kept}


def batch(rows: int, length: int, seed: int = 0, pad_id: int = 0, vocabulary: int = 1000) -> Batch:
    """Random token ids (rows, length), the second half of the rows padded from the middle on."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, vocabulary, (rows, length))
    real = np.ones_like(ids, dtype=bool)
    real[rows // 2 :, length // 2 :] = False
    ids[~real] = pad_id
    return Batch.of({"input_ids": ids, "attention_mask": real.astype(np.int64)}, real, torch.device("cpu"))
