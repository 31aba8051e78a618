"""Values without padding equal those at the tokens of the padded batch, and so do gradients and masks."""

import numpy as np
import pytest
import torch

from empslurm.train.data.batch import Batch
from empslurm.train.model.dropout import Masks, step_key
from empslurm.train.model.padding import Layout, take

N_HEADS, WIDTH = 2, 3
LENGTHS = torch.tensor([4, 1, 3])
REAL = torch.arange(4) < LENGTHS[:, None]


def layout(real=REAL, n_cells=1):
    array = real.numpy()
    inputs = {"input_ids": array.astype(np.int64)}
    if not array.all():
        inputs["attention_mask"] = array.astype(np.int64)
    return Layout(batch=Batch.of(inputs, array, torch.device("cpu")), n_heads=N_HEADS).of(n_cells)


def padded(values, n_cells, real=REAL):
    """(n_cells * n_tokens, width) -> (n_cells * n_rows, length, width), by plain indexing."""
    made = torch.zeros(n_cells, *real.shape, values.shape[-1])
    for cell, part in enumerate(values.view(n_cells, -1, values.shape[-1])):
        made[cell][real] = part
    return made.flatten(0, 1)


@pytest.mark.parametrize("n_cells", [1, 3])
@pytest.mark.parametrize("real", [REAL, torch.ones(2, 3, dtype=torch.bool)], ids=["padded", "full"])
def test_attention_gets_what_plain_padding_would_give_it_and_its_gradient(n_cells, real):
    where = layout(real, n_cells)
    values = torch.randn(n_cells * where.n_tokens, 3 * N_HEADS * WIDTH, dtype=torch.float64, requires_grad=True)
    parts = where.spread(values)
    plain = values.detach().clone().requires_grad_()
    for part, own in zip(parts, plain.chunk(3, dim=1), strict=True):
        rows = padded(own.float(), n_cells, real).double()
        assert torch.equal(part.float(), rows.float().view(*rows.shape[:2], N_HEADS, WIDTH).transpose(1, 2))
    collected = where.collect(parts[1] * 2)
    assert torch.equal(collected, 2 * values.chunk(3, dim=1)[1])
    weights = torch.randn_like(collected)
    (collected * weights).sum().backward()
    (2 * plain.chunk(3, dim=1)[1] * weights).sum().backward()
    torch.testing.assert_close(values.grad, plain.grad)


def test_the_padding_is_hidden_from_attention_and_from_nothing_else():
    bias = layout(n_cells=2).bias
    assert torch.equal(bias[:, 0, 0] == 0, REAL.repeat(2, 1))
    assert bias.min() == torch.finfo(torch.float32).min
    assert layout(torch.ones(2, 3, dtype=torch.bool)).bias is None


def test_first_tokens_and_means_are_those_of_each_row():
    where = layout(n_cells=2)
    values = torch.randn(2 * where.n_tokens, 5)
    rows = padded(values, 2)
    assert torch.equal(where.first(values), rows[:, 0])
    one = values[: where.n_tokens]
    torch.testing.assert_close(layout().mean(one), padded(one, 1).sum(1) / LENGTHS[:, None])


def test_the_gradient_of_rows_that_are_taken_goes_back_to_them():
    values, places = torch.randn(6, 2, dtype=torch.float64, requires_grad=True), torch.tensor([4, 0, 5])
    assert torch.autograd.gradcheck(lambda given: take(given, places), (values,))


def test_a_mask_of_tokens_is_the_mask_of_the_padded_rows_at_the_tokens():
    masks = Masks(step_key(1, 5), torch.tensor([7, 3, 31]))
    site, where = "layer.0.output.dropout", layout()
    flat = masks(site, (where.n_tokens, 30), 0.1, torch.float32, where.batch)
    whole = masks(site, (3, 4, 30), 0.1, torch.float32)
    assert torch.equal(flat, whole[REAL])
    assert 0 < (flat == 0).sum() < flat.numel() / 3
