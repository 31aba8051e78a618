"""Every family in the engine equals plain transformers with the bottleneck written out, forward and backward."""

import copy

import pytest
import torch
from torch import nn

from empslurm.backbones.families import FAMILIES
from empslurm.config import Adapter
from empslurm.train.model.adapter_bank import Bank, CellTensors, initial
from empslurm.train.model.dropout import Masks, step_key
from empslurm.train.model.encoder import Encoder
from empslurm.train.model.families import family
from tests.train.model import encoders

ADAPTER = Adapter(reduction_factor=4, non_linearity="gelu")
families = pytest.mark.parametrize("model_type", FAMILIES)


def shaken(encoder, seed, *, source):
    """A cell whose weights are far from their small initial values, so that differences show."""
    made, below = initial(encoder, ADAPTER, 3, seed), initial(encoder, ADAPTER, 1, seed + 100)
    generator = torch.Generator().manual_seed(seed)

    def shake(tensors):
        return {name: value + 0.3 * torch.randn(value.shape, generator=generator) for name, value in tensors.items()}

    return CellTensors(new=shake(made.new), head=shake(made.head), source=shake(below.new) if source else None)


def written(tensors, layer):
    """The bottleneck of one layer as two modules."""
    parts = []
    for part in ("down", "up"):
        weight, bias = tensors[f"{part}.weight"][layer], tensors[f"{part}.bias"][layer]
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        parts.append(linear)
    return encoders.Written(down=parts[0], up=parts[1], non_linearity=str(ADAPTER.non_linearity))


def plain(model, cell):
    """The plain model with the cell's adapters, and the stacks per layer."""
    levels = [each for each in (cell.source, cell.new) if each is not None]
    n_layers = len(cell.new["down.weight"])
    stacks = [[written(tensors, layer) for tensors in levels] for layer in range(n_layers)]
    encoders.write_out(model, stacks)
    return stacks


def head(cell, first):
    values = torch.tanh(nn.functional.linear(first, cell.head["1.weight"], cell.head["1.bias"]))
    return nn.functional.linear(values, cell.head["4.weight"], cell.head["4.bias"])


@families
@pytest.mark.parametrize("seed", range(4))
def test_logits_and_gradients_equal_plain_transformers(model_type, seed):
    model = encoders.random_encoder(model_type, seed)
    reference = copy.deepcopy(model)
    encoder = Encoder(model, dropout=0.0, attention_dropout=0.0)
    cells = [shaken(encoder, number, source=seed % 2 == 1) for number in range(2)]
    bank = Bank(encoder, cells, ADAPTER, free=("new", "head", "source"))
    for padded, pairs in ((False, False), (True, False), (True, True)):
        batch = encoders.batch(reference, padded=padded, pairs=pairs, seed=seed)
        free = {name: value.clone().requires_grad_() for name, value in bank.free.items()}
        logits = bank.logits(bank.below(batch, None), slice(0, 2), free, None)
        torch.stack([each.square().sum() for each in logits]).sum().backward()
        for place, cell in enumerate(cells):
            own = copy.deepcopy(reference)
            stacks = plain(own, cell)
            expected = head(cell, own(**encoders.plain_inputs(own, batch)).last_hidden_state[:, 0])
            assert expected.std() > 0.01
            torch.testing.assert_close(logits[place], expected, rtol=1e-4, atol=1e-4)
            expected.square().sum().backward()
            for layer, stack in enumerate(stacks):
                for level, adapter in zip(bank.levels, stack, strict=True):
                    for part in ("down", "up"):
                        gradient = free[f"{level}.{part}.weight"].grad
                        assert gradient is not None
                        ours = gradient[place, layer]
                        theirs = getattr(adapter, part).weight.grad
                        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max() + 1))


@families
def test_training_passes_equal_plain_transformers_with_the_same_masks(model_type):
    model = encoders.random_encoder(model_type, 11)
    reference = copy.deepcopy(model)
    weights = 0.2 if encoders.weights_are_dropped_by_a_module(model_type) else 0.0
    encoder = Encoder(model, dropout=0.1, attention_dropout=weights)
    cell = shaken(encoder, 1, source=True)
    bank = Bank(encoder, [cell], ADAPTER)
    batch = encoders.batch(reference, padded=True, pairs=True)
    masks = Masks(step_key(1, 7), torch.arange(10, 15))
    ours = bank.logits(bank.below(batch, masks), slice(0, 1), {}, masks)[0]
    plain(reference, cell)
    box = encoders.key_dropout(reference.train(), 0.1, weights)
    box.masks = masks
    first = reference(**encoders.plain_inputs(reference, batch)).last_hidden_state[:, 0]
    values = first * masks("head.0", tuple(first.shape), 0.1, first.dtype)
    values = torch.tanh(nn.functional.linear(values, cell.head["1.weight"], cell.head["1.bias"]))
    values = values * masks("head.3", tuple(values.shape), 0.1, values.dtype)
    expected = nn.functional.linear(values, cell.head["4.weight"], cell.head["4.bias"])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    without = bank.predict(batch)[0]
    assert not torch.allclose(ours, without, rtol=1e-2, atol=1e-2)  # the masks do something


@families
def test_a_text_and_its_masks_do_not_depend_on_padding_or_the_pack(model_type):
    model = encoders.random_encoder(model_type, 5)
    encoder = Encoder(model, dropout=0.1, attention_dropout=0.1)
    cells = [shaken(encoder, number, source=True) for number in range(3)]
    bank, alone = Bank(encoder, cells, ADAPTER), Bank(encoder, cells[1:2], ADAPTER)
    batch = encoders.batch(model, padded=True, pairs=True, rows=4)
    masks = Masks(step_key(1, 7), torch.arange(4))
    together = bank.logits(bank.below(batch, masks), slice(0, 3), {}, masks)[1]
    for row in range(4):
        n = int(batch.inputs["attention_mask"][row].sum())
        short = {name: value[row : row + 1, :n].numpy() for name, value in batch.inputs.items() if "mask" not in name}
        own = batch.of(short, short["input_ids"] == short["input_ids"], torch.device("cpu"))
        its = Masks(step_key(1, 7), torch.tensor([row]))
        torch.testing.assert_close(
            alone.logits(alone.below(own, its), slice(0, 1), {}, its)[0], together[row : row + 1], rtol=1e-4, atol=1e-4
        )


def test_every_family_has_its_facts_and_its_module():
    for model_type in FAMILIES:
        assert family(model_type).config.model_type == model_type
        assert family(model_type).layout.in_library == (len(FAMILIES[model_type].adapter_kinds) > 1)
