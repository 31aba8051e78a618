"""What may fail, and what is done about it: the table of failures, and what follows from a pack's journal.

Training names a failure by this table, the array task does what its entry allows, and `status` shows its words. It
imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from empslurm.errors import BackboneError, DamagedError, DataError, DeviceError, StoreError
from empslurm.launch.journal import Event, count

STALLS = 5  # stops in a row that found training where the one before had left it: the time is too short
FIRST_WAIT_S, LONGEST_WAIT_S, MAX_WAITS = 15, 900, 20  # for a source that is requeued or still runs


# ---- failures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A class of failure: how it is recognised, what is tried before its cells stay failed, and words for people."""

    name: str  # as error.json and journals have it
    exceptions: tuple[type[BaseException] | str, ...] = ()  # their subclasses too; a name: of what is not imported here
    text: str = ""  # or these words in the message, in lower case
    smaller_passes: bool = False  # training itself goes on with fewer cells, then with fewer examples, at once
    tries_here: int = 0  # so often is the pack started again on the same node, ...
    tries_elsewhere: int = 0  # ... and then so often is the job queued again for another node
    advice: str  # what it means and what to do, for people

    def fits(self, error: BaseException) -> bool:
        """Whether an exception is of this class."""
        names = {kind.__name__ for kind in type(error).__mro__}
        of_kind = any(kind in names if isinstance(kind, str) else isinstance(error, kind) for kind in self.exceptions)
        return of_kind or (self.text != "" and self.text in str(error).lower())

    @property
    def n_tries(self) -> int:
        """How often a pack that ended by it is started again."""
        return self.tries_here + self.tries_elsewhere


# An exception is of the first class that fits, so the narrow ones stand first.
FAILURES: tuple[Failure, ...] = (
    Failure(
        name="device memory",
        exceptions=("OutOfMemoryError",),  # torch's
        text="out of memory",
        smaller_passes=True,
        advice="one example at a time does not fit the GPU's memory: use a GPU with more, or lower `max_length`",
    ),
    Failure(
        name="device",
        exceptions=(DeviceError,),
        tries_elsewhere=2,
        advice="torch cannot use the GPUs: run `doctor --probe`, list broken nodes under `exclude` in the profile",
    ),
    Failure(
        name="host memory",
        exceptions=(MemoryError,),
        advice="the job's memory is too small: raise `mem_gb` in the profile",
    ),
    Failure(
        name="killed",  # no exception tells it: the process is gone, with cells unfinished
        tries_here=1,
        tries_elsewhere=1,
        advice="the training process died again and again: `logs` with the cell's id shows its end",
    ),
    Failure(
        name="damaged",
        exceptions=(DamagedError,),
        advice="a stored file is not what was written: move it away as the sentence says, and submit again",
    ),
    Failure(
        name="storage",
        exceptions=(StoreError, OSError),
        advice="files could not be read or written: look at space, quota and access of the runs root",
    ),
    Failure(
        name="data",
        exceptions=(DataError,),
        advice="the task's data is missing or altered: `doctor` names the files",
    ),
    Failure(
        name="backbone",
        exceptions=(BackboneError,),
        advice="the pretrained model cannot be had or does not fit: run `prepare` where there is a network",
    ),
    Failure(
        name="error",
        exceptions=(BaseException,),
        advice="an error that nothing is known to help against: `show` and `logs` with the cell's id tell more",
    ),
)
BY_NAME = {failure.name: failure for failure in FAILURES}
DEVICE, KILLED = BY_NAME["device"], BY_NAME["killed"]
# How a process died, and what to do, by whether Python told an error: only a silent end speaks for want of memory.
DEATHS = {
    False: (
        "died {n} times without a word, as for lack of host memory",
        "raise mem_gb, or look at `empslurm logs`",
    ),
    True: ("ended {n} times with an error", "`empslurm logs` shows all of it; mend that, then resume"),
}


def failure_of(error: BaseException) -> Failure:
    """The class of an exception."""
    return next(failure for failure in FAILURES if failure.fits(error))


def to_retry(errors: Iterable[Mapping[str, Any]]) -> Failure | None:
    """Of the failures of a pack, as error.json has them, the first after which it is started again; None: none is."""
    known = (BY_NAME.get(str(error.get("class"))) for error in errors)
    return next((failure for failure in known if failure is not None and failure.n_tries), None)


# ---- what follows from the journal of a pack -------------------------------------------------------------------------


def bad_nodes(events: Sequence[Event]) -> tuple[str, ...]:
    """Nodes on which a pack has ended by one failure more often than it is tried there.

    A start that never ended, as when the node itself was lost, counts as a kill.
    """
    ended = {_incarnation(event) for event in events if event.event == "end"}
    losses: Counter[tuple[str, str]] = Counter()
    for event in events:
        lost = event.event == "start" and _incarnation(event) not in ended
        losses[str(event.host), KILLED.name if lost else str(event.reason)] += 1
    too_often = {
        host
        for (host, reason), n in losses.items()
        if (failure := BY_NAME.get(reason)) is not None and n > failure.tries_here
    }
    return tuple(sorted(too_often))


def _incarnation(event: Event) -> tuple[object, object]:
    return event.job, event.restart


def may_move(events: Sequence[Event]) -> bool:
    """Whether a pack may still be tried on another node."""
    return all(count(events, failure.name) <= failure.n_tries for failure in FAILURES)


def stalled(events: Iterable[Event]) -> bool:
    """Whether a pack is stopped again and again before training comes any further."""
    steps = [event.steps for event in events if event.event == "end" and event.reason == "stopped"]
    return len(steps) >= STALLS and len(set(steps[-STALLS:])) == 1


def wait_s(events: Iterable[Event]) -> int | None:
    """How long a pack waits for its sources before it looks again; None when it has waited often enough."""
    n = count(events, "waiting")
    return None if n >= MAX_WAITS else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n)
