"""The bottleneck of an adapter (down, activation, up), of one cell or of several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

# What the library computes for each `non_linearity`.
ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """The weights of one layer's adapters. A weight is (n_cells, n_out, n_in), a bias (n_cells, n_out)."""

    down_weight: torch.Tensor
    down_bias: torch.Tensor
    up_weight: torch.Tensor
    up_bias: torch.Tensor
    non_linearity: str

    def inside(self, values: torch.Tensor) -> torch.Tensor:
        """Values (n_cells * n, hidden) -> (n_cells * n, width of the bottleneck), after the activation."""
        return ACTIVATIONS[self.non_linearity](linear(values, self.down_weight, self.down_bias))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """What the adapters add to values (n_cells * n, hidden), of the same shape."""
        return linear(self.inside(values), self.up_weight, self.up_bias)


def linear(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Each cell's own linear map of its rows.

    values: (n_cells * n, n_in), weight: (n_cells, n_out, n_in), bias: (n_cells, n_out) -> (n_cells * n, n_out).
    """
    if len(weight) == 1:
        return functional.linear(values, weight[0], bias[0])
    rows = values.reshape(len(weight), -1, values.shape[-1])
    return torch.baddbmm(bias[:, None, :], rows, weight.transpose(1, 2)).flatten(0, 1)


def product(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`linear` without a bias."""
    if len(weight) == 1:
        return functional.linear(values, weight[0])
    return torch.bmm(values.reshape(len(weight), -1, values.shape[-1]), weight.transpose(1, 2)).flatten(0, 1)
