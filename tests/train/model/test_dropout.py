"""Dropout masks depend only on their key, and are statistically as good as random ones."""

import pytest
import torch
from torch import nn

from empslurm.train.model import dropout
from empslurm.train.model.dropout import KeyedDropout, Masks, Sites, install, mix, step_key
from tests.train.world import batch

ROWS = torch.arange(40, dtype=torch.int64)


def mask(site="layer.0.output.dropout", shape=(40, 24, 30), rate=0.1, seed=1, step=5, rows=ROWS):
    return Masks(step_key(seed, step), rows)(site, shape, rate, torch.float32)


def correlation(one, two):
    stacked = torch.stack([one.flatten(), two.flatten()]).double()
    return torch.corrcoef(stacked)[0, 1].abs().item()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.01])
def test_the_rate_holds_overall_and_in_every_row_position_and_feature(rate):
    values = mask(rate=rate, shape=(40, 100, 100))
    kept = (values > 0).double()
    spread = (rate * (1 - rate)) ** 0.5
    assert kept.mean().item() == pytest.approx(1 - rate, abs=4 * spread / 400_000**0.5)
    for axes, n in (((1, 2), 10_000), ((0, 2), 4_000), ((0, 1), 4_000)):
        assert (kept.mean(axes) - (1 - rate)).abs().max().item() < 5 * spread / n**0.5
    assert values.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)], rel=1e-4)
    assert values.mean().item() == pytest.approx(1.0, abs=0.01)


def test_masks_of_other_keys_are_independent():
    one = mask()
    limit = 5 / one.numel() ** 0.5
    others = [
        mask(step=6),
        mask(seed=2),
        mask(site="layer.1.output.dropout"),
        mask(rows=ROWS + 40),
        mask(rows=ROWS + 1),
    ]
    for other in others:
        assert correlation(one, other) < limit
    for lag in (1, 2, 3, 4, 8, 15):
        assert correlation(one[:, :, lag:], one[:, :, :-lag]) < limit * 1.5  # features
        assert correlation(one[:, lag:], one[:, :-lag]) < limit * 2  # positions
        assert correlation(one[lag:], one[:-lag]) < limit * 2  # examples


def test_the_same_example_has_the_same_mask_whatever_the_padding_the_batch_and_the_order():
    one = mask()
    chosen = torch.tensor([7, 3, 31])
    assert torch.equal(mask(rows=chosen, shape=(3, 24, 30)), one[chosen])
    assert torch.equal(mask(shape=(40, 17, 30)), one[:, :17])
    assert torch.equal(mask(shape=(40, 24, 29)), one[..., :29])
    attention = mask(shape=(40, 4, 24, 24))
    assert torch.equal(mask(shape=(40, 4, 13, 13)), attention[:, :, :13, :13])
    assert correlation(attention[:, 0], attention[:, 1]) < 0.03


def test_every_input_bit_moves_half_of_the_output_bits():
    words = torch.randint(-(2**62), 2**62, (2_000,), generator=torch.Generator().manual_seed(0))
    plain = mix(words.clone())
    for bit in range(64):
        flip = torch.tensor(1, dtype=torch.int64) << bit
        changed = mix(words ^ flip) ^ plain
        moved = torch.stack([(changed >> place) & 1 for place in range(64)]).double().mean(1)
        assert moved.min().item() > 0.44
        assert moved.max().item() < 0.56


def test_it_goes_into_a_model_of_a_library():
    inner = nn.Sequential(nn.Dropout(0.25))
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), inner)
    box = install(model)
    assert [type(module) for module in (model[1], inner[0])] == [KeyedDropout, KeyedDropout]
    values = torch.ones(4, 8)
    assert torch.equal(model.train()[1](values), values)  # nothing is dropped until there are masks
    box.masks = Masks(step_key(1, 0), torch.arange(4))
    dropped = model[1](values)
    assert torch.equal(dropped, model[1](values))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(model.eval()[1](values), values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("at_once", [1, 2**30], ids=["one by one", "all"])
@pytest.mark.parametrize("shape", [(40, 30), (40, 24, 30), (40, 4, 13, 13)], ids=str)
def test_sites_that_are_made_together_have_the_bits_that_each_has_alone(monkeypatch, shape, at_once, dtype):
    monkeypatch.setitem(dropout.VALUES_AT_ONCE, "cpu", at_once)
    names = [f"layer.{place}.output.dropout" for place in range(7)]
    together = Masks(step_key(1, 5), ROWS, (Sites.of(names, ROWS.device),))
    for name in (*names[3:], *names[:3], "another"):
        alone = Masks(step_key(1, 5), ROWS)(name, shape, 0.1, dtype)
        assert torch.equal(together(name, shape, 0.1, dtype), alone)
        assert alone.dtype == dtype


def test_masks_at_tokens_are_those_of_padded_rows():
    few = batch(4, 10)
    rows = torch.arange(4)
    sites = (Sites.of(["a", "b"], rows.device),)
    padded = Masks(step_key(1, 5), rows, sites)("b", (4, 10, 30), 0.1, torch.float32)
    at_tokens = Masks(step_key(1, 5), rows, sites)("b", (len(few.rows), 30), 0.1, torch.float32, few)
    assert torch.equal(at_tokens, padded[few.rows, few.positions])
