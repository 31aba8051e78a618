"""GPU kernels in Triton: norms of sums and attention with dropped weights, each with its gradient; dropout masks.

Each reads its operands once and writes its results once. They round as `operations.Plain` does: sums, norms and
softmax in float32, products and the values between them in the products' precision. Cells share one mask.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import nn

from empslurm.train.data.batch import Cut
from empslurm.train.model import dropout
from empslurm.train.model.bottleneck import Bottleneck, product
from empslurm.train.model.operations import Mask, Plain, Values
from empslurm.train.model.padding import Layout
from empslurm.train.model.positions import ABSOLUTE, Positions

# Warps per program, and values per program: the fastest on an H200.
N_WARPS = 4
NORM_WARPS = 2
WEIGHTS_VALUES, FORWARD_WARPS, BACKWARD_WARPS = 512, 1, 2
FACTORS_VALUES = 2048
LOWEST: tl.constexpr = tl.constexpr(-3.4e38)
STEP, MULTIPLIER_1, MULTIPLIER_2 = (tl.constexpr(each) for each in (dropout.GOLDEN, dropout.MIX_1, dropout.MIX_2))
# Numbers that differ between batches: Triton must not build a kernel again when their divisibility changes.
VARYING = ["n", "n_tokens", "n_slots", "length", "n_per_row", "n_rows", "n_mask"]


# ---- norms ----------------------------------------------------------------------------------------------------------


@triton.jit
def _summed(
    output, mask, bias, residual, row, columns, there, n_tokens, bias_step, width,
    DROPPED: tl.constexpr, BIASED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A row of output after dropout, plus its cell's bias, plus residual, in float32: (BLOCK,)."""
    at = row * width + columns
    values = tl.load(output + at, mask=there, other=0.0)
    if DROPPED:
        factors = tl.load(mask + (row % n_tokens) * width + columns, mask=there, other=0.0).to(tl.float32)
        values = (values.to(tl.float32) * factors).to(output.dtype.element_ty)
    values = values.to(tl.float32)
    if BIASED:
        values += tl.load(bias + (row // n_tokens) * bias_step + columns, mask=there, other=0.0).to(tl.float32)
    return values + tl.load(residual + at, mask=there, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=VARYING[1:2])
def _norm_forward(
    output, mask, bias, residual, weight, shift, total, wide, narrow, n_tokens, bias_step, width, eps,
    DROPPED: tl.constexpr, BIASED: tl.constexpr, TOTAL: tl.constexpr, WIDE: tl.constexpr, NARROW: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    there = columns < width
    values = _summed(
        output, mask, bias, residual, row, columns, there, n_tokens, bias_step, width, DROPPED, BIASED, BLOCK
    )
    if TOTAL:
        tl.store(total + row * width + columns, values, mask=there)
    centred = tl.where(there, values - tl.sum(values, 0) / width, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    scaled = centred * scale * tl.load(weight + columns, mask=there, other=0.0)
    scaled += tl.load(shift + columns, mask=there, other=0.0)
    if WIDE:
        tl.store(wide + row * width + columns, scaled, mask=there)
    if NARROW:
        tl.store(narrow + row * width + columns, scaled.to(narrow.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=VARYING[1:2])
def _norm_backward(
    output, mask, bias, residual, weight, of_total, of_wide, of_narrow, of_output, of_residual, n_tokens, bias_step,
    width, eps,
    KEPT: tl.constexpr, DROPPED: tl.constexpr, BIASED: tl.constexpr, TOTAL: tl.constexpr, WIDE: tl.constexpr,
    NARROW: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """KEPT: `residual` is the sum itself; `output` and `bias` are not read."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    there = columns < width
    at = row * width + columns
    if KEPT:
        values = tl.load(residual + at, mask=there, other=0.0)
    else:
        values = _summed(
            output, mask, bias, residual, row, columns, there, n_tokens, bias_step, width, DROPPED, BIASED, BLOCK
        )
    centred = tl.where(there, values - tl.sum(values, 0) / width, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    normed = centred * scale
    gradient = tl.zeros_like(values)
    if WIDE:
        gradient += tl.load(of_wide + at, mask=there, other=0.0).to(tl.float32)
    if NARROW:
        gradient += tl.load(of_narrow + at, mask=there, other=0.0).to(tl.float32)
    gradient *= tl.load(weight + columns, mask=there, other=0.0)
    slope = tl.sum(gradient * normed, 0) / width
    gradient = (gradient - normed * slope - tl.sum(gradient, 0) / width) * scale
    if TOTAL:
        gradient += tl.load(of_total + at, mask=there, other=0.0)
    if RESIDUAL:
        tl.store(of_residual + at, gradient.to(of_residual.dtype.element_ty), mask=there)
    if DROPPED:
        gradient *= tl.load(mask + (row % n_tokens) * width + columns, mask=there, other=0.0).to(tl.float32)
    tl.store(of_output + at, gradient.to(of_output.dtype.element_ty), mask=there)


class _Norm(torch.autograd.Function):
    """(total, wide, narrow): the sum of output (n, width) after dropout, bias and residual (n, width), and its norm.

    mask: (n_tokens, width) or None. bias: (n_cells, width) or None; it may be a slice with a row stride. total: the sum
    in float32, if wanted. narrow: the norm in its type, None for float32. wide: the norm in float32, if wanted or if
    `narrow` is None.
    """

    @staticmethod
    def forward(
        ctx: Any, output, mask, bias, residual, weight, shift, eps, narrow_type, wants_total, wants_wide
    ) -> Any:
        n, width = output.shape
        plain = narrow_type == torch.float32
        total = output.new_empty(n, width, dtype=torch.float32) if wants_total else None
        wide = output.new_empty(n, width, dtype=torch.float32) if wants_wide or plain else None
        narrow = None if plain else output.new_empty(n, width, dtype=narrow_type)
        n_tokens = len(mask) if mask is not None else n if bias is None else n // len(bias)
        _norm_forward[(n,)](
            output, _or(mask, output), _or(bias, output), residual, weight, shift, _or(total, output),
            _or(wide, output), _or(narrow, output), n_tokens, _step(bias), width, eps,
            DROPPED=mask is not None, BIASED=bias is not None, TOTAL=total is not None, WIDE=wide is not None,
            NARROW=narrow is not None, BLOCK=_block(width), num_warps=NORM_WARPS,
        )  # fmt: skip
        if total is None:
            ctx.save_for_backward(output, mask, bias, residual, weight)
        else:
            ctx.save_for_backward(None, mask, None, total, weight)
        ctx.eps, ctx.n_tokens, ctx.output_type, ctx.residual_type = eps, n_tokens, output.dtype, residual.dtype
        ctx.n_cells = None if bias is None else len(bias)
        ctx.set_materialize_grads(False)
        return total, wide, narrow

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        output, mask, bias, residual, weight = ctx.saved_tensors
        of_total, of_wide, of_narrow = (None if each is None else each.contiguous() for each in gradients)
        of_output = torch.empty_like(residual, dtype=ctx.output_type)
        of_residual = torch.empty_like(residual, dtype=ctx.residual_type) if ctx.needs_input_grad[3] else None
        n, width = residual.shape
        _norm_backward[(n,)](
            _or(output, residual), _or(mask, residual), _or(bias, residual), residual, weight,
            _or(of_total, residual), _or(of_wide, residual), _or(of_narrow, residual), of_output,
            _or(of_residual, residual), ctx.n_tokens, _step(bias), width, ctx.eps,
            KEPT=output is None, DROPPED=mask is not None, BIASED=bias is not None, TOTAL=of_total is not None,
            WIDE=of_wide is not None, NARROW=of_narrow is not None, RESIDUAL=of_residual is not None,
            BLOCK=_block(width), num_warps=NORM_WARPS,
        )  # fmt: skip
        of_bias = _sums(of_output, ctx.n_cells) if ctx.needs_input_grad[2] else None
        return of_output, None, of_bias, of_residual, None, None, None, None, None, None


def _sums(values: torch.Tensor, n_cells: int) -> torch.Tensor:
    """Sum each cell's rows, (n_cells * n, width) -> (n_cells, width), by a product: torch's sum is slower."""
    rows = values.view(n_cells, -1, values.shape[1])
    return torch.bmm(rows.new_ones(n_cells, 1, rows.shape[1]), rows)[:, 0]


# ---- masks ----------------------------------------------------------------------------------------------------------


@triton.jit
def _mixed(words):
    """As `dropout.mix`."""
    words = (words ^ ((words >> 30) & 0x3FFFFFFFF)) * MULTIPLIER_1
    words = (words ^ ((words >> 27) & 0x1FFFFFFFFF)) * MULTIPLIER_2
    return words ^ ((words >> 31) & 0x1FFFFFFFF)


@triton.jit(do_not_specialize=["n", "n_features", "dropped"])
def _factors(words, factors, n, n_features, dropped, kept, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Rows of factors (n, n_features), 0 or `kept`, each from one word."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    there = (row < n) & (columns < n_features)
    word = _mixed(tl.load(words + row, mask=row < n, other=0) + (columns // 4) * STEP)
    level = ((word >> ((columns % 4) * 16)) & 0xFFFF) ^ 0x8000  # a signed lane plus 32768
    values = tl.where(level >= dropped, kept, 0.0)
    tl.store(factors + row * n_features + columns, values.to(factors.dtype.element_ty), mask=there)


# ---- attention ------------------------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=VARYING[1:4])
def _to_heads(
    values, tokens, first, second, third, n_tokens, n_slots, n_heads, length, width,
    N_PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Tokens (n, N_PARTS * hidden) to parts (n_rows, n_heads, length, width) each; padding gets zeros."""
    slot = tl.program_id(0).to(tl.int64)
    token = tl.load(tokens + slot % n_slots)
    columns = tl.arange(0, BLOCK)
    hidden = n_heads * width
    there = columns < hidden
    source = values + ((slot // n_slots) * n_tokens + token) * (N_PARTS * hidden)
    row = (slot // length) * n_heads + columns // width
    target = (row * length + slot % length) * width + columns % width
    for part in tl.static_range(N_PARTS):
        value = tl.load(source + part * hidden + columns, mask=there & (token >= 0), other=0.0)
        goal = first if part == 0 else (second if part == 1 else third)
        tl.store(goal + target, value, mask=there)


@triton.jit(do_not_specialize=VARYING[1:4])
def _from_heads(
    first, second, third, places, values, n_tokens, n_slots, n_heads, length, width,
    N_PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The inverse of `_to_heads`: (n, N_PARTS * hidden), without padding."""
    token = tl.program_id(0).to(tl.int64)
    slot = (token // n_tokens) * n_slots + tl.load(places + token % n_tokens)
    columns = tl.arange(0, BLOCK)
    hidden = n_heads * width
    there = columns < hidden
    row = (slot // length) * n_heads + columns // width
    source = (row * length + slot % length) * width + columns % width
    for part in tl.static_range(N_PARTS):
        origin = first if part == 0 else (second if part == 1 else third)
        value = tl.load(origin + source, mask=there, other=0.0)
        tl.store(values + token * (N_PARTS * hidden) + part * hidden + columns, value, mask=there)


@triton.jit(do_not_specialize=VARYING)
def _weights_forward(
    scores, hidden, mask, weights, kept, n, length, n_per_row, n_rows, n_mask,
    HIDDEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows of the softmax of the scores (n, length), padding hidden, before and after dropout."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]  # 32 bits: 64-bit division is slow
    columns = tl.arange(0, BLOCK)[None, :]
    there = (row < n) & (columns < length)
    at = row.to(tl.int64) * length + columns
    values = tl.load(scores + at, mask=there, other=LOWEST).to(tl.float32)
    if HIDDEN:
        values += tl.load(hidden + ((row // n_per_row) % n_rows) * length + columns, mask=there, other=0.0)
    values = tl.where(there, tl.exp(values - tl.max(values, 1)[:, None]), 0.0)
    values = values / tl.maximum(tl.sum(values, 1)[:, None], 1e-30)
    factors = tl.load(mask + (row % n_mask) * length + columns, mask=there, other=0.0).to(tl.float32)
    tl.store(weights + at, values.to(weights.dtype.element_ty), mask=there)
    tl.store(kept + at, (values * factors).to(kept.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=VARYING)
def _weights_backward(
    weights, mask, of_kept, of_scores, kept, n, length, n_mask, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """The gradient of the scores; recomputes the weights after dropout."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, BLOCK)[None, :]
    there = (row < n) & (columns < length)
    at = row.to(tl.int64) * length + columns
    values = tl.load(weights + at, mask=there, other=0.0).to(tl.float32)
    factors = tl.load(mask + (row % n_mask) * length + columns, mask=there, other=0.0).to(tl.float32)
    gradient = tl.load(of_kept + at, mask=there, other=0.0).to(tl.float32) * factors
    gradient = values * (gradient - tl.sum(values * gradient, 1)[:, None])
    tl.store(of_scores + at, gradient.to(of_scores.dtype.element_ty), mask=there)
    tl.store(kept + at, (values * factors).to(kept.dtype.element_ty), mask=there)


class _Attention(torch.autograd.Function):
    """`Operations.attention` with a mask.

    Products (n, length, ...) are torch's; their gradients are explicit, so that none is transposed in memory.
    """

    @staticmethod
    def forward(ctx: Any, projected, layout: Layout, mask) -> Any:
        query, key, value = _heads_of(projected, layout, 3)
        scale = query.shape[-1] ** -0.5
        scores = _product(query, key.transpose(1, 2), scale)
        weights, kept = torch.empty_like(scores), torch.empty_like(scores)
        length = scores.shape[-1]
        hidden = layout.hidden if layout.batch.padded else None
        n, block = scores.numel() // length, max(16, _block(length))
        rows = max(1, WEIGHTS_VALUES // block)
        _weights_forward[(triton.cdiv(n, rows),)](
            scores, _or(hidden, scores), mask, weights, kept, n, length, layout.n_heads * length,
            layout.batch.shape[0], mask.numel() // length,
            HIDDEN=hidden is not None, ROWS=rows, BLOCK=block, num_warps=FORWARD_WARPS,
        )  # fmt: skip
        ctx.save_for_backward(query, key, value, weights, mask)
        ctx.layout, ctx.scale = layout, scale
        return _tokens_of([torch.bmm(kept, value)], layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, weights, mask = ctx.saved_tensors
        (of_mixed,) = _heads_of(gradients[0].contiguous(), ctx.layout, 1)
        of_kept = torch.bmm(of_mixed, value.transpose(1, 2))
        kept, length = torch.empty_like(weights), weights.shape[-1]
        n, block = weights.numel() // length, max(16, _block(length))
        rows = max(1, WEIGHTS_VALUES // block)
        _weights_backward[(triton.cdiv(n, rows),)](
            weights, mask, of_kept, of_kept, kept, n, length, mask.numel() // length,
            ROWS=rows, BLOCK=block, num_warps=BACKWARD_WARPS,
        )  # fmt: skip
        of_value = torch.bmm(kept.transpose(1, 2), of_mixed)
        of_query = _product(of_kept, key, ctx.scale)
        of_key = _product(of_kept.transpose(1, 2), query, ctx.scale)
        return _tokens_of([of_query, of_key, of_value], ctx.layout), None, None


def _product(first: torch.Tensor, second: torch.Tensor, scale: float) -> torch.Tensor:
    """scale * first @ second, in one kernel."""
    return torch.baddbmm(first.new_empty(1), first, second, beta=0, alpha=scale)


def _heads_of(values: torch.Tensor, layout: Layout, n_parts: int) -> list[torch.Tensor]:
    """(n_cells * n_tokens, n_parts * hidden) -> n_parts times (n_cells * n_rows * n_heads, length, width)."""
    n_rows, length = layout.batch.shape
    hidden = values.shape[1] // n_parts
    width, n_slots = hidden // layout.n_heads, n_rows * length
    room = values.new_empty(n_parts, layout.n_cells * n_rows * layout.n_heads, length, width)
    _to_heads[(layout.n_cells * n_slots,)](
        values, layout.tokens, room[0], room[min(1, n_parts - 1)], room[n_parts - 1],
        layout.n_tokens, n_slots, layout.n_heads, length, width,
        N_PARTS=n_parts, BLOCK=_block(hidden), num_warps=N_WARPS,
    )  # fmt: skip
    return list(room.unbind())


def _tokens_of(parts: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """The inverse of `_heads_of`."""
    n_rows, length = layout.batch.shape
    width = parts[0].shape[-1]
    hidden = layout.n_heads * width
    tokens = parts[0].new_empty(layout.n_cells * layout.n_tokens, len(parts) * hidden)
    _from_heads[(len(tokens),)](
        parts[0], parts[min(1, len(parts) - 1)], parts[-1], layout.places, tokens,
        layout.n_tokens, n_rows * length, layout.n_heads, length, width,
        N_PARTS=len(parts), BLOCK=_block(hidden), num_warps=N_WARPS,
    )  # fmt: skip
    return tokens


# ---- as the encoder uses them ---------------------------------------------------------------------------------------


class Fused(Plain):
    """`Operations` by these kernels; attention without dropout is torch's."""

    def __init__(self, narrow: torch.dtype) -> None:
        self.narrow = narrow

    def attention(
        self, projected: torch.Tensor, layout: Layout, mask: Mask | None, positions: Positions = ABSOLUTE
    ) -> torch.Tensor:
        """As in `Operations`; the kernels know absolute positions only."""
        if mask is None or positions is not ABSOLUTE:
            return super().attention(projected, layout, mask, positions)
        factors = mask(torch.float32)
        attended: torch.Tensor = _Attention.apply(projected.contiguous(), layout, factors)
        return attended

    def normed(self, output: torch.Tensor, residual: torch.Tensor, norm: nn.Module, mask: Mask | None = None) -> Values:
        """As in `Operations`."""
        return self.adapted(output, residual, norm, (), mask)

    def adapted(
        self,
        output: torch.Tensor,
        residual: torch.Tensor,
        norm: nn.Module,
        adapters: Sequence[Bottleneck],
        mask: Mask | None = None,
    ) -> Values:
        """As in `Operations`; each sum is written once, as the residual of the next."""
        if not isinstance(norm, nn.LayerNorm):
            return super().adapted(output, residual, norm, adapters, mask)
        factors, bias = None if mask is None else mask(output.dtype), None
        after = (norm.weight, norm.bias, norm.eps, self.narrow)
        for adapter in adapters:
            residual, wide, narrow = _Norm.apply(
                output.contiguous(), factors, bias, residual.contiguous(), *after, True, False
            )
            inside = adapter.inside(wide if narrow is None else narrow)
            output, factors, bias = product(inside, adapter.up_weight), None, adapter.up_bias
        _, wide, narrow = _Norm.apply(output.contiguous(), factors, bias, residual.contiguous(), *after, False, True)
        return Values(wide=wide, narrow=wide if narrow is None else narrow)

    def factors(self, words: torch.Tensor, n_features: int, dropped: int, dtype: torch.dtype) -> torch.Tensor:
        """As in `Operations`."""
        made = torch.empty(*words.shape, n_features, dtype=dtype, device=words.device)
        n, block = words.numel(), max(16, _block(n_features))
        rows = max(1, FACTORS_VALUES // block)
        _factors[(triton.cdiv(n, rows),)](
            words.contiguous(), made, n, n_features, dropped, dropout.raised(dropped),
            ROWS=rows, BLOCK=block, num_warps=N_WARPS,
        )  # fmt: skip
        return made

    def try_out(self, device: torch.device) -> None:
        """Build every kernel and run it forward and backward on two short texts. Raises what Triton raises."""
        real = np.array([[True, True, True], [True, False, False]])
        cut = Cut.of({"input_ids": np.ones((2, 3), np.int64), "attention_mask": real.astype(np.int64)}, real)
        layout, norm = Layout(batch=cut.on(device), n_heads=2), nn.LayerNorm(16, device=device).requires_grad_(False)
        values = torch.ones(layout.n_tokens, 48, device=device, dtype=self.narrow, requires_grad=True)
        mixed = self.attention(values, layout, lambda dtype: torch.ones(2, 2, 3, 3, device=device, dtype=dtype))
        words = torch.arange(layout.n_tokens, device=device)
        normed = self.normed(mixed, mixed.float(), norm, lambda dtype: self.factors(words, 16, 1, dtype))
        ones = torch.ones(1, 16, 16, device=device, dtype=self.narrow)
        bias = ones[0, :1].clone().requires_grad_()
        adapter = Bottleneck(down_weight=ones, down_bias=bias, up_weight=ones, up_bias=bias, non_linearity="relu")
        last = self.adapted(normed.narrow, normed.wide, norm, (adapter, adapter))
        torch.autograd.grad(last.wide.sum() + last.narrow.float().sum(), (values, bias))
        if device.type == "cuda":
            torch.cuda.synchronize()


def _or(value: torch.Tensor | None, other: torch.Tensor) -> torch.Tensor:
    """`value`, or `other` in place of None: a kernel needs a valid pointer even where it reads nothing."""
    return other if value is None else value


def _step(bias: torch.Tensor | None) -> int:
    """The distance in values between the biases of two cells."""
    return 0 if bias is None else bias.stride(0)


def _block(n: int) -> int:
    return int(triton.next_power_of_2(n))
