"""Gradients and AdamW over stacked parameters: one fused update for all cells, and no cell sees another's slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from empslurm.config import Training
from empslurm.train.hub import Tensors

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells of one forward pass, and their part of the free tensors; gradients land in the whole's."""

    cells: slice
    free: Tensors


class Optimiser:
    """AdamW over tensors with a leading cell axis. Its step count is the loop's, so only the moments are state."""

    def __init__(self, free: Tensors, training: Training, group_size: int) -> None:
        self.free = {name: value.detach().requires_grad_() for name, value in free.items()}
        for value in self.free.values():
            value.grad = torch.zeros_like(value)
        self.max_norm = training.max_grad_norm
        self.adamw = torch.optim.AdamW(
            list(self.free.values()), lr=training.lr, weight_decay=training.weight_decay, fused=True
        )
        self.n_cells = len(next(iter(self.free.values())))
        self.groups = [
            self._group(slice(at, min(at + group_size, self.n_cells))) for at in range(0, self.n_cells, group_size)
        ]

    def _group(self, cells: slice) -> Group:
        """Leaves that share memory with the whole, gradients included: no copies between the two."""
        made: Tensors = {}
        for name, value in self.free.items():
            assert value.grad is not None
            made[name] = value.detach()[cells].requires_grad_()
            made[name].grad = value.grad[cells]
        return Group(cells=cells, free=made)

    @property
    def gradients(self) -> list[torch.Tensor]:
        """One per free tensor, with its leading cell axis."""
        return [value.grad for value in self.free.values() if value.grad is not None]

    def step(self, lr: float) -> None:
        """Clip each cell's gradient by its own norm, update, and zero the gradients."""
        if self.max_norm:
            norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in self.gradients]).norm(dim=0)
            factors = (self.max_norm / (norms + 1e-6)).clamp(max=1.0)
            for gradient in self.gradients:
                gradient.mul_(factors.view(-1, *(1 for _ in gradient.shape[1:])))
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        for gradient in self.gradients:
            gradient.zero_()

    def moments(self, cell: int) -> Tensors:
        """A cell's part of the optimiser's state; empty before the first step."""
        return {
            f"{key}/{name}": self.adamw.state[value][key][cell]
            for name, value in self.free.items()
            if value in self.adamw.state
            for key in MOMENTS
        }

    def load(self, step: int, moments: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Take up the state after `step` steps; one mapping per cell, as `moments` gave it."""
        if step == 0:
            return
        for name, value in self.free.items():
            state: dict[str, Any] = {"step": torch.tensor(float(step), device=value.device)}
            for key in MOMENTS:
                state[key] = torch.stack([cell[f"{key}/{name}"] for cell in moments]).to(value.device)
            self.adamw.state[value] = state
