"""The table of failures, with what is done about each, and the retries that follow from a pack's journal.

Training names a failure by this table, the array task does what its entry allows, and `status` shows its advice. It
imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from empslurm.errors import BackboneError, DamagedError, DataError, DeviceError, StoreError
from empslurm.launch.journal import Event, count

STALLS = 5  # after this many stops in a row at the same step, the time limit is too short
FIRST_WAIT_S, LONGEST_WAIT_S, MAX_WAITS = 15, 900, 20  # for a source that is requeued or still runs


# ---- failures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A class of failure: how it is recognised, what is tried before its cells stay failed, and words for people."""

    name: str  # as error.json and journals have it
    exceptions: tuple[
        type[BaseException] | str, ...
    ] = ()  # and their subclasses; a name for a class that is not imported here
    text: str = ""  # or these words in the message, in lower case
    smaller_passes: bool = False  # training itself goes on with fewer cells at once, then with fewer examples
    tries_here: int = 0  # how often the pack is started again on the same node, ...
    tries_elsewhere: int = 0  # ... and then how often the job is queued again for another node
    advice: str  # what it means and what to do, for people

    def fits(self, error: BaseException) -> bool:
        """Whether an exception is of this class."""
        names = {kind.__name__ for kind in type(error).__mro__}
        of_kind = any(kind in names if isinstance(kind, str) else isinstance(error, kind) for kind in self.exceptions)
        return of_kind or (self.text != "" and self.text in str(error).lower())

    @property
    def n_tries(self) -> int:
        """How often a pack that ended with it is started again."""
        return self.tries_here + self.tries_elsewhere


# An exception belongs to the first class that fits, so the narrow classes come first.
FAILURES: tuple[Failure, ...] = (
    Failure(
        name="device memory",
        exceptions=("OutOfMemoryError",),  # torch's
        text="out of memory",
        smaller_passes=True,
        advice="not even one example fits the GPU's memory: use a GPU with more memory, or lower `max_length`",
    ),
    Failure(
        name="device",
        exceptions=(DeviceError,),
        tries_elsewhere=2,
        advice="torch cannot use the GPUs: run `empslurm doctor`; on a cluster run `empslurm doctor --profile NAME "
        "--probe` and list broken nodes under `exclude` in the profile",
    ),
    Failure(
        name="host memory",
        exceptions=(MemoryError,),
        advice="the machine or job has too little memory: raise `mem_gb` or `mem_per_cpu_gb` of a Slurm profile, or "
        "run fewer packs at once",
    ),
    Failure(
        name="killed",  # no exception: the process is gone, and cells are unfinished
        tries_here=1,
        tries_elsewhere=1,
        advice="the training process died repeatedly: run `logs` with the cell's id to see its last output",
    ),
    Failure(
        name="damaged",
        exceptions=(DamagedError,),
        advice="a stored file is damaged: move it away as the message says, then submit again",
    ),
    Failure(
        name="storage",
        exceptions=(StoreError, OSError),
        advice="files could not be read or written: check free space, quota and permissions of the runs root",
    ),
    Failure(
        name="data",
        exceptions=(DataError,),
        advice="the task's data is missing or altered: run `doctor`, which names the files",
    ),
    Failure(
        name="backbone",
        exceptions=(BackboneError,),
        advice="the pretrained model is missing or does not fit: run `prepare` on a machine with a network",
    ),
    Failure(
        name="error",
        exceptions=(BaseException,),
        advice="an unexpected error: run `show` and `logs` with the cell's id for its message and traceback",
    ),
)
BY_NAME = {failure.name: failure for failure in FAILURES}
DEVICE, KILLED = BY_NAME["device"], BY_NAME["killed"]
# How a process died and what to do, by whether its log has a traceback: without one, lack of memory is likely.
DEATHS = {
    False: (
        "died {n} times without an error message, often a sign of too little host memory",
        "raise `mem_gb` or `mem_per_cpu_gb` of a Slurm profile, run fewer packs at once, or read `empslurm logs`",
    ),
    True: ("ended {n} times with an error", "read `empslurm logs`, fix the cause, then run `empslurm resume`"),
}


def failure_of(error: BaseException) -> Failure:
    """The class of an exception."""
    return next(failure for failure in FAILURES if failure.fits(error))


def to_retry(errors: Iterable[Mapping[str, Any]]) -> Failure | None:
    """The first of a pack's failures (as in error.json) after which it is started again; None where there is none."""
    known = (BY_NAME.get(str(error.get("class"))) for error in errors)
    return next((failure for failure in known if failure is not None and failure.n_tries), None)


# ---- what follows from the journal of a pack -------------------------------------------------------------------------


def bad_nodes(events: Sequence[Event]) -> tuple[str, ...]:
    """Nodes on which a pack has ended with one failure more often than it may be tried there.

    A start without an end, as when the node itself was lost, counts as `killed`.
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
    """Whether a pack was stopped again and again without progress in training."""
    steps = [event.steps for event in events if event.event == "end" and event.reason == "stopped"]
    return len(steps) >= STALLS and len(set(steps[-STALLS:])) == 1


def wait_s(events: Iterable[Event]) -> int | None:
    """Seconds that a pack waits before it looks for its sources again; None when it has waited often enough."""
    n = count(events, "waiting")
    return None if n >= MAX_WAITS else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n)
