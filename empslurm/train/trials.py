"""How a node runs a trial: the study gives its parameters and judges its epochs; the result tells the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list

from empslurm.cells import Cell
from empslurm.errors import StoreError
from empslurm.search.results import Parameters, TrialOutcome, with_parameters
from empslurm.store.runs import RunsRoot
from empslurm.train.loop import Member

if TYPE_CHECKING:
    from empslurm.search.sampler import Study


def _study(root: RunsRoot, cell: Cell) -> Study:
    """Its module loads Optuna, which only trials need."""
    from empslurm.search.sampler import Study

    return Study(root, cell)


class Course:
    """A claimed trial. With several processes the main one asks the study for all of them."""

    def __init__(self, root: RunsRoot, cell: Cell, metric: str, accelerator: Any) -> None:
        self.accelerator, self.metric = accelerator, metric
        self.study = _study(root, cell) if accelerator.is_main_process else None
        parameters: Parameters = self._agreed(lambda study: self._parameters(study, cell))
        self.cell = with_parameters(cell, parameters)

    def judge(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the trial is to end after these epochs, each with the task's metric."""
        scores = [entry[self.metric] for entry in history]
        return bool(self._agreed(lambda study: study.prune(self.cell, scores, self.metric)))

    def _parameters(self, study: Study, cell: Cell) -> Parameters:
        study.draw(cell)
        return study.drawn(cell).parameters

    def _agreed(self, ask: Callable[[Study], Any]) -> Any:
        box = [ask(self.study) if self.study is not None else None]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(box)
        return box[0]


def outcome(root: RunsRoot, member: Member) -> dict[str, Any]:
    """The trial's own part of result.json."""
    drawn = _study(root, member.cell).drawn(member.cell)
    trial = TrialOutcome(
        parameters=drawn.parameters,
        outcome="pruned" if member.stopped else "complete",
        started=drawn.started,
        n_known=drawn.n_known,
        wall_s=member.wall_s,
    )
    return asdict(trial)


def tell(root: RunsRoot, cell: Cell, say: Callable[[str], None]) -> None:
    """Tell the study; where that fails the next trial of it does, since the result is there."""
    try:
        _study(root, cell).tell_result(cell)
    except (StoreError, OSError) as error:
        say(f"{cell.id} is done, but its study could not be told: {error}")
