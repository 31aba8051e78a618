"""Outputs are in the order of the rows, and do not depend on how cells and rows are batched."""

import numpy as np
import pytest
import torch

from empslurm.store.runs import RunsRoot
from empslurm.train import evaluate
from empslurm.train.data.batch import cut
from empslurm.train.evaluate import predict, token_batches
from empslurm.train.model.adapter_bank import Bank, initial
from tests.train.world import ADAPTER, TRAINING, InventedNode, baseline, invented_data


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    cell = baseline()
    node = InventedNode(RunsRoot(tmp_path_factory.mktemp("runs")))
    encoder = node.encoder(cell.backbone, TRAINING)
    bank = Bank(encoder, [initial(encoder, ADAPTER, 3, seed) for seed in range(5)], ADAPTER, free=("new", "head"))
    return bank, invented_data(), node.accelerator


def test_rows_come_back_in_their_order(world):
    bank, data, accelerator = world
    rows = data.rows["validation"][::-1].copy()
    (made,) = predict(bank, [2], data, rows, accelerator)
    alone = [bank.predict(cut(data.tokens, [row], torch.device("cpu")))[2] for row in rows]
    np.testing.assert_allclose(made, torch.cat(alone).numpy(), atol=1e-5)


@pytest.mark.parametrize("room", [None, 600])
def test_cells_that_go_through_together_say_what_each_says_alone(world, room, monkeypatch):
    """With little memory, fewer cells share a pass than are allowed."""
    bank, data, accelerator = world
    passes = []
    logits = bank.logits

    def noted(below, cells, *rest):
        passes.append(cells)
        return logits(below, cells, *rest)

    monkeypatch.setattr(bank, "logits", noted)
    if room is not None:
        monkeypatch.setattr(evaluate, "CELL_TOKENS", room)
    rows = data.rows["validation"]
    together = predict(bank, range(1, 5), data, rows, accelerator, 3)
    sizes = [cells.stop - cells.start for cells in passes]
    assert sizes == ([3, 1] if room is None else [2, 2])
    for place, cell in enumerate(range(1, 5)):
        (alone,) = predict(bank, [cell], data, rows, accelerator)
        np.testing.assert_allclose(together[place], alone, atol=1e-5)


def test_a_batch_holds_no_more_padded_tokens_than_allowed():
    lengths = np.array([3, 50, 7, 20, 21])
    batches = token_batches(lengths, 60)
    assert sorted(np.concatenate(batches)) == [0, 1, 2, 3, 4]
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= 60 for batch in batches)
