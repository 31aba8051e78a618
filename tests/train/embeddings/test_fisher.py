"""The Fisher information equals a loop over single examples, in our encoder and the library; draws are the model's.

`case` is a bottleneck on our own encoder; the library's models are compared with it, and looped over for all kinds.
"""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from empslurm.backbones.families import FAMILIES
from empslurm.config import BANKED, Adapter, AdapterKind, Backbone, Training
from empslurm.errors import DamagedError
from empslurm.tasks.schema import Task
from empslurm.train.data.batch import Batch, cut
from empslurm.train.data.tokens import Tokens
from empslurm.train.embeddings import fisher
from empslurm.train.embeddings.bank_trace import TracedBank
from empslurm.train.model import adapter_files
from empslurm.train.model.adapter_bank import Bank
from empslurm.train.model.backbone import load_encoder, load_model
from empslurm.train.model.encoder import Below, Encoder
from empslurm.train.model.operations import Values
from empslurm.validation.constraints import Kind
from tests.library import library
from tests.train.model import encoders

N_EXAMPLES = 7
CPU = torch.device("cpu")
IN_LIBRARY = [name for name, facts in FAMILIES.items() if facts.adapter_kinds != BANKED]
KINDS_OF_TASKS: tuple[Kind, ...] = ("classification", "regression")
LABELS = {"classification": ("a", "b", "c"), "regression": ()}


def data_of(kind: Kind) -> Any:
    """Seven examples of different lengths."""
    task = Task(
        id="kites", title="", dataset="x", kind=kind, labels=LABELS[kind], data_source="", language_setting=""
    )  # fmt: skip
    lengths = np.arange(3, 3 + N_EXAMPLES)
    flat = np.random.default_rng(1).integers(5, 190, lengths.sum()).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = Tokens(
        flat=flat,
        starts=starts,
        text_starts=np.zeros(N_EXAMPLES, np.int32),
        n_truncated=0,
        pad_id=0,
        segments=True,
    )
    targets = np.array([0, 1, 2, 0, 1, 2, 1]) if kind == "classification" else np.linspace(-1, 1, 7).astype(np.float32)
    table = SimpleNamespace(ids=tuple(f"kite-{row}" for row in range(N_EXAMPLES)))
    return SimpleNamespace(task=task, tokens=tokens, table=table, model_targets=lambda: targets)


def encoder_of(family: str) -> Any:
    return encoders.random_encoder(family, 11)


def saved(model: Any, kind: Kind, folder: Path) -> Path:
    """A random bottleneck with its head for this encoder, in a folder."""
    config, labels = model.config, LABELS[kind]
    generator = torch.Generator().manual_seed(3)
    hidden, layers, inner, n_outputs = config.hidden_size, config.num_hidden_layers, 4, max(1, len(labels))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    bottleneck = {
        "down.weight": drawn(layers, inner, hidden),
        "down.bias": drawn(layers, inner),
        "up.weight": drawn(layers, hidden, inner),
        "up.bias": drawn(layers, hidden),
    }
    head = {
        adapter_files.DENSE_WEIGHT: drawn(hidden, hidden),
        adapter_files.DENSE_BIAS: drawn(hidden),
        adapter_files.OUTPUT_WEIGHT: drawn(n_outputs, hidden),
        adapter_files.OUTPUT_BIAS: drawn(n_outputs),
    }
    adapter_files.write_adapter(folder, "kites", bottleneck, Adapter(reduction_factor=hidden // inner), config)
    adapter_files.write_head(folder, "kites", labels, head, config)
    return folder


CASES = [("bert", "regression"), *((name, "classification") for name in FAMILIES)]


@pytest.fixture(params=CASES, ids="-".join)
def case(request, tmp_path):
    """A small encoder with a saved bottleneck: traced, its data, and the folder."""
    name, task_kind = request.param
    encoder = encoder_of(name)
    folder = saved(encoder, task_kind, tmp_path)
    return TracedBank(encoder, folder), data_of(task_kind), folder


def logits_of(bank: Bank, batch: Batch) -> torch.Tensor:
    (logits,) = bank.logits(bank.below(batch, None), slice(0, 1), {}, None)
    return logits


def take(traced, data, kind: Literal["empirical", "sampled"], *, n_draws: int = 1, seed: int = 5):
    rows = np.arange(N_EXAMPLES)
    return fisher.information(traced, data, rows, kind=kind, seed=seed, n_draws=n_draws, device=CPU)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to rounding, and not all zero."""
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max())


def of_one(logits: torch.Tensor, data: Any, row: int) -> torch.Tensor:
    """log p(y|x) of one example, by hand."""
    label = data.model_targets()[row]
    if data.task.kind == "classification":
        value = logits.log_softmax(1)[0, label]
    else:
        value = torch.distributions.Normal(logits[0, 0], 1.0).log_prob(torch.as_tensor(label))
    assert isinstance(value, torch.Tensor)
    return value


def by_hand(predict: Any, data: Any, wanted: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """One example at a time: mean squared gradients of `wanted`, on which `predict` (batch -> logits) depends."""
    sums = {name: torch.zeros_like(tensor) for name, tensor in wanted.items()}
    for row in range(N_EXAMPLES):
        value = of_one(predict(cut(data.tokens, [row], CPU)), data, row)
        for name, gradient in zip(wanted, torch.autograd.grad(value, list(wanted.values())), strict=True):
            sums[name] += gradient.square()
    return {name: (total / N_EXAMPLES).numpy() for name, total in sums.items()}


def test_weights_equal_a_loop_over_single_examples(case, monkeypatch) -> None:
    traced, data, folder = case
    monkeypatch.setattr(fisher, "TOKENS_PER_BATCH", 20)
    found = take(traced, data, "empirical")
    encoder = Encoder(traced.encoder.model, dropout=0.0, attention_dropout=0.0)
    bank = Bank.from_folders(encoder, [(folder, None)])
    weights = {name: value.requires_grad_() for name, value in bank.fixed.items() if name.startswith("new.")}
    expected = by_hand(lambda batch: logits_of(bank, batch), data, weights)
    for layer in range(len(encoder.blocks)):
        for part in ("down", "up"):
            weight, bias = (expected[f"new.{part}.{name}"][0, layer] for name in ("weight", "bias"))
            whole = np.concatenate([weight.ravel(), bias])
            same(found[f"layer_{layer}.adapter_{part}"], whole)


class Shifted(Encoder):
    """An encoder with a bias added to what each block gives."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, dropout=0.0, attention_dropout=0.0)
        parts = ("attention", "feed_forward")
        names = [f"layer_{index}.{part}_output" for index in range(len(self.blocks)) for part in parts]
        self.shifts = {name: torch.zeros(self.config.hidden_size, requires_grad=True) for name in names}

    def shifted(self, name: str, values: Values) -> Values:
        wide = values.wide + self.shifts[name]
        return Values(wide=wide, narrow=wide)

    def below(self, batch, masks):
        below = super().below(batch, masks)
        residual = self.shifted("layer_0.attention_output", below.residual)
        return Below(residual=residual, output=self.feed(0, residual), layout=below.layout)

    def attend(self, index, values, layout, masks, *, first=False):
        residual = super().attend(index, values, layout, masks, first=first)
        return self.shifted(f"layer_{index}.attention_output", residual)

    def adapted(self, index, *rest):
        return self.shifted(f"layer_{index}.feed_forward_output", super().adapted(index, *rest))


def test_an_output_is_as_a_bias_added_to_it(case) -> None:
    traced, data, folder = case
    found = take(traced, data, "empirical")
    encoder = Shifted(traced.encoder.model)
    bank = Bank.from_folders(encoder, [(folder, None)])
    expected = by_hand(lambda batch: logits_of(bank, batch), data, encoder.shifts)
    assert len(expected) == 2 * len(encoder.blocks)
    for name, vector in expected.items():
        same(found[name], vector)


def test_components_are_four_per_layer(case) -> None:
    traced, data, _ = case
    parts = ("adapter_down", "adapter_up", "attention_output", "feed_forward_output")
    layers = range(traced.encoder.config.num_hidden_layers)
    assert set(take(traced, data, "empirical")) == {f"layer_{layer}.{part}" for layer in layers for part in parts}


def test_an_adapter_that_does_not_load_is_damaged(tmp_path) -> None:
    with pytest.raises(DamagedError, match="must hold a bottleneck adapter, but does not load"):
        TracedBank(encoder_of("bert"), tmp_path)


def test_sampled_labels_are_a_function_of_the_seed_and_the_example(case) -> None:
    traced, data, _ = case
    first, again, other = (take(traced, data, "sampled", n_draws=2, seed=seed) for seed in (5, 5, 6))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.allclose(first[name], other[name], rtol=1e-3) for name in first)


def test_draws_follow_the_models_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0]]).repeat(6000, 1)
    drawn = fisher.draw(logits, range(6000), classification=True)
    shares = torch.bincount(drawn, minlength=3) / 6000
    assert torch.allclose(shares, logits[0].softmax(0), atol=0.02)
    values = fisher.draw(torch.full((6000, 1), 3.0), range(6000), classification=False)
    assert abs(values.mean() - 3) < 0.05
    assert abs(values.std() - 1) < 0.05


# ---- the library's models --------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Any]] = {
    "seq_bn": {"reduction_factor": 4},
    "double_seq_bn": {"reduction_factor": 4},
    "compacter": {"reduction_factor": 2, "phm_dim": 2},
    "prefix_tuning": {"bottleneck_size": 8},
}
# Components of layer 0 (or of all layers) besides the outputs, by kind.
OWN = {
    "seq_bn": {"layer_0.adapter_down", "layer_0.adapter_up"},
    "double_seq_bn": {f"layer_0.{place}adapter_{part}" for place in ("", "attention_") for part in ("down", "up")},
    "prefix_tuning": {"prefix"},
    "prompt_tuning": {"prompt"},
    "compacter": {"layer_0.compacter", "compacter_shared"},
    "lora": {"layer_0.lora"},
}


@pytest.fixture
def adapters() -> Any:
    return library()


def in_library(adapters: Any, encoder: Any) -> Any:
    """The same encoder as a model of the library."""
    fused = "sdpa" if type(encoder)._supports_sdpa else "eager"
    model = adapters.AutoAdapterModel.from_config(encoder.config, attn_implementation=fused)
    assert model.base_model.load_state_dict(encoder.state_dict(), strict=False).unexpected_keys == []
    return model


@pytest.mark.parametrize("task_kind", KINDS_OF_TASKS)
@pytest.mark.parametrize("family", IN_LIBRARY)
def test_both_engines_give_the_same_numbers(family: str, task_kind: Kind, adapters, tmp_path) -> None:
    """So a task embedding is the same, whichever of them computed it."""
    from empslurm.train.embeddings import library_trace

    encoder, data = encoder_of(family), data_of(task_kind)
    folder = saved(encoder, task_kind, tmp_path)
    model = in_library(adapters, encoder)
    library_trace.load(model, "kites", folder)
    theirs, ours = library_trace.TracedLibrary(model), TracedBank(encoder, folder)
    for kind in fisher.KINDS:
        expected, found = (take(traced, data, kind, n_draws=2) for traced in (theirs, ours))
        assert found.keys() == expected.keys()
        for name, vector in expected.items():
            np.testing.assert_allclose(found[name], vector, rtol=1e-4, atol=1e-6 * vector.max())
            assert vector.max() > 0


@pytest.mark.parametrize(
    ("family", "kind"), [(family, kind) for family in IN_LIBRARY for kind in FAMILIES[family].adapter_kinds]
)
def test_every_kind_has_all_of_its_weights_and_the_outputs(family: str, kind: AdapterKind, adapters) -> None:
    from empslurm.train.embeddings.library_trace import TracedLibrary
    from empslurm.train.model.single_adapter import library_config

    encoder, data = encoder_of(family), data_of("classification")
    model = in_library(adapters, encoder).eval()
    model.add_adapter("kites", config=library_config(Adapter(**SIZES.get(kind, {}), kind=kind)))
    model.add_classification_head("kites", num_labels=3)
    model.active_adapters = "kites"
    generator = torch.Generator().manual_seed(3)
    wanted = {}
    for name, parameter in model.requires_grad_(False).named_parameters():
        if "kites" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
            if "heads" not in name:
                wanted[name] = parameter.requires_grad_(True)
    expected = by_hand(lambda batch: model(**batch.inputs).logits, data, wanted)
    traced = TracedLibrary(model)
    found = take(traced, data, "empirical")
    layers = range(encoder.config.num_hidden_layers)
    outputs = {f"layer_{layer}.{part}_output" for layer in layers for part in ("attention", "feed_forward")}
    assert outputs < set(found)
    assert {name for name in set(found) - outputs if not re.match("layer_[1-9]", name)} == OWN[kind]
    weights = np.concatenate([found[name] for name in found if name not in outputs])
    # Tests of our own engine check the order of values; here none is lost, added or counted twice.
    whole = np.concatenate([value.ravel() for value in expected.values()])
    same(np.sort(weights), np.sort(whole))
    assert traced.one_by_one == (kind not in (*BANKED, "double_seq_bn"))
    sampled = take(traced, data, "sampled", n_draws=2)
    assert all(np.isfinite(vector).all() and vector.max() > 0 for vector in sampled.values())


def test_one_that_does_not_load_in_the_library_is_damaged(adapters, tmp_path) -> None:
    from empslurm.train.embeddings import library_trace

    with pytest.raises(DamagedError, match="must hold a baseline's adapter with its head"):
        library_trace.load(load_model(Backbone(name="tiny"), Training()), "kites", tmp_path)


def test_the_tiny_backbone_is_traced_as_it_is_loaded(tmp_path) -> None:
    folder = saved(load_encoder(Backbone(name="tiny")), "regression", tmp_path)
    found = take(TracedBank(load_encoder(Backbone(name="tiny")), folder), data_of("regression"), "sampled", n_draws=2)
    assert all(np.isfinite(vector).all() and vector.max() > 0 for vector in found.values())
