"""Live loss curves by Accelerate's trackers, where a profile names some; no cell, result or number depends on them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from empslurm import ids
from empslurm.cells import Trainable
from empslurm.train.member import Member

PROJECT = "empslurm"
GOES_ON = "training goes on without it"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a tracker gets when the run of a cell starts."""

    name: str  # the cell's id
    folder: Path  # for trackers that write files
    settings: Mapping[str, Any]  # of the cell, one level deep


@dataclass(frozen=True, kw_only=True)
class Style:
    """How the run of a cell is made by one of accelerate's classes: each takes other arguments."""

    make: Callable[[Any, Run], Any]
    several: bool = False  # runs at once in one process; else its runs are the process's, and would be mixed up
    goes_on: bool = False  # a second start under the same name goes on in the same run, which has the settings already
    takes_settings: bool = False  # when it is made, for storing them later is the process's
    at_once: Mapping[str, Any] = field(default_factory=dict)  # makes `log` send an epoch before the next one comes


STYLES: Mapping[str, Style] = {
    "aim": Style(make=lambda cls, run: cls(run.name, run.folder, experiment=PROJECT), several=True),
    "clearml": Style(make=lambda cls, run: cls(PROJECT, task_name=run.name)),
    "comet_ml": Style(make=lambda cls, run: cls(PROJECT)),  # `_start` names its run
    "dvclive": Style(
        make=lambda cls, run: cls(run.name, dir=str(run.folder / run.name), resume=True), several=True, goes_on=True
    ),
    "mlflow": Style(make=lambda cls, run: cls(PROJECT, run_name=run.name)),
    "swanlab": Style(make=lambda cls, run: cls(PROJECT, experiment_name=run.name)),
    "tensorboard": Style(make=lambda cls, run: cls(run.name, run.folder), several=True, goes_on=True),
    "trackio": Style(make=lambda cls, run: cls(PROJECT, name=run.name, resume="allow"), goes_on=True),
    "wandb": Style(
        make=lambda cls, run: cls(
            PROJECT, name=run.name, id=run.name, resume="allow", reinit="create_new", config=dict(run.settings)
        ),
        several=True,
        goes_on=True,
        takes_settings=True,
        at_once={"commit": True},
    ),
}


class Curves:
    """The curves of the cells that train in this process; without names it does nothing.

    Nothing that a tracker raises leaves this class: a sentence is said, and the tracker is left out from there on.
    """

    def __init__(self, names: Sequence[str] = (), folder: Path = Path(), say: Callable[[str], None] = print) -> None:
        """`names`: trackers as accelerate calls them. `folder`: where those that write files do."""
        self.names, self.folder, self.say = list(names), folder, say
        self._runs: dict[str, dict[str, Any]] = {name: {} for name in names}  # by tracker and cell
        self._crowded: set[str] = set()  # trackers of which it was said that they follow one cell only

    def log(self, member: Member) -> None:
        """Log the epoch that a cell has just finished, at its step; the first one that is logged starts the run."""
        for name in list(self.names):
            self._careful(name, member.cell.id, partial(self._log, name, member))

    def close(self) -> None:
        """End the runs of all cells; a pack's end together, so that none starts in the place of another."""
        for name in list(self.names):
            for cell_id in list(self._runs[name]):
                if name in self.names:
                    self._careful(name, cell_id, partial(self._end, name, cell_id))

    def _careful(self, name: str, cell_id: str, action: Callable[[], None]) -> None:
        """Do it; a tracker that cannot is left out from here on."""
        try:
            with _signals_as_they_are():
                action()
        except (Exception, SystemExit) as error:
            self._leave_out(name, cell_id, error)

    def _log(self, name: str, member: Member) -> None:
        cell_id, epoch = member.cell.id, member.history[-1]
        runs = self._runs[name]
        if cell_id not in runs and not self._may_start(name, cell_id):
            return
        if cell_id not in runs:
            runs[cell_id] = self._start(name, member)
        runs[cell_id].log(_values(epoch), step=epoch["step"], **STYLES[name].at_once)

    def _may_start(self, name: str, cell_id: str) -> bool:
        """Whether another run can be open beside those there are."""
        if STYLES[name].several or not self._runs[name]:
            return True
        if name not in self._crowded:
            self._crowded.add(name)
            (other,) = self._runs[name]
            self.say(
                f"the tracker {name} can follow one cell of a process at a time, but {cell_id} trains beside {other}, "
                f"so of this pack it follows {other} alone; set `pack_size: 1` in the profile, or take tensorboard"
            )
        return False

    def _start(self, name: str, member: Member) -> Any:
        run = Run(name=member.cell.id, folder=self.folder, settings=readable(member.cell))
        tracker = STYLES[name].make(LOGGER_TYPE_TO_CLASS[name], run)
        tracker.start()
        if name == "comet_ml":
            tracker.tracker.set_name(run.name)
        has_settings = STYLES[name].goes_on and len(member.history) > 1
        if not (has_settings or STYLES[name].takes_settings):
            tracker.store_init_configuration(dict(run.settings))
        return tracker

    def _end(self, name: str, cell_id: str) -> None:
        self._runs[name].pop(cell_id).finish()

    def _leave_out(self, name: str, cell_id: str, error: BaseException) -> None:
        """Go on without a tracker, and say why."""
        self.names.remove(name)
        for tracker in self._runs.pop(name).values():
            with suppress(Exception, SystemExit):
                tracker.finish()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, ImportError):
            self.say(
                f"the tracker {name} must be installed where training runs, but is not ({reason}); run "
                f"`pip install {name.replace('_', '-')}` in the job's environment; {GOES_ON}"
            )
        else:
            self.say(
                f"the tracker {name} must take the curves of {cell_id}, but says: {reason}; correct that, or take "
                f"{name} out of the profile's `trackers`; {GOES_ON}"
            )


NO_CURVES = Curves()


def readable(cell: Trainable) -> dict[str, str | int | float | bool]:
    """What a cell is and is trained with, one level deep, such as `training.lr`; what is left open is left out."""
    return dict(_leaves({"kind": cell.kind, **ids.plain(cell), "adapter": cell.adapter.settings}))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}.")
        elif item is not None:
            yield f"{prefix}{key}", json.dumps(item) if isinstance(item, list | tuple) else item


def _values(epoch: Mapping[str, Any]) -> dict[str, float]:
    """What is logged of an epoch: its training loss and its scores on the validation part, those that are defined."""
    names = {name: f"validation/{name}" for name in epoch if name not in ("epoch", "step", "train_loss")}
    logged = {"train_loss": "train_loss", **names}
    return {logged[name]: epoch[name] for name in logged if epoch[name] is not None}


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Give the signals that make training save and end back to it: some trackers take them for themselves."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
