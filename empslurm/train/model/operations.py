"""What a frozen layer does besides its products: attention with dropped weights, and norms of sums.

A GPU is short of memory traffic and of launches here, not of arithmetic: so it gets kernels that do each in one go
(`kernels`), where Triton works. Elsewhere it is done by torch's own operations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from empslurm.train.model import dropout
from empslurm.train.model.bottleneck import Bottleneck
from empslurm.train.model.padding import Layout

Mask = Callable[[torch.dtype], torch.Tensor]  # factors 0 or 1 / (1 - rate) of one cell, the same for every other one


@dataclass(frozen=True, kw_only=True)
class Values:
    """A layer's values (n_cells * n_tokens, hidden), as what is added needs them and as products need them.

    wide: float32. narrow: the same in the products' precision; it may be the same tensor.
    """

    wide: torch.Tensor
    narrow: torch.Tensor


class Operations(Protocol):
    """What a layer asks for."""

    def attention(self, projected: torch.Tensor, layout: Layout, mask: Mask | None) -> torch.Tensor:
        """Query, key and value (n_cells * n_tokens, 3 * hidden) -> what attention mixes, (n_cells * n_tokens, hidden).

        mask: of the weights (n_rows, n_heads, length, length); one serves every cell. None: nothing is dropped.
        """

    def normed(
        self, output: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, mask: Mask | None = None
    ) -> Values:
        """The norm of `output`, dropped, plus `residual`; mask: of (n_tokens, hidden)."""

    def adapted(
        self,
        output: torch.Tensor,
        residual: torch.Tensor,
        norm: nn.LayerNorm,
        adapters: Sequence[Bottleneck],
        mask: Mask | None = None,
    ) -> Values:
        """The norm of `output`, dropped, plus what the adapters add to it, plus `residual`.

        Each adapter is given the norm of the sum so far. Where a mask is given, output is (n_cells * n_tokens, hidden).
        """

    def factors(self, words: torch.Tensor, n_features: int, dropped: int, dtype: torch.dtype) -> torch.Tensor:
        """As `dropout.factors`, bit for bit."""


class Plain:
    """By torch's own operations, on any device."""

    def attention(self, projected: torch.Tensor, layout: Layout, mask: Mask | None) -> torch.Tensor:
        """As in `Operations`.

        Fused attention draws its own mask, which cells could not share; so where attention weights are dropped the
        scores are written out, and everywhere else (rate 0, evaluation) the fused kernel is used.
        """
        query, key, value = layout.spread(projected)
        bias = layout.bias
        if mask is None:
            bias = None if bias is None else bias.to(query.dtype)
            return layout.collect(functional.scaled_dot_product_attention(query, key, value, attn_mask=bias))
        weights = functional.softmax(_scores(query, key, bias), dim=-1)
        weights = dropped(weights, mask(weights.dtype))
        return layout.collect(torch.matmul(weights.to(value.dtype), value))

    def normed(
        self, output: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, mask: Mask | None = None
    ) -> Values:
        """As in `Operations`."""
        if mask is not None:
            output = dropped(output, mask(output.dtype))
        values: torch.Tensor = norm(output + residual)
        return Values(wide=values, narrow=values)

    def adapted(
        self,
        output: torch.Tensor,
        residual: torch.Tensor,
        norm: nn.LayerNorm,
        adapters: Sequence[Bottleneck],
        mask: Mask | None = None,
    ) -> Values:
        """As in `Operations`."""
        if mask is not None:
            output = dropped(output, mask(output.dtype))
        for adapter in adapters:
            output = output + adapter(self.normed(output, residual, norm).narrow)
        return self.normed(output, residual, norm)

    factors = staticmethod(dropout.factors)


def dropped(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Values (n_cells * n, ...) times a mask (n, ...): one mask serves every cell."""
    return (values.view(-1, *mask.shape) * mask).view(values.shape)


def _scores(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Scaled products (n, n_heads, length, length), bias added, in one pass: no scaled query to keep for backward.

    query, key: (n, n_heads, length, width). bias: (n, 1, 1, length).
    """
    n, n_heads, length, width = query.shape
    added = query.new_zeros(1) if bias is None else bias.expand(n, n_heads, 1, length).reshape(-1, 1, length)
    scores = torch.baddbmm(added, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=width**-0.5)
    return scores.view(n, n_heads, length, length)


def operations(device: torch.device, *, bf16: bool) -> Operations:
    """The best that work there."""
    return _fused(bf16=bf16) if device.type == "cuda" else Plain()


@cache
def _fused(*, bf16: bool) -> Operations:
    """Kernels of our own, tried once: Triton builds them with a C compiler, which some nodes lack."""
    try:
        from empslurm.train.model.kernels import Fused

        fused = Fused(torch.bfloat16 if bf16 else torch.float32)
        fused.try_out(torch.device("cuda"))
        return fused
    except Exception as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        warnings.warn(
            f"training goes on without the fused kernels, and slower: Triton must build them, but {reason[0]}; "
            "see that triton is installed and the node has a C compiler (gcc)",
            stacklevel=1,
        )
        return Plain()
