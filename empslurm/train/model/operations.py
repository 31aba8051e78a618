"""What a frozen layer does besides its products: attention with dropped weights, and norms of sums.

On a GPU, memory traffic and kernel launches limit these, not arithmetic. So fused kernels do each in one launch
(`kernels`) where Triton works; elsewhere torch's own operations do.
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
from empslurm.train.model.positions import ABSOLUTE, Positions

Mask = Callable[[torch.dtype], torch.Tensor]  # factors 0 or 1 / (1 - rate), the same for every cell


@dataclass(frozen=True, kw_only=True)
class Values:
    """A layer's values (n_cells * n_tokens, hidden) in two precisions.

    wide: float32, for sums. narrow: in the precision of the products; it may be the same tensor.
    """

    wide: torch.Tensor
    narrow: torch.Tensor


class Operations(Protocol):
    """The operations that a layer needs."""

    def attention(
        self, projected: torch.Tensor, layout: Layout, mask: Mask | None, positions: Positions = ABSOLUTE
    ) -> torch.Tensor:
        """Attention over query, key and value (n_cells * n_tokens, 3 * hidden) -> (n_cells * n_tokens, hidden).

        mask: of the weights (n_rows, n_heads, length, length), shared by all cells. None: no dropout.
        """

    def normed(self, output: torch.Tensor, residual: torch.Tensor, norm: nn.Module, mask: Mask | None = None) -> Values:
        """The norm of (`output` after dropout + `residual`). mask: (n_tokens, hidden). norm: nn.Identity for none."""

    def adapted(
        self,
        output: torch.Tensor,
        residual: torch.Tensor,
        norm: nn.Module,
        adapters: Sequence[Bottleneck],
        mask: Mask | None = None,
    ) -> Values:
        """The norm of (`output` after dropout + what the adapters add + `residual`).

        Each adapter gets the norm of the sum so far. With a mask, output is (n_cells * n_tokens, hidden).
        """

    def factors(self, words: torch.Tensor, n_features: int, dropped: int, dtype: torch.dtype) -> torch.Tensor:
        """As `dropout.factors`, bit for bit."""


class Plain:
    """`Operations` by torch's own functions, on any device."""

    def attention(
        self, projected: torch.Tensor, layout: Layout, mask: Mask | None, positions: Positions = ABSOLUTE
    ) -> torch.Tensor:
        """As in `Operations`.

        With dropout of attention weights, the scores are computed explicitly, since torch's fused attention would draw
        its own mask. Without it (rate 0, evaluation) the fused attention is used.
        """
        query, key, value = layout.spread(projected)
        query, key = positions.turned(query), positions.turned(key)
        hidden, between = layout.bias, positions.bias(layout.batch.shape[1])
        if mask is None and positions.plain:
            bias = hidden if between is None else between if hidden is None else hidden + between
            bias = None if bias is None else bias.to(query.dtype)
            return layout.collect(functional.scaled_dot_product_attention(query, key, value, attn_mask=bias))
        scores = _scores(query, key, hidden, positions)
        weights = functional.softmax(scores if between is None else scores + between, dim=-1)
        if mask is not None:
            weights = dropped(weights, mask(weights.dtype))
        return layout.collect(torch.matmul(weights.to(value.dtype), value))

    def normed(self, output: torch.Tensor, residual: torch.Tensor, norm: nn.Module, mask: Mask | None = None) -> Values:
        """As in `Operations`."""
        if mask is not None:
            output = dropped(output, mask(output.dtype))
        values: torch.Tensor = norm(output + residual)
        return Values(wide=values, narrow=values)

    def adapted(
        self,
        output: torch.Tensor,
        residual: torch.Tensor,
        norm: nn.Module,
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
    """Values (n_cells * n, ...) times a mask (n, ...) that all cells share."""
    return (values.view(-1, *mask.shape) * mask).view(values.shape)


def _scores(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None, positions: Positions) -> torch.Tensor:
    """Scaled products (n, n_heads, length, length) plus bias, in one call: no scaled query is kept for backward.

    query, key: (n, n_heads, length, width). bias: (n, 1, 1, length).
    """
    n, n_heads, length, width = query.shape
    scale = (width * positions.n_terms) ** -0.5
    added = query.new_zeros(1) if bias is None else bias.expand(n, n_heads, 1, length).reshape(-1, 1, length)
    scores = torch.baddbmm(added, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scale)
    terms = positions.terms(query, key)
    scores = scores.view(n, n_heads, length, length)
    return scores if terms is None else torch.add(scores, terms, alpha=scale)


def operations(device: torch.device, *, bf16: bool) -> Operations:
    """The fastest operations that work on a device."""
    return _fused(bf16=bf16) if device.type == "cuda" else Plain()


@cache
def _fused(*, bf16: bool) -> Operations:
    """Our fused kernels, tried once: Triton builds them with a C compiler, which some nodes lack."""
    try:
        from empslurm.train.model.kernels import Fused

        fused = Fused(torch.bfloat16 if bf16 else torch.float32)
        fused.try_out(torch.device("cuda"))
        return fused
    except Exception as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        warnings.warn(
            f"Triton must build the fused kernels, but cannot: {reason[0]}; training continues, but slower; install "
            "triton, and a C compiler (gcc) on the node, to use them",
            stacklevel=1,
        )
        return Plain()
