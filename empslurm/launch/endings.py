"""How the jobs of unfinished cells ended: before our code ran in them, or stopped with everything saved.

A job whose code never ran (a missing module, srun refusing) leaves a log, but no claims, no events, and not the note
that every element writes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm.launch import journal
from empslurm.launch.hold import signature
from empslurm.launch.journal import Event
from empslurm.launch.logs import last_words
from empslurm.launch.markers import Array, sent
from empslurm.launch.queue import Job, Queue
from empslurm.store.runs import RunsRoot

IN_A_ROW = 2  # after this many deaths with the same last line nothing more is sent
BY_HAND = re.compile(r"CANCELLED AT (?!.*TIME LIMIT)")  # by scancel or a lost node: nothing to fix in the profile


@dataclass(frozen=True, kw_only=True)
class Death:
    """A job that ended before it started."""

    job_id: str
    log: Path
    line: str  # the last one of its log
    script: str  # digest of what the job was made from

    @property
    def why(self) -> str:
        """For people."""
        return f"job {self.job_id} ended before it started: {self.line or 'its log is empty'}"


@dataclass(frozen=True, kw_only=True)
class Endings:
    """How the jobs of some cells ended."""

    # By cell: the jobs that ended before they started, after the last one that did start; newest first.
    early: Mapping[str, Sequence[Death]]
    saved: frozenset[str]  # cells whose last job was stopped, for instance at its limit, and may not start again


def endings(cell_ids: Iterable[str], root: RunsRoot, queue: Queue) -> Endings:
    """Find how the jobs of these cells ended, without cells that a job still has; empty if squeue does not answer."""
    early: dict[str, list[Death]] = {}
    saved: set[str] = set()
    left = set(cell_ids)
    for element, cells in _newest_first(root, queue.jobs) if left else ():
        ours = left.intersection(cells)
        if not ours:
            continue
        death = element.death()
        if death is None:
            left -= ours
            saved |= ours - early.keys() if element.was_saved() else set()
        elif not BY_HAND.search(death.line):
            for cell in ours:
                early.setdefault(cell, []).append(death)
    return Endings(early=early, saved=frozenset(saved))


def repeated(early: Mapping[str, Sequence[Death]], script: str) -> tuple[Death, Death] | None:
    """Find two deaths in a row of one cell with the same last line, of jobs made from the same `script`."""
    for deaths in early.values():
        newest = [death for death in deaths[:IN_A_ROW] if death.script == script]
        if len(newest) == IN_A_ROW and len({signature("", death.line) for death in newest}) == 1:
            return newest[0], newest[1]
    return None


@dataclass(frozen=True, kw_only=True)
class _Element:
    """An element of an array that was sent, and its job as far as the queue knows it."""

    array: Array
    job_id: str
    indices: tuple[int, ...]  # of its packs in the submission
    job: Job | None

    def death(self) -> Death | None:
        """How it ended before it started; None if it started, may still start, or never ran."""
        log = self.array.log(self.job_id)
        if self._in_queue or not log.is_file() or self.array.has_started(self.job_id) or self._events():
            return None
        return Death(job_id=self.job_id, log=log, line=last_words(log)[0], script=self.array.script)

    def was_saved(self) -> bool:
        """Whether it was stopped with everything saved."""
        events = self._events()
        return not self._in_queue and bool(events) and events[-1].reason == "stopped"

    @property
    def _in_queue(self) -> bool:
        array = self.array
        return self.job is not None and self.job.is_called(array.name, array.cluster) and not self.job.ended

    def _events(self) -> list[Event]:
        journals = (journal.journal(self.array.submission, index) for index in self.indices)
        return [event for kept in journals for event in kept.events() if event.job == self.job_id]


def _newest_first(root: RunsRoot, jobs: Mapping[str, Job] | None) -> Iterator[tuple[_Element, tuple[str, ...]]]:
    """Every element that was sent, with its cells; none where squeue does not answer."""
    for array_id, array in reversed(sent(root)) if jobs is not None else ():
        for job_id, cells, indices in zip(array.element_ids(array_id), array.cells, array.elements, strict=True):
            yield _Element(array=array, job_id=job_id, indices=indices, job=(jobs or {}).get(job_id)), cells
