"""Cells on every family of encoders: stopped and killed, they end with the same bits; saved, they score the same."""

import shutil

import pytest
import torch

from empslurm.backbones import resolve
from empslurm.backbones.families import FAMILIES
from empslurm.config import Backbone
from empslurm.store.runs import RunsRoot
from empslurm.train import checkpoint as checkpoints
from empslurm.train.data.batch import cut
from empslurm.train.loop import Interrupted, Settings
from empslurm.train.model.adapter_bank import Bank
from tests.backbones.files import vocabulary
from tests.train.model import encoders
from tests.train.test_loop import Killed, logits, stopped_at
from tests.train.world import InventedNode, baseline, invented_data, outputs_of, train, transfer

VOCABULARY = 1100  # of the invented texts


def adapter(folder):
    """The verified adapter of a finished cell."""
    result = folder.result()
    assert result is not None
    return folder.verify(result) / "adapter"


@pytest.mark.parametrize("model_type", FAMILIES)
def test_stopped_and_killed_it_ends_with_the_same_bits(model_type, tmp_path, monkeypatch):
    encoders.random_encoder(model_type, 3, vocab_size=VOCABULARY).save_pretrained(tmp_path / "model")
    vocabulary(tmp_path / "model")
    backbone = Backbone(name=str(tmp_path / "model"))
    root = RunsRoot(tmp_path / "runs")
    parent = baseline(backbone=backbone, backbone_digest=resolve(backbone).digest)
    train(root, [parent])
    shutil.copytree(root.path, tmp_path / "again")
    again = RunsRoot(tmp_path / "again")
    cells = [transfer(parent, f"source{place}", training=parent.training) for place in range(2)]
    cells = [type(cell).like(cell, backbone=parent.backbone, backbone_digest=parent.backbone_digest) for cell in cells]
    train(root, cells)

    with pytest.raises(Interrupted):
        train(again, cells, settings=Settings(stop=stopped_at(3)))
    real = checkpoints.write

    def write(folder, checkpoint):
        real(folder, checkpoint)
        raise Killed

    monkeypatch.setattr(checkpoints, "write", write)
    with pytest.raises(Killed):
        train(again, cells, settings=Settings(checkpoint_every_steps=3))
    monkeypatch.undo()
    train(again, cells)
    assert [outputs_of(again, cell) for cell in cells] == [outputs_of(root, cell) for cell in cells]

    node, data = InventedNode(root), invented_data()
    folders = [(root.cell(cell.id), root.cell(parent.id)) for cell in cells]
    stacks = [(adapter(own), adapter(below)) for own, below in folders]
    scored = Bank.from_folders(node.encoder(backbone, parent.training), stacks)
    outputs = scored.predict(cut(data.tokens, data.rows["test"], torch.device("cpu")))
    for cell, own in zip(cells, outputs, strict=True):
        torch.testing.assert_close(own.double(), torch.from_numpy(logits(root, cell)), rtol=1e-4, atol=1e-4)
