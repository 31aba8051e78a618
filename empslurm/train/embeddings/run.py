"""Cells that train nothing: what is derived from a finished baseline (fisher) or from texts alone (embed)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays

from empslurm import files
from empslurm.backbones import fetch
from empslurm.cells import Cell
from empslurm.config import Embed, Fisher
from empslurm.store.cell_folder import PROVENANCE
from empslurm.tasks.prepare import load_task
from empslurm.tasks.splits import train_subset
from empslurm.train.build import parent_adapter
from empslurm.train.context import Node
from empslurm.train.embeddings import fisher
from empslurm.train.embeddings.sentence_mean import chosen, load_encoder, mean_embedding
from empslurm.train.loop import Interrupted, Lost, Member, Say, Settings
from empslurm.train.model.backbone import load_model
from empslurm.train.save import process

NAME = "embedding.safetensors"  # in a cell's output: named vectors

Vectors = dict[str, NDArray[np.float32]]
Derived = tuple[Vectors, dict[str, Any]]  # vectors by name, facts for the result


def derive_members(members: Sequence[Member], node: Node, settings: Settings, lost: Lost, say: Say) -> Iterator[Member]:
    """Make the embeddings of cells that train nothing; yields and tells as `together.train_members` does."""
    for member in members if node.accelerator.is_main_process else ():
        if settings.stop():
            raise Interrupted
        started = time.monotonic()
        try:
            vectors, facts = derive(member.cell, node, parent_adapter(member.cell, node.root))
            device = node.accelerator.device
            known = {**process(device), "attempt": member.claim.number, "wall_s": time.monotonic() - started}
            commit(member, vectors, facts, known)
            say(f"{member.cell.id} is done: {facts['n_examples']:,} examples")
        except Exception as error:
            lost(member, error)
        else:
            yield member


def derive(cell: Cell, node: Node, parent: Path | None) -> Derived:
    """The vectors of a cell. `parent`: the folder of the baseline's adapter, verified, for a task embedding."""
    if cell.fisher is not None and parent is not None:
        return task_embedding(cell, cell.fisher, node, parent)
    if cell.embed is not None:
        return dataset_embedding(cell, cell.embed, node)
    raise TypeError(f"nothing can be derived for a cell of kind {cell.kind}")


def task_embedding(cell: Cell, section: Fisher, node: Node, parent: Path) -> Derived:
    """Fisher information of a baseline, both kinds, by names such as `empirical/layer_0.adapter_down`."""
    data, device = node.data(cell), node.accelerator.device
    model = load_model(cell.backbone, cell.hyper_parameters).to(device)
    fisher.load(model, cell.target, parent)
    place = {data.table.ids[row]: row for row in data.rows["train"]}
    order = train_subset(tuple(place), 1.0, cell.seed)[: section.max_examples]
    rows = np.sort(np.asarray([place[example] for example in order], np.int64))
    vectors: Vectors = {}
    for kind in fisher.KINDS:
        found = fisher.information(model, data, rows, kind=kind, seed=cell.seed, n_draws=section.n_draws, device=device)
        vectors |= {f"{kind}/{component}": vector for component, vector in found.items()}
    return vectors, {"n_examples": len(rows)}


def dataset_embedding(cell: Cell, section: Embed, node: Node) -> Derived:
    """The mean sentence embedding of the task's texts, by the name `mean`."""
    task = node.registry.tasks[cell.target]
    table = load_task(node.examples(cell), task, cell.data.use, cell.data.labels)
    encoder = load_encoder(fetch(section.encoder), node.accelerator.device)
    vector = mean_embedding(encoder, table, section.max_examples)
    return {"mean": vector}, {"n_examples": len(chosen(table, section.max_examples))}


def commit(member: Member, vectors: Vectors, facts: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write and seal the cell's output."""
    cell, folder = member.cell, member.folder
    output = folder.output(member.claim)
    shutil.rmtree(output, ignore_errors=True)
    files.write_bytes(output / NAME, save_arrays(vectors))
    files.write_json(output / PROVENANCE, provenance)
    known: dict[str, Any] = {"kind": cell.kind, "target": cell.target, "source": None, "seed": cell.seed, "flags": []}
    folder.commit(member.claim, {**known, "fraction": cell.data.fraction, **facts})
