"""Gradients and AdamW over stacked parameters: a fused update per group of cells, and no cell sees another's slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from empslurm.config import Training
from empslurm.train.data.batch import to_host
from empslurm.train.model.adapter_files import Tensors

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells of one forward pass: their slices of the stacked free tensors and gradients, and their AdamW.

    A vectorised kernel rounds the tail of a tensor differently, and where the tail begins depends on how many cells are
    stacked. So each group is updated separately: in a group of one, a cell's bits do not depend on its pack.
    """

    cells: slice
    free: Tensors
    gradients: Tensors
    adamw: torch.optim.AdamW

    def add_gradients(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss; a tensor that it does not depend on gets none."""
        parts = torch.autograd.grad(loss, list(self.free.values()), allow_unused=True)
        for gradient, part in zip(self.gradients.values(), parts, strict=True):
            if part is not None:
                gradient.add_(part)


class Optimiser:
    """AdamW over tensors with a leading cell axis. Its step count is the loop's, so only the moments are state."""

    def __init__(self, free: Tensors, training: Training, group_size: int) -> None:
        self.free = {name: value.detach().requires_grad_() for name, value in free.items()}
        self._gradients = {name: torch.zeros_like(value) for name, value in self.free.items()}
        self.training, self.group_size = training, group_size
        self.n_cells = len(next(iter(self.free.values())))
        self.groups = [
            self._group(slice(at, min(at + group_size, self.n_cells))) for at in range(0, self.n_cells, group_size)
        ]

    def _group(self, cells: slice) -> Group:
        """Leaf tensors and gradients that share memory with the stacked ones, so that nothing is copied."""
        free = {name: value.detach()[cells].requires_grad_() for name, value in self.free.items()}
        gradients = {name: value[cells] for name, value in self._gradients.items()}
        for name, value in free.items():
            value.grad = gradients[name]
        lr, weight_decay = self.training.lr, self.training.weight_decay
        adamw = torch.optim.AdamW(list(free.values()), lr=lr, weight_decay=weight_decay, fused=True)
        return Group(cells=cells, free=free, gradients=gradients, adamw=adamw)

    @property
    def gradients(self) -> list[torch.Tensor]:
        """The stacked gradients of all cells."""
        return list(self._gradients.values())

    def step(self, lr: float) -> None:
        """Clip each cell's gradient by its own norm, update, and zero the gradients."""
        for group in self.groups:
            if self.training.max_grad_norm:
                clip(list(group.gradients.values()), self.training.max_grad_norm)
            for settings in group.adamw.param_groups:
                settings["lr"] = lr
            group.adamw.step()
            for gradient in group.gradients.values():
                gradient.zero_()

    def moments(self, cell: int) -> Tensors:
        """A cell's part of the optimiser's state; empty before the first step."""
        group, index = self.groups[cell // self.group_size], cell % self.group_size
        return {
            f"{key}/{name}": group.adamw.state[value][key][index]
            for name, value in group.free.items()
            if value in group.adamw.state
            for key in MOMENTS
        }

    def snapshot(self) -> list[Tensors]:
        """Each cell's free tensors (`free/...`) and moments, copied to the CPU: one copy per stacked tensor."""
        cells: list[Tensors] = []
        for group in self.groups:
            stacked = {f"free/{name}": value.detach() for name, value in group.free.items()}
            for name, value in group.free.items():
                stacked |= {f"{key}/{name}": group.adamw.state[value][key] for key in MOMENTS if group.adamw.state}
            copies = to_host(stacked)
            n_cells = len(next(iter(copies.values())))
            cells += [{name: value[index] for name, value in copies.items()} for index in range(n_cells)]
        return cells

    def load(self, step: int, moments: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Load the state after `step` steps: one mapping per cell, as `moments` returned it."""
        if step == 0:
            return
        for group in self.groups:
            for name, value in group.free.items():
                state: dict[str, Any] = {"step": torch.tensor(float(step), device=value.device)}
                for key in MOMENTS:
                    mine = [cell[f"{key}/{name}"] for cell in moments[group.cells]]
                    state[key] = torch.stack(mine).to(value.device)
                group.adamw.state[value] = state


def clip(gradients: Sequence[torch.Tensor], max_norm: float) -> None:
    """Scale each cell's gradient, in place, to a norm of at most `max_norm`. Tensors have a leading cell axis."""
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *(1 for _ in gradient.shape[1:])))
