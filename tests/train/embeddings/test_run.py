"""Fisher cells, from a trained baseline of any kind to the sealed vectors."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from empslurm.cells import TaskEmbedding
from empslurm.config import BANKED, Adapter, Fisher
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.train.embeddings.run import NAME, derive_members, task_embedding
from empslurm.train.loop import Settings
from empslurm.train.member import Claimed
from tests.library import library
from tests.train.world import TRAINING, InventedNode, Strict, baseline, train


@pytest.mark.parametrize(
    ("adapter", "n_own"),
    [
        (Adapter(kind="seq_bn", reduction_factor=4), 4),
        (Adapter(kind="double_seq_bn"), 8),
        (Adapter(kind="prefix_tuning", bottleneck_size=8), 1),
        (Adapter(kind="prompt_tuning"), 1),
        (Adapter(kind="compacter", reduction_factor=4), 3),
        (Adapter(kind="lora"), 2),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_baseline_of_every_kind_has_a_task_embedding(adapter: Adapter, n_own: int, tmp_path) -> None:
    if adapter.kind not in BANKED:
        library()
    root = RunsRoot(tmp_path)
    source = baseline(training=replace(TRAINING, epochs=1), adapter=adapter)
    train(root, [source])
    cell = TaskEmbedding.like(source, fisher=Fisher(max_examples=9), parent=source.id)
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(local_liveness)
    assert claim is not None
    held = Claimed(cell=cell, folder=folder, claim=claim)
    node = InventedNode(root)
    assert list(derive_members(task_embedding, [held], node, Settings(), Strict(accelerator=node.accelerator)))
    result = folder.result()
    assert result is not None
    assert result["n_examples"] == 9
    vectors = load_file(folder.verify(result) / NAME)
    assert len(vectors) == 2 * (4 + n_own)
    assert all(np.isfinite(vector).all() and vector.max() > 0 for vector in vectors.values())
