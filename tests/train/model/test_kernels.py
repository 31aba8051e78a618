"""The GPU's own kernels compute what torch's operations do. Here Triton interprets them, where it is installed."""

import os

import pytest
import torch
from torch import nn

os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="the kernels are checked where triton is installed: pip install triton")

from empslurm.train.data.batch import cut_here
from empslurm.train.model import kernels
from empslurm.train.model.bottleneck import Bottleneck
from empslurm.train.model.dropout import LEVELS, Masks, factors, step_key
from empslurm.train.model.kernels import Fused
from empslurm.train.model.operations import Plain
from empslurm.train.model.padding import Layout
from tests.train.world import invented_data

N_CELLS, N_HEADS, WIDTH = 2, 2, 4
HIDDEN = N_HEADS * WIDTH
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.fixture(params=[True, False], ids=["even", "as it is"])
def layout(request):
    made = cut_here(invented_data().tokens, [1, 2, 3], even=request.param)
    return Layout(batch=made.on(torch.device("cpu")), n_heads=N_HEADS).of(N_CELLS)


def mask(shape, batch=None):
    masks = Masks(step_key(1, 2), torch.arange(shape[0] if batch is None else batch.shape[0]))
    return lambda dtype: masks("site", shape, 0.3, dtype, batch)


def gradients(made, inputs, seed=0):
    """The gradients of a random combination of all outputs."""
    generator = torch.Generator().manual_seed(seed)
    total = sum((one.float() * torch.randn(one.shape, generator=generator)).sum() for one in made)
    return torch.autograd.grad(total, inputs)


def alike(ours, theirs, dtype):
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.float(), two.float(), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("dropped", [True, False])
def test_a_norm_of_a_dropped_sum(layout, dtype, dropped):
    torch.manual_seed(0)
    n = N_CELLS * layout.n_tokens
    output = torch.randn(n, HIDDEN).to(dtype).requires_grad_()
    residual = torch.randn(n, HIDDEN, requires_grad=True)
    norm = nn.LayerNorm(HIDDEN).requires_grad_(False)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    factors = mask((layout.n_tokens, HIDDEN), layout.batch) if dropped else None
    made = []
    for operations in (Fused(dtype), Plain()):
        values = operations.normed(output, residual, norm, factors)
        both = (values.wide, values.narrow)
        made.append([*both, *gradients(both, (output, residual))])
    assert (made[0][0] is made[0][1]) == (dtype == torch.float32)
    ours, theirs = made
    alike(ours, theirs, dtype)


def bottleneck(dtype, n_cells):
    """Of random weights, in float32 for what trains them, and the weights."""
    shapes = {"down_weight": (4, HIDDEN), "down_bias": (4,), "up_weight": (HIDDEN, 4), "up_bias": (HIDDEN,)}
    weights = {name: (0.3 * torch.randn(n_cells, *shape)).requires_grad_() for name, shape in shapes.items()}
    layers = {name: torch.stack([value, value, value], 1).to(dtype) for name, value in weights.items()}
    cast = {name: value[:, 1] for name, value in layers.items()}  # a slice, as of a bank of several layers
    return Bottleneck(**cast, non_linearity="gelu"), list(weights.values())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n_cells", [1, N_CELLS])
@pytest.mark.parametrize("n_adapters", [1, 2])
@pytest.mark.parametrize("below_trains", [True, False])
def test_adapters_one_upon_the_other(layout, dtype, n_cells, n_adapters, below_trains):
    torch.manual_seed(0)
    n = n_cells * layout.n_tokens
    output, residual = torch.randn(n, HIDDEN).to(dtype), torch.randn(n, HIDDEN)
    inputs = [each.requires_grad_() for each in (output, residual)] if below_trains else []
    norm = nn.LayerNorm(HIDDEN).requires_grad_(False)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    adapters = [bottleneck(dtype, n_cells) for _ in range(n_adapters)]
    inputs += [weight for _, weights in adapters for weight in weights]
    factors = mask((layout.n_tokens, HIDDEN), layout.batch) if below_trains else None
    made = []
    for operations in (Fused(dtype), Plain()):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            values = operations.adapted(output, residual, norm, [adapter for adapter, _ in adapters], factors)
        both = (values.wide, values.narrow)
        made.append([*both, *gradients(both, inputs)])
    for ours, theirs in zip(*made, strict=True):
        assert (ours - theirs).float().norm() <= TOLERANCE[dtype] * theirs.float().norm()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n_features", [1, 3, 8, 30])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_factors_are_the_same_bits(dtype, n_features, rate):
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(-(2**62), 2**62, (3, 70), generator=generator) * 2
    dropped = round(rate * LEVELS)
    ours, theirs = (make(words, n_features, dropped, dtype) for make in (Fused(dtype).factors, factors))
    assert torch.equal(ours, theirs)
    assert 0 < (theirs == 0).sum() < theirs.numel()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_attention_with_dropped_weights(layout, dtype):
    torch.manual_seed(0)
    n_rows, length = layout.batch.shape
    projected = torch.randn(N_CELLS * layout.n_tokens, 3 * HIDDEN).to(dtype).requires_grad_()
    factors = mask((n_rows, N_HEADS, length, length))
    made = []
    for operations in (Fused(dtype), Plain()):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            mixed = operations.attention(projected, layout, factors)
        made.append([mixed, *gradients([mixed], [projected])])
    ours, theirs = made
    alike(ours, theirs, dtype)


def test_attention_without_dropped_weights(layout):
    projected = torch.randn(N_CELLS * layout.n_tokens, 3 * HIDDEN)
    ours, theirs = (operations.attention(projected, layout, None) for operations in (Fused(torch.float32), Plain()))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_trying_out_builds_every_kernel_in_both_directions(dtype, monkeypatch):
    used: set[str] = set()
    for name in dir(kernels):
        made = getattr(kernels, name)
        if name.startswith("_") and hasattr(made, "arg_names") and name not in ("_summed", "_mixed"):
            monkeypatch.setattr(kernels, name, Told(made, name, used))
    Fused(dtype).try_out(torch.device("cpu"))
    assert used == {
        "_factors", "_norm_forward", "_norm_backward",
        "_to_heads", "_from_heads", "_weights_forward", "_weights_backward",
    }  # fmt: skip


class Told:
    """A kernel that records its launches."""

    def __init__(self, kernel, name, used):
        self.kernel, self.name, self.used = kernel, name, used

    def __getitem__(self, grid):
        self.used.add(self.name)
        return self.kernel[grid]
