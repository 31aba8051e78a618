"""The Fisher information equals a loop over single examples, and its draws are the model's own."""

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch

from empslurm.config import ADAPTER_KINDS, Adapter, AdapterKind, Backbone, Training
from empslurm.tasks.schema import Task
from empslurm.train.data.batch import cut
from empslurm.train.data.tokens import Tokens
from empslurm.train.embeddings import fisher
from empslurm.train.model.backbone import load_model
from empslurm.train.model.single_adapter import library_config
from empslurm.validation.constraints import Kind

N_EXAMPLES = 7


def task(kind: Kind) -> Task:
    labels = ("a", "b", "c") if kind == "classification" else ()
    return Task(id="kites", title="", dataset="x", kind=kind, labels=labels, data_source="", language_setting="")


@pytest.fixture(params=["classification", "regression"])
def case(request):
    """A tiny backbone with a random bottleneck and head, and seven examples of different lengths."""
    return made(request.param, Adapter())


def made(kind: Kind, adapter: Adapter):
    model = load_model(Backbone(name="tiny"), Training())
    model.add_adapter("kites", config=library_config(adapter))
    model.add_classification_head("kites", num_labels=3 if kind == "classification" else 1)
    model.active_adapters = "kites"
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "kites" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    model.requires_grad_(False)
    lengths = np.arange(3, 3 + N_EXAMPLES)
    flat = np.random.default_rng(1).integers(5, 900, lengths.sum()).astype(np.int32)
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
    return model, SimpleNamespace(task=task(kind), tokens=tokens, table=table, model_targets=lambda: targets)


def by_hand(model, data, labels) -> dict[str, np.ndarray]:
    """One example at a time: squared gradients of the adapter's own parameters."""
    wanted = {
        name: parameter for name, parameter in model.named_parameters() if "kites" in name and "heads" not in name
    }
    for parameter in wanted.values():
        parameter.requires_grad_(True)
    model.eval()
    sums = {name: torch.zeros_like(parameter) for name, parameter in wanted.items()}
    for row in range(N_EXAMPLES):
        logits = model(**cut(data.tokens, [row], torch.device("cpu")).inputs).logits
        if data.task.kind == "classification":
            value = logits.log_softmax(1)[0, labels[row]]
        else:
            value = torch.distributions.Normal(logits[0, 0], 1.0).log_prob(torch.as_tensor(labels[row]))
        for name, gradient in zip(wanted, torch.autograd.grad(value, list(wanted.values())), strict=True):
            sums[name] += gradient.square()
    for parameter in wanted.values():
        parameter.requires_grad_(False)
    return {name: (total / N_EXAMPLES).numpy() for name, total in sums.items()}


def take(model, data, kind: Literal["empirical", "sampled"], *, n_draws: int = 1, seed: int = 5):
    rows = np.arange(N_EXAMPLES)
    return fisher.information(
        model, data, rows, kind=kind, seed=seed, n_draws=n_draws, device=torch.device("cpu")
    )  # fmt: skip


def test_weights_equal_a_loop_over_single_examples(case, monkeypatch) -> None:
    model, data = case
    monkeypatch.setattr(fisher, "TOKENS_PER_BATCH", 20)
    found = take(model, data, "empirical")
    expected = by_hand(model, data, data.model_targets())
    for layer in range(2):
        for part, module in (("adapter_down", "adapter_down.0"), ("adapter_up", "adapter_up")):
            mine = next(name for name in expected if f"layer.{layer}." in name and name.endswith(f"{module}.weight"))
            whole = np.concatenate([expected[mine].ravel(), expected[mine.replace("weight", "bias")]])
            np.testing.assert_allclose(found[f"layer_{layer}.{part}"], whole, rtol=1e-3, atol=1e-9)
            assert whole.max() > 0


# Components of layer 0 (or of all layers) besides the outputs, by kind.
OWN = {
    "seq_bn": {"layer_0.adapter_down", "layer_0.adapter_up"},
    "double_seq_bn": {f"layer_0.{place}adapter_{part}" for place in ("", "attention_") for part in ("down", "up")},
    "prefix_tuning": {"prefix"},
    "prompt_tuning": {"prompt"},
    "compacter": {"layer_0.compacter", "compacter_shared"},
    "lora": {"layer_0.lora"},
}


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
@pytest.mark.parametrize("task_kind", ["classification", "regression"])
def test_every_kind_has_all_of_its_weights_and_the_outputs(kind: AdapterKind, task_kind: Kind) -> None:
    model, data = made(task_kind, Adapter(kind=kind, reduction_factor=4 if kind == "compacter" else None))
    expected = by_hand(model, data, data.model_targets())
    found = take(model, data, "empirical")
    outputs = {f"layer_{layer}.{part}_output" for layer in range(2) for part in ("attention", "feed_forward")}
    assert outputs < set(found)
    assert {name for name in set(found) - outputs if not name.startswith("layer_1")} == OWN[kind]
    weights = np.concatenate([found[name] for name in found if name not in outputs])
    # The test above checks the order of values; here none is lost, added or counted twice.
    whole = np.concatenate([value.ravel() for value in expected.values()])
    np.testing.assert_allclose(np.sort(weights), np.sort(whole), rtol=1e-3, atol=1e-9)
    assert whole.max() > 0
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(
        np.isfinite(vector).all() and vector.max() > 0 for vector in take(model, data, "sampled", n_draws=2).values()
    )


def test_an_output_is_as_a_bias_added_to_it(case) -> None:
    model, data = case
    found = take(model, data, "empirical")["layer_1.attention_output"]
    module = fisher.components(model)["layer_1.attention_output"]
    shift = torch.zeros(found.shape, requires_grad=True)
    handle = module.register_forward_hook(lambda _module, _given, made: made + shift)
    total = torch.zeros_like(shift)
    targets = torch.from_numpy(data.model_targets())
    for row in range(N_EXAMPLES):
        logits = model(**cut(data.tokens, [row], torch.device("cpu")).inputs).logits
        value = fisher.log_likelihood(logits, targets[row : row + 1], classification=len(data.task.labels) > 0)
        total += torch.autograd.grad(value, shift)[0].square()
    handle.remove()
    np.testing.assert_allclose(found, (total / N_EXAMPLES).numpy(), rtol=1e-3, atol=1e-9)


def test_components_are_four_per_layer(case) -> None:
    model, data = case
    parts = ("adapter_down", "adapter_up", "attention_output", "feed_forward_output")
    assert set(take(model, data, "empirical")) == {f"layer_{layer}.{part}" for layer in range(2) for part in parts}


def test_sampled_labels_are_a_function_of_the_seed_and_the_example(case) -> None:
    model, data = case
    first, again, other = (take(model, data, "sampled", n_draws=2, seed=seed) for seed in (5, 5, 6))
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
