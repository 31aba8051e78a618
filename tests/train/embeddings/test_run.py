"""Fisher cells, from a trained baseline of any kind to the sealed vectors."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from empslurm.config import Adapter, Fisher
from empslurm.store.runs import RunsRoot
from empslurm.train.embeddings.run import NAME, derive_members
from empslurm.train.loop import Settings
from tests.train.world import TRAINING, InventedNode, baseline, claimed, train


@pytest.mark.parametrize(
    ("adapter", "n_own"),
    [
        (Adapter(kind="double_seq_bn"), 8),
        (Adapter(kind="prefix_tuning", bottleneck_size=8), 1),
        (Adapter(kind="prompt_tuning"), 1),
        (Adapter(kind="compacter", reduction_factor=4), 3),
        (Adapter(kind="lora"), 2),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_baseline_of_every_kind_has_a_task_embedding(adapter: Adapter, n_own: int, tmp_path) -> None:
    root = RunsRoot(tmp_path)
    source = baseline(training=replace(TRAINING, epochs=1), adapter=adapter)
    train(root, [source])
    cell = replace(source, kind="fisher", fisher=Fisher(max_examples=9), parent=source.id)
    members = claimed(root, [cell])

    def fail(member, error):
        raise error

    assert [one.cell.id for one in derive_members(members, InventedNode(root), Settings(), fail, lambda _: None)]
    folder = root.cell(cell.id)
    result = folder.result()
    assert result is not None
    assert result["n_examples"] == 9
    vectors = load_file(folder.verify(result) / NAME)
    assert len(vectors) == 2 * (4 + n_own)
    assert all(np.isfinite(vector).all() and vector.max() > 0 for vector in vectors.values())
