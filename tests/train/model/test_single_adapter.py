"""Every kind of adapter trains, saves, reloads and predicts the same, on BERT and RoBERTa; bad stacks are refused."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, RobertaConfig

from empslurm.config import ADAPTER_KINDS, Adapter, stack_problem
from empslurm.errors import DamagedError
from empslurm.train.data.batch import Batch
from empslurm.train.model.backbone import quiet
from empslurm.train.model.dropout import Masks, step_key
from tests.library import library

adapters = library()  # skips this file without it
from empslurm.train.model.single_adapter import NEW, SOURCE, LibraryModel, library_config, load_adapter, owner  # noqa: E402  # after the skip

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
FAMILIES = {"bert": BertConfig, "roberta": RobertaConfig}
LABELS = ("low", "mid", "high")
IDS = np.array([[5, 9, 22, 31, 8, 40], [7, 50, 12, 1, 1, 1]])
REAL = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
BATCH = Batch.of({"input_ids": IDS, "attention_mask": REAL}, REAL == 1, torch.device("cpu"))
INPUTS = BATCH.inputs
TARGETS = torch.tensor([0, 2])


def adapter_of(kind: str) -> Adapter:
    return Adapter(kind="compacter", reduction_factor=4) if kind == "compacter" else Adapter(kind=kind)


def fresh(family: str) -> Any:
    quiet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = FAMILIES[family](**SMALL, attn_implementation="eager")
        return adapters.AutoAdapterModel.from_config(config).requires_grad_(False)


def cell(family: str, kind: str, *, source: Path | None = None, tuned: bool = False) -> LibraryModel:
    return LibraryModel(fresh(family), adapter_of(kind), LABELS, 1, source, tune_source=tuned)


def logits(made: LibraryModel, masks: Masks | None = None) -> torch.Tensor:
    return made.logits(made.below(BATCH, masks), slice(0, 1), made.free, masks)[0]


def train(made: LibraryModel, n_steps: int = 3) -> list[float]:
    """Losses of a few steps with dropout."""
    made.free = {name: value.detach().requires_grad_() for name, value in made.free.items()}
    optimiser = torch.optim.AdamW(list(made.free.values()), lr=0.05)
    losses = []
    for step in range(n_steps):
        loss = torch.nn.functional.cross_entropy(logits(made, Masks(step_key(1, step), torch.tensor([0, 1]))), TARGETS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


both = pytest.mark.parametrize("family", FAMILIES)
every = pytest.mark.parametrize("kind", ADAPTER_KINDS)


@both
@every
def test_it_trains_saves_and_predicts_the_same_when_read_by_the_library(family: str, kind: str, tmp_path: Path) -> None:
    made = cell(family, kind)
    before = {name: value.clone() for name, value in made.free.items()}
    losses = train(made, 6)
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in made.free.items() if name.endswith("weight"))
    with torch.no_grad():
        expected = logits(made)
    made.save(0, "news", LABELS, tmp_path)
    plain = fresh(family)
    plain.load_adapter(str(tmp_path / "adapter"), with_head=True, use_safetensors=True)
    plain.active_adapters = plain.active_head = "news"
    with torch.no_grad():
        assert torch.equal(plain.eval()(**INPUTS).logits, expected)
    assert plain.heads["news"].config["label2id"] == {label: place for place, label in enumerate(LABELS)}


@both
@every
def test_two_cells_of_a_seed_start_equal_and_train_equal(family: str, kind: str) -> None:
    one, two = cell(family, kind), cell(family, kind)
    torch.manual_seed(77)  # other random draws in the process must not matter
    assert train(one) == train(two)
    assert all(torch.equal(value, two.free[name]) for name, value in one.free.items())


@every
def test_only_what_is_of_the_cell_is_free(kind: str) -> None:
    made = cell("bert", kind)
    assert {owner(name) for name in made.free} == {NEW}
    backbone = {name for name, _ in fresh("bert").named_parameters()}
    assert {name for name, _ in made.model.named_parameters()} - set(made.free) == backbone


def moved(made: LibraryModel, whose: str) -> torch.Tensor:
    """Logits after a large change of one adapter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if owner(name) == whose and "heads" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
                if name in made.free:
                    made.free[name] = parameter.detach()[None].clone()
        return logits(made)


@pytest.mark.parametrize(("below", "above"), list(product(ADAPTER_KINDS, ADAPTER_KINDS)))
def test_the_stacks_that_the_library_silently_ignores_are_known(below: str, above: str, tmp_path: Path) -> None:
    """A stack works when the source acts under the fresh adapter, and the adapter on top can act."""
    source = cell("bert", below)
    moved(source, NEW)
    source.save(0, "one", LABELS, tmp_path)
    stacked, alone = cell("bert", above, source=tmp_path / "adapter"), cell("bert", above)
    with torch.no_grad():
        before, plain = logits(stacked), logits(alone)
    source_acts = not torch.allclose(before, plain, atol=1e-5)
    new_acts = not torch.allclose(moved(stacked, NEW), before, atol=1e-5)
    assert (stack_problem(adapter_of(below), adapter_of(above)) == "") == (source_acts and new_acts)


@every
def test_a_source_is_filled_whatever_its_name_and_a_part_that_is_missing_is_named(kind: str, tmp_path: Path) -> None:
    source = cell("bert", kind)
    train(source, 2)
    source.save(0, "one", LABELS, tmp_path)
    model = fresh("bert")
    load_adapter(model, tmp_path / "adapter", SOURCE)
    model.active_adapters = SOURCE
    plain = fresh("bert")
    plain.load_adapter(str(tmp_path / "adapter"), with_head=False, use_safetensors=True)
    plain.active_adapters = "one"
    with torch.no_grad():
        outputs: list[Callable[..., Any]] = [model.base_model.eval(), plain.base_model.eval()]
        one, two = (run(**INPUTS).last_hidden_state for run in outputs)
    assert torch.equal(one, two)
    (tmp_path / "adapter" / "adapter.safetensors").write_bytes(b"torn")
    with pytest.raises(DamagedError, match="must hold an adapter of the library"):
        load_adapter(fresh("bert"), tmp_path / "adapter", SOURCE)


def test_defaults_are_the_librarys() -> None:
    for kind in ADAPTER_KINDS:
        ours = library_config(Adapter(kind=kind)).to_dict()
        assert ours == type(library_config(Adapter(kind=kind)))().to_dict()


def test_a_compacter_that_does_not_fit_is_known_before_the_library_fails() -> None:
    assert "write `reduction_factor: 8`" in Adapter(kind="compacter").size_problem(32)
    assert Adapter(kind="compacter").size_problem(384) == ""
    assert Adapter(kind="compacter", reduction_factor=4).size_problem(32) == ""
    assert Adapter().size_problem(8) == ""
    with pytest.raises(AssertionError):
        LibraryModel(fresh("bert"), Adapter(kind="compacter"), LABELS, 1, None, tune_source=False)
