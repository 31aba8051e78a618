"""Run a search's trials: the search draws their parameters, judges their epochs, and learns their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list

from empslurm.cells import DrawnTrial, TrialCell
from empslurm.errors import StoreError
from empslurm.search.results import TrialOutcome
from empslurm.store.runs import RunsRoot
from empslurm.train.context import Node
from empslurm.train.group import train_members
from empslurm.train.loop import Settings
from empslurm.train.member import Claimed, Member
from empslurm.train.tally import Tally

if TYPE_CHECKING:
    from empslurm.search.sampler import Sampler


def _sampler(root: RunsRoot, cell: TrialCell) -> Sampler:
    """The trial's sampler. Imported here: its module loads Optuna, which only trials need."""
    from empslurm.search.sampler import Sampler

    return Sampler(root, cell)


class TrialCourse:
    """The course of a claimed trial. With several processes the main one asks the search for all of them."""

    def __init__(self, root: RunsRoot, cell: TrialCell, metric: str, accelerator: Any) -> None:
        self.root, self.accelerator, self.metric = root, accelerator, metric
        self.sampler = _sampler(root, cell) if accelerator.is_main_process else None
        self.cell: DrawnTrial = self._agreed(lambda sampler: sampler.draw(cell))

    def judge(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether to stop the trial after these epochs, each with the task's metric."""
        scores = [entry[self.metric] for entry in history]
        return bool(self._agreed(lambda sampler: sampler.prune(self.cell, scores, self.metric)))

    def outcome(self, member: Member) -> dict[str, Any]:
        """The trial's fields of result.json."""
        drawn = _sampler(self.root, self.cell).drawn(self.cell)
        trial = TrialOutcome(
            parameters=drawn.parameters,
            outcome="pruned" if member.stopped else "complete",
            started=drawn.started,
            n_known=drawn.n_known,
            wall_s=member.wall_s,
        )
        return {"trial": asdict(trial)}

    def tell(self, say: Callable[[str], None]) -> None:
        """Report the result to the search; if that fails, the search's next trial reports it."""
        try:
            _sampler(self.root, self.cell).tell_result(self.cell)
        except (StoreError, OSError) as error:
            say(
                f"{self.cell.id} is done, but its result could not be written to the search's journal ({error}); the "
                "search's next trial will write it"
            )

    def _agreed(self, ask: Callable[[Sampler], Any]) -> Any:
        box = [ask(self.sampler) if self.sampler is not None else None]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(box)
        return box[0]


def train_trials(
    claimed: Sequence[Claimed[TrialCell]], node: Node, settings: Settings, tally: Tally
) -> Iterator[Member]:
    """Train trials one by one, each as it is drawn; yields each finished one, reports the others to `tally`."""
    for held in claimed:
        try:
            metric = node.registry.tasks[held.cell.target].metric
            course = TrialCourse(node.root, held.cell, metric, node.accelerator)
        except Exception as error:
            tally.lost(held, error)
            continue
        member = Member(cell=course.cell, folder=held.folder, claim=held.claim, course=course)
        yield from train_members([member], node, settings, tally)
