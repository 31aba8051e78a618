"""A cell that this process holds, and what its training has come to so far."""

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
    """What goes along with a cell's training: how a trial of a search is judged, and what it leaves."""

    def judge(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the cell is to end after these epochs, each with the task's metrics."""

    def outcome(self, member: Member) -> dict[str, Any]:
        """Its own part of result.json."""

    def tell(self, say: Callable[[str], None]) -> None:
        """Let others know of the sealed result."""


@dataclass(kw_only=True, eq=False)
class Member:
    """One cell of a pack: who holds it, and what its training has come to. A checkpoint holds all of it."""

    cell: Trainable
    folder: CellDir
    claim: Claim
    course: Course | None = None  # None: it goes its own way to the last epoch
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch
    best_epoch: int | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # its free tensors at the best epoch, on the CPU
    wall_s: float = 0.0  # its share of the pack's, over all attempts
    stopped: bool = False  # by its course

    @property
    def diverged(self) -> bool:
        """Whether its loss stopped being a number: nothing more can come of it."""
        return bool(self.history) and self.history[-1]["train_loss"] is None

    @property
    def ended(self) -> bool:
        return self.diverged or self.stopped or len(self.history) == self.cell.training.epochs


Held = Claimed[Cell] | Member
Lost = Callable[[Member, Exception], None]  # is told of a cell that leaves its pack, and why
