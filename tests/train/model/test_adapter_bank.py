"""A bank's cells equal plain `adapters` on the same files, solo and stacked, with and without dropout."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from empslurm.backbones.families import FAMILIES
from empslurm.config import Adapter, NonLinearity
from empslurm.errors import DamagedError
from empslurm.train.model import adapter_files
from empslurm.train.model.adapter_bank import Bank, CellTensors, initial
from empslurm.train.model.dropout import Masks, install, step_key
from empslurm.train.model.encoder import Encoder
from empslurm.train.model.families import family
from tests.library import library
from tests.train.world import batch as invented

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
LIBRARY = [name for name in FAMILIES if family(name).layout.in_library]
OWN_DROPOUT = ("distilbert", "deberta-v2")  # some of their dropout is at other places than ours: see test_families
ADAPTER = Adapter(reduction_factor=4, non_linearity="gelu")
LABELS = (("no", "yes"), (), ("none", "weak", "strong"))  # none: regression


@pytest.fixture(params=LIBRARY)
def encoder(request):
    known = family(request.param)
    shape = {"n_layers": 3, "n_heads": 4, "dim": 32, "hidden_dim": 48} if request.param == "distilbert" else SHAPE
    torch.manual_seed(3)
    model = known.model(known.config(vocab_size=1000, **shape), **known.arguments)
    return Encoder(model, dropout=0.1, attention_dropout=0.1)


def shaken(encoder, seed, n_outputs, *, source):
    """A cell whose weights are far from their small initial values, so that differences show."""
    made, below = initial(encoder, ADAPTER, n_outputs, seed), initial(encoder, ADAPTER, 1, seed + 100)
    generator = torch.Generator().manual_seed(seed)

    def shake(tensors):
        return {name: value + 0.2 * torch.randn(value.shape, generator=generator) for name, value in tensors.items()}

    return CellTensors(new=shake(made.new), head=shake(made.head), source=shake(below.new) if source else None)


def saved(encoder, tmp_path, *, source):
    """Three cells with heads of different sizes, saved by a bank: (bank, folders as `from_folders` takes them)."""
    cells = [shaken(encoder, seed, max(1, len(labels)), source=source) for seed, labels in enumerate(LABELS)]
    bank = Bank(encoder, cells, ADAPTER, free=("new", "head", "source"))
    folders = []
    for place, labels in enumerate(LABELS):
        bank.save(place, "task", labels, tmp_path / str(place))
        below = tmp_path / str(place) / "source_adapter"
        folders.append((tmp_path / str(place) / "adapter", below if source else None))
    return bank, folders


def library_model(encoder, adapter, source, **config):
    """Plain `adapters` with the encoder's weights and what `load_adapter` finds in the folders."""
    changed = type(encoder.config).from_dict({**encoder.config.to_dict(), **config})
    adapters = library()
    model = adapters.AutoAdapterModel.from_config(changed, attn_implementation="eager")
    missing = model.base_model.load_state_dict(encoder.model.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    name = model.load_adapter(str(adapter), use_safetensors=True)
    if source is not None:
        model.load_adapter(str(source), load_as="source", with_head=False, use_safetensors=True)
    model.active_adapters = adapters.composition.Stack("source", name) if source else name
    model.active_head = name
    return model.eval()


@pytest.mark.parametrize("source", [False, True], ids=["solo", "stack"])
def test_saved_cells_predict_the_same_in_the_bank_and_in_plain_adapters(encoder, tmp_path, source):
    bank, folders = saved(encoder, tmp_path, source=source)
    pad = encoder.config.pad_token_id
    batch = invented(6, 9, pad_id=pad)
    together = Bank.from_folders(encoder, folders).predict(batch)
    read = bank.represent(batch)  # what the heads read
    assert read.shape == (len(LABELS), 6, encoder.config.hidden_size)
    weights = bank._weights(slice(0, bank.n_cells), bank.free)
    for one, logits in zip(bank._heads(read.flatten(0, 1), bank.n_outputs, weights, None), together, strict=True):
        torch.testing.assert_close(one, logits, atol=1e-5, rtol=1e-5)
    for place, (adapter, below) in enumerate(folders):
        with torch.inference_mode():
            plain = library_model(encoder, adapter, below)(**batch.inputs).logits
        assert together[place].shape == plain.shape == (6, max(1, len(LABELS[place])))
        assert plain.std() > 0.01
        torch.testing.assert_close(together[place], plain, rtol=1e-5, atol=1e-5)
        alone = bank.logits(
            bank.below(batch, None),
            slice(place, place + 1),
            {n: v[place : place + 1] for n, v in bank.free.items()},
            None,
        )[0]
        torch.testing.assert_close(alone, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("non_linearity", get_args(NonLinearity))
def test_every_activation_of_a_manifest_is_the_librarys(encoder, tmp_path, non_linearity):
    bank = Bank(encoder, [shaken(encoder, 1, 2, source=False)], replace(ADAPTER, non_linearity=non_linearity))
    bank.save(0, "task", LABELS[0], tmp_path)
    batch = invented(6, 9, pad_id=encoder.config.pad_token_id)
    with torch.inference_mode():
        plain = library_model(encoder, tmp_path / "adapter", None)(**batch.inputs).logits
    torch.testing.assert_close(bank.predict(batch)[0], plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", [name for name in LIBRARY if name not in OWN_DROPOUT], indirect=True)
def test_training_passes_agree_with_the_library_when_it_uses_the_keyed_masks(encoder, tmp_path):
    bank, folders = saved(encoder, tmp_path, source=True)
    batch = invented(6, 9, pad_id=encoder.config.pad_token_id)
    rates = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    free = {name: value.clone().requires_grad_() for name, value in bank.free.items()}
    masks = Masks(step_key(1, 7), torch.arange(10, 16))
    logits = bank.logits(bank.below(batch, masks), slice(0, 3), free, masks)
    torch.stack([each.sum() for each in logits]).sum().backward()
    for place, (adapter, below) in enumerate(folders):
        model = library_model(encoder, adapter, below, **rates)
        box = install(model)
        box.masks = masks
        model.train_adapter(["source", "task"])
        model.active_adapters = library().composition.Stack("source", "task")
        plain = model.train()(**batch.inputs).logits
        torch.testing.assert_close(logits[place], plain, rtol=1e-5, atol=1e-5)
        plain.sum().backward()
        for level, name in (("source", "source"), ("new", "task")):
            layer = model.base_model.encoder.layer[0].output.adapters[name]
            torch.testing.assert_close(
                free[f"{level}.down.weight"].grad[place, 0], layer.adapter_down[0].weight.grad, rtol=1e-4, atol=1e-5
            )


def test_the_last_layer_computes_only_what_the_heads_read(encoder, monkeypatch):
    """First tokens behind its attention, for each cell; all real tokens below."""
    fed = {}

    def feed(index, values):
        fed[index] = len(values.wide)
        return Encoder.feed(encoder, index, values)

    monkeypatch.setattr(encoder, "feed", feed)
    bank = Bank(encoder, [shaken(encoder, seed, 2, source=False) for seed in (1, 2)], ADAPTER, free=("new", "head"))
    bank.predict(invented(4, 6))
    n_tokens = 2 * 6 + 2 * 3
    assert fed == {0: n_tokens, 1: 2 * n_tokens, 2: 2 * 4}


def test_cells_that_stay_are_untouched_when_others_leave(encoder, tmp_path):
    bank, _ = saved(encoder, tmp_path, source=True)
    batch = invented(4, 7, pad_id=encoder.config.pad_token_id)
    before = bank.predict(batch)
    bank.keep([2, 0])
    after = bank.predict(batch)
    assert [each.shape[1] for each in after] == [3, 2]
    torch.testing.assert_close(after[0], before[2])
    torch.testing.assert_close(after[1], before[0])


def test_what_is_no_bottleneck_adapter_is_refused_by_its_folder(encoder, tmp_path):
    _, folders = saved(encoder, tmp_path, source=False)
    folder = folders[0][0]
    (folder / "adapter.safetensors").write_bytes(b"nothing")
    with pytest.raises(DamagedError, match=r"must hold a bottleneck adapter, but does not load"):
        adapter_files.read_adapter(folder)
    with pytest.raises(DamagedError, match=str(tmp_path / "absent")):
        adapter_files.read_adapter(tmp_path / "absent")


def test_beginnings_are_a_function_of_seed_and_place(encoder):
    one, two = initial(encoder, ADAPTER, 3, seed=1), initial(encoder, ADAPTER, 5, seed=1)
    assert all(torch.equal(one.new[name], two.new[name]) for name in one.new)
    assert not torch.equal(one.new["down.weight"][0], one.new["down.weight"][1])
    assert not torch.equal(one.new["down.weight"], initial(encoder, ADAPTER, 3, seed=2).new["down.weight"])
    assert one.new["up.weight"].std().item() == pytest.approx(0.02, rel=0.1)
