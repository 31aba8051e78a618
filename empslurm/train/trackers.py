"""Send live loss curves to the Accelerate trackers that a profile names; no cell, result or number depends on them."""

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
GOES_ON = "training continues without it"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a tracker gets when the run of a cell starts."""

    name: str  # the cell's id
    folder: Path  # for trackers that write files
    settings: Mapping[str, Any]  # of the cell, one level deep


@dataclass(frozen=True, kw_only=True)
class Style:
    """How to start a cell's run with one of Accelerate's classes, whose arguments differ."""

    make: Callable[[Any, Run], Any]
    several: bool = False  # one process can have several runs at once; else their curves would be mixed
    goes_on: bool = False  # a second start under the same name continues the run, which has the settings already
    takes_settings: bool = False  # as arguments of `make`: storing them later would affect the whole process
    at_once: Mapping[str, Any] = field(default_factory=dict)  # arguments of `log` that send each epoch immediately


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

    No error of a tracker leaves this class: it is logged, and the tracker is not used again.
    """

    def __init__(self, names: Sequence[str] = (), folder: Path = Path(), say: Callable[[str], None] = print) -> None:
        """`names`: Accelerate's names of trackers. `folder`: for trackers that write files."""
        self.names, self.folder, self.say = list(names), folder, say
        self._runs: dict[str, dict[str, Any]] = {name: {} for name in names}  # by tracker and cell
        self._crowded: set[str] = set()  # trackers whose limit of one cell is already logged

    def log(self, member: Member) -> None:
        """Log the epoch that a cell has just finished, at its step; the first one that is logged starts the run."""
        for name in list(self.names):
            self._careful(name, member.cell.id, partial(self._log, name, member))

    def close(self) -> None:
        """End the runs of all cells, a pack's together: no other cell may start in the place of an ended one."""
        for name in list(self.names):
            for cell_id in list(self._runs[name]):
                if name in self.names:
                    self._careful(name, cell_id, partial(self._end, name, cell_id))

    def _careful(self, name: str, cell_id: str, action: Callable[[], None]) -> None:
        """Call `action`; if it fails, stop using the tracker."""
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
        """Whether the tracker can have one more open run."""
        if STYLES[name].several or not self._runs[name]:
            return True
        if name not in self._crowded:
            self._crowded.add(name)
            (other,) = self._runs[name]
            self.say(
                f"the tracker {name} can follow only one cell of a process at a time, but {cell_id} trains together "
                f"with {other}, so it follows only {other}; set `pack_size: 1` in the profile, or use tensorboard"
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
        """Stop using a tracker, and log why."""
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
                f"the tracker {name} must accept the curves of {cell_id}, but says: {reason}; solve that, or remove "
                f"{name} from the profile's `trackers`; {GOES_ON}"
            )


NO_CURVES = Curves()


def readable(cell: Trainable) -> dict[str, str | int | float | bool]:
    """A cell's settings, one level deep, with keys such as `training.lr`; without those that are None."""
    return dict(_leaves({"kind": cell.kind, **ids.plain(cell), "adapter": cell.adapter.settings}))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}.")
        elif item is not None:
            yield f"{prefix}{key}", json.dumps(item) if isinstance(item, list | tuple) else item


def _values(epoch: Mapping[str, Any]) -> dict[str, float]:
    """What is logged of an epoch: the training loss and the validation scores, as far as they are defined."""
    names = {name: f"validation/{name}" for name in epoch if name not in ("epoch", "step", "train_loss")}
    logged = {"train_loss": "train_loss", **names}
    return {logged[name]: epoch[name] for name in logged if epoch[name] is not None}


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Restore the handlers of the signals that make training save and end: some trackers replace them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
