"""Run cells that train nothing: embeddings from a finished baseline (fisher) or from texts alone (embed)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays

from empslurm import files
from empslurm.backbones import fetch
from empslurm.cells import Cell, DatasetEmbedding, TaskEmbedding
from empslurm.config import BANKED
from empslurm.store.cell_folder import PROVENANCE
from empslurm.tasks.prepare import load_task
from empslurm.tasks.splits import train_subset
from empslurm.train.build import parent_adapter
from empslurm.train.context import Node
from empslurm.train.embeddings import fisher, sentence_mean
from empslurm.train.embeddings.bank_trace import TracedBank
from empslurm.train.loop import Interrupted, Settings
from empslurm.train.member import Claimed
from empslurm.train.model.backbone import load_encoder, load_model
from empslurm.train.save import process
from empslurm.train.tally import Tally

NAME = "embedding.safetensors"  # in a cell's output: named vectors

Vectors = dict[str, NDArray[np.float32]]
Derived = tuple[Vectors, dict[str, Any]]  # vectors by name, facts for the result


Derive = Callable[[Any, Node, Path | None], Derived]  # a cell of its kind, and the folder of its parent's adapter


def derive_members(
    derive: Derive, claimed: Sequence[Claimed[Cell]], node: Node, settings: Settings, tally: Tally
) -> Iterator[Claimed[Cell]]:
    """Compute the embeddings of cells; yields each finished one, reports the others to `tally`."""
    for held in claimed if node.accelerator.is_main_process else ():
        if settings.stop():
            raise Interrupted
        started = time.monotonic()
        try:
            vectors, facts = derive(held.cell, node, parent_adapter(held.cell, node.root))
            device = node.accelerator.device
            known = {**process(device), "attempt": held.claim.number, "wall_s": time.monotonic() - started}
            save(held, vectors, facts, known)
            tally.say(f"{held.cell.id} is done: {facts['n_examples']:,} examples")
        except Exception as error:
            tally.lost(held, error)
        else:
            yield held


def task_embedding(cell: TaskEmbedding, node: Node, parent: Path | None) -> Derived:
    """Fisher information of a baseline, both kinds, with names such as `empirical/layer_0.adapter_down`.

    `parent`: the verified folder of the baseline's adapter.
    """
    if parent is None:
        raise TypeError("a task embedding must have a parent")
    section, data, device = cell.fisher, node.data(cell), node.accelerator.device
    traced = _traced(cell, parent, device)
    row_of = {data.table.ids[row]: row for row in data.rows["train"]}
    order = train_subset(tuple(row_of), 1.0, cell.seed)[: section.max_examples]
    rows = np.sort(np.asarray([row_of[example] for example in order], np.int64))
    vectors: Vectors = {}
    for kind in fisher.KINDS:
        information = fisher.information(
            traced, data, rows, kind=kind, seed=cell.seed, n_draws=section.n_draws, device=device
        )
        vectors |= {f"{kind}/{component}": vector for component, vector in information.items()}
    return vectors, {"n_examples": len(rows)}


def _traced(cell: TaskEmbedding, parent: Path, device: torch.device) -> fisher.Traced:
    """The baseline's trained model, in full float32 whatever it was trained in."""
    torch.set_float32_matmul_precision("highest")
    if cell.adapter.kind in BANKED:
        return TracedBank(load_encoder(cell.backbone).to(device), parent)
    from empslurm.train.embeddings import library_trace

    model = load_model(cell.backbone, cell.training)
    library_trace.load(model, cell.target, parent)
    return library_trace.TracedLibrary(model.to(device))


def dataset_embedding(cell: DatasetEmbedding, node: Node, _: Path | None) -> Derived:
    """The mean sentence embedding of the task's texts, named `mean`."""
    task, section = node.registry.tasks[cell.target], cell.embed
    table = load_task(node.examples(cell), task, cell.data.use, cell.data.labels)
    encoder = sentence_mean.load_encoder(fetch(section.encoder), node.accelerator.device)
    vector = sentence_mean.mean_embedding(encoder, table, section.max_examples)
    return {"mean": vector}, {"n_examples": len(sentence_mean.chosen(table, section.max_examples))}


def save(held: Claimed[Cell], vectors: Vectors, facts: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write and seal the cell's output."""
    cell, folder = held.cell, held.folder
    output = folder.output(held.claim)
    shutil.rmtree(output, ignore_errors=True)
    files.write_bytes(output / NAME, save_arrays(vectors))
    files.write_json(output / PROVENANCE, provenance)
    known: dict[str, Any] = {"kind": cell.kind, "target": cell.target, "source": None, "seed": cell.seed, "flags": []}
    folder.save(held.claim, {**known, "fraction": cell.data.fraction, **facts})
