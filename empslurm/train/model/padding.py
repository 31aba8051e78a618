"""The places of the real tokens in a padded batch: values have no padding, except inside attention."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from empslurm.train.data.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The tokens of `n_cells` cells that see the same batch, cell by cell, row by row: (n_cells * n_tokens, width)."""

    batch: Batch
    n_heads: int
    n_cells: int = 1
    by_n_cells: dict[int, Layout] = field(default_factory=dict, repr=False, compare=False)

    def of(self, n_cells: int) -> Layout:
        """The same batch for another number of cells."""
        if n_cells == self.n_cells:
            return self
        if n_cells not in self.by_n_cells:
            self.by_n_cells[n_cells] = replace(self, n_cells=n_cells, by_n_cells={})
        return self.by_n_cells[n_cells]

    @cached_property
    def firsts(self) -> Layout:
        """The same texts with their first tokens only, for what follows attention."""
        batch, rows = self.batch, torch.arange(len(self.batch.firsts), device=self.batch.firsts.device)
        only = replace(batch, rows=rows, positions=torch.zeros_like(rows), firsts=rows)
        return replace(self, batch=only, by_n_cells={})

    @property
    def n_tokens(self) -> int:
        """Number of tokens of one cell."""
        return len(self.batch.rows)

    @cached_property
    def places(self) -> torch.Tensor:
        """(n_tokens,): flat indices into one cell's (n_rows, length)."""
        return self.batch.rows * self.batch.shape[1] + self.batch.positions

    @cached_property
    def bias(self) -> torch.Tensor | None:
        """(n_cells * n_rows, 1, 1, length), added to attention scores; None where nothing is padded."""
        if not self.batch.padded:
            return None
        return self.hidden.repeat(self.n_cells, 1)[:, None, None, :]

    @cached_property
    def hidden(self) -> torch.Tensor:
        """(n_rows, length) float32, added to one cell's attention scores: the lowest number at padding, else 0."""
        seen = self.batch.inputs["attention_mask"] > 0
        return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, torch.finfo(torch.float32).min)

    @cached_property
    def tokens(self) -> torch.Tensor:
        """(n_rows * length,) int64: the index of one cell's token at each place; -1: padding."""
        n_rows, length = self.batch.shape
        tokens = self.places.new_full((n_rows * length,), -1)
        return tokens.index_copy_(0, self.places, torch.arange(self.n_tokens, device=tokens.device))

    @cached_property
    def _spots(self) -> torch.Tensor:
        """(n_cells * n_tokens, n_heads): flat indices into (n_cells * n_rows, n_heads, length)."""
        (n_rows, length), device = self.batch.shape, self.batch.rows.device
        rows = (torch.arange(self.n_cells, device=device)[:, None] * n_rows + self.batch.rows).view(-1, 1)
        heads = torch.arange(self.n_heads, device=device)
        return (rows * self.n_heads + heads) * length + self.batch.positions.repeat(self.n_cells)[:, None]

    @cached_property
    def _thrice(self) -> torch.Tensor:
        """The same for three stacked tensors, flat, in the order of each token's values."""
        parts = torch.arange(3, device=self._spots.device)[:, None] * self._size
        return (self._spots[:, None, :] + parts).view(-1)

    @property
    def _size(self) -> int:
        """Number of places of (n_cells * n_rows, n_heads, length)."""
        n_rows, length = self.batch.shape
        return self.n_cells * n_rows * self.n_heads * length

    def spread(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Split into query, key and value, padded with zeros: (n_cells * n_rows, n_heads, length, hidden / n_heads).

        values: (n_cells * n_tokens, 3 * hidden).
        """
        n_rows, length = self.batch.shape
        width = values.shape[1] // (3 * self.n_heads)
        room = values.new_zeros(3 * self._size, width)
        room.index_copy_(0, self._thrice, values.reshape(-1, width))
        query, key, value = room.view(3, self.n_cells * n_rows, self.n_heads, length, width)
        return query, key, value

    def collect(self, values: torch.Tensor) -> torch.Tensor:
        """Remove the padding from attention's output: (n_cells * n_tokens, hidden).

        values: (n_cells * n_rows, n_heads, length, hidden / n_heads).
        """
        width = values.shape[-1]
        return take(values.reshape(-1, width), self._spots.view(-1)).view(len(self._spots), -1)

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """Take the first token of each row: (n_cells * n_tokens, hidden) -> (n_cells * n_rows, hidden)."""
        firsts = self.batch.firsts
        cells = torch.arange(self.n_cells, device=firsts.device)[:, None] * self.n_tokens
        return take(values, (cells + firsts).view(-1))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average each row's tokens in float32: one cell's (n_tokens, hidden) -> (n_rows, hidden)."""
        (n_rows, length), rows = self.batch.shape, self.batch.rows
        room = values.new_zeros(n_rows * length, values.shape[-1], dtype=torch.float32)
        room.index_copy_(0, self.places, values.float())
        counts = room.new_zeros(n_rows).index_add_(0, rows, room.new_ones(len(rows)))
        return room.view(n_rows, length, -1).sum(1) / counts[:, None]


class _Take(torch.autograd.Function):
    """Select rows of a matrix, each at most once: so the gradient is a copy; index_select would add row by row."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.shape = values.shape
        return values.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.new_zeros(ctx.shape).index_copy_(0, places, gradient), None


def take(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Select rows: values (n, width), places (m,) int64, all different -> (m, width)."""
    taken: torch.Tensor = _Take.apply(values, places)  # type: ignore[no-untyped-call]  # torch gives it no types
    return taken
