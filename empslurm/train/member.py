"""A cell that this process holds, and the state of its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch

from empslurm.cells import Cell, Trainable
from empslurm.store.cell_folder import CellDir
from empslurm.store.claims import Claim

SomeCell = TypeVar("SomeCell", bound=Cell, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Claimed(Generic[SomeCell]):
    """A cell that this process holds."""

    cell: SomeCell
    folder: CellDir
    claim: Claim


class Course(Protocol):
    """What a search adds to a trial's training: it judges the epochs and learns from the result."""

    def judge(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether to stop the cell after these epochs, each with the task's metrics."""

    def outcome(self, member: Member) -> dict[str, Any]:
        """The trial's fields of result.json."""

    def tell(self, say: Callable[[str], None]) -> None:
        """Report the sealed result to the search."""


@dataclass(kw_only=True, eq=False)
class Member:
    """One cell of a pack: its claim, and the state of its training, which a checkpoint holds."""

    cell: Trainable
    folder: CellDir
    claim: Claim
    course: Course | None = None  # None: the cell is no trial and trains to the last epoch
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch
    best_epoch: int | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # its free tensors at the best epoch, on the CPU
    wall_s: float = 0.0  # its share of the pack's, over all attempts
    stopped: bool = False  # by its course

    @property
    def diverged(self) -> bool:
        """Whether its loss is no longer a number: more training cannot help."""
        return bool(self.history) and self.history[-1]["train_loss"] is None

    @property
    def ended(self) -> bool:
        return self.diverged or self.stopped or len(self.history) == self.cell.training.epochs


Held = Claimed[Cell] | Member
Lost = Callable[[Member, Exception], None]  # called for a cell that leaves its pack, with the reason
