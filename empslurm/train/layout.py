"""Where the real tokens of a padded batch stand: values go without padding, except inside attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The tokens of `n_cells` cells that see the same batch, cell by cell, row by row: (n_cells * n_tokens, width).

    n_rows, length: of the padded batch, as one cell sees it. rows, positions: (n_tokens,) int64, of each real token.
    firsts: (n_rows,) int64, which token each row begins with. padded: whether there is any padding.
    """

    n_rows: int
    length: int
    rows: torch.Tensor
    positions: torch.Tensor
    firsts: torch.Tensor
    padded: bool
    n_heads: int
    n_cells: int = 1

    def of(self, n_cells: int) -> Layout:
        """The same batch for another number of cells."""
        return self if n_cells == self.n_cells else replace(self, n_cells=n_cells)

    @cached_property
    def _places(self) -> torch.Tensor:
        """(n_tokens,): places in one cell's (n_rows, length)."""
        return self.rows * self.length + self.positions

    @cached_property
    def bias(self) -> torch.Tensor | None:
        """(n_cells * n_rows, 1, 1, length), to be added to attention scores; None where nothing is padded."""
        if not self.padded:
            return None
        lowest = torch.finfo(torch.float32).min
        made = torch.full((self.n_rows, self.length), lowest, device=self.rows.device)
        made.view(-1).index_fill_(0, self._places, 0.0)
        return made.repeat(self.n_cells, 1)[:, None, None, :]

    @cached_property
    def _spots(self) -> torch.Tensor:
        """(n_cells * n_tokens, n_heads): places in (n_cells * n_rows, n_heads, length)."""
        device = self.rows.device
        rows = (torch.arange(self.n_cells, device=device)[:, None] * self.n_rows + self.rows).view(-1, 1)
        heads = torch.arange(self.n_heads, device=device)
        return (rows * self.n_heads + heads) * self.length + self.positions.repeat(self.n_cells)[:, None]

    @cached_property
    def _thrice(self) -> torch.Tensor:
        """The same for three tensors that stand behind one another, in the order of each token's values, flat."""
        size = self.n_cells * self.n_rows * self.n_heads * self.length
        return (self._spots[:, None, :] + torch.arange(3, device=self.rows.device)[:, None] * size).view(-1)

    def spread(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value, padded with zeros: each (n_cells * n_rows, n_heads, length, hidden / n_heads).

        values: (n_cells * n_tokens, 3 * hidden).
        """
        width = values.shape[1] // (3 * self.n_heads)
        room = values.new_zeros(3, self.n_cells * self.n_rows, self.n_heads, self.length, width)
        room.view(-1, width).index_copy_(0, self._thrice, values.reshape(-1, width))
        query, key, value = room
        return query, key, value

    def collect(self, values: torch.Tensor) -> torch.Tensor:
        """What attention makes of them, without the padding: (n_cells * n_tokens, hidden).

        values: (n_cells * n_rows, n_heads, length, hidden / n_heads).
        """
        width = values.shape[-1]
        return take(values.reshape(-1, width), self._spots.view(-1)).view(len(self._spots), -1)

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """Of (n_cells * n_tokens, hidden) the first token of each row: (n_cells * n_rows, hidden)."""
        cells = torch.arange(self.n_cells, device=self.firsts.device)[:, None] * len(self.rows)
        return take(values, (cells + self.firsts).view(-1))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Of one cell's (n_tokens, hidden) the mean over each row's tokens, in float32: (n_rows, hidden)."""
        room = values.new_zeros(self.n_rows * self.length, values.shape[-1], dtype=torch.float32)
        room.index_copy_(0, self._places, values.float())
        counts = torch.zeros(self.n_rows, 1, device=values.device)
        counts.index_add_(0, self.rows, torch.ones(len(self.rows), 1, device=values.device))
        return room.view(self.n_rows, self.length, -1).sum(1) / counts


class _Take(torch.autograd.Function):
    """Rows of a matrix, each at most once: so the gradient is a copy, where index_select would add row by row."""

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
    """values: (n, width), places: (m,) int64, all different -> (m, width)."""
    made: torch.Tensor = _Take.apply(values, places)  # type: ignore[no-untyped-call]
    return made
