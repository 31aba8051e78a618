"""Read training texts with every source's adapter, and keep what the estimators say of each pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from empslurm import ids
from empslurm.cells import Baseline
from empslurm.errors import BackboneError, DataError, EmpslurmError
from empslurm.scoring.selection import Member
from empslurm.store import suitability
from empslurm.store.runs import RunsRoot
from empslurm.store.suitability import Suitability
from empslurm.suggestion.grids import Advance
from empslurm.suggestion.sources import whole
from empslurm.tasks import Registry
from empslurm.tasks.prepare import prepare

MOST_OF_TARGET = 1_000  # texts of the target, drawn by their ids
MOST_OF_OTHERS = 250  # texts of each other target, to learn what the estimators are worth


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A task whose training texts the sources read. `known_in`: runs roots that may have the values already."""

    cell: Baseline
    most: int
    known_in: tuple[RunsRoot, ...]

    def name(self, metric: str) -> str:
        """Of its reading in the store. `metric`: of the task."""
        data = ids.plain(self.cell)["data"]
        return suitability.reading(self.cell.target, data, self.cell.training.max_length, metric)


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Values of the estimators, and what they cost."""

    values: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)  # (source, target) -> values
    n_texts: Mapping[str, int] = field(default_factory=dict)  # of each task's training part that were read
    seconds: Mapping[str, float] = field(default_factory=dict)  # that each task took, now or earlier
    n_sources: Mapping[str, int] = field(default_factory=dict)  # that read each task in these seconds
    now: float = 0.0  # seconds of this call
    problems: tuple[str, ...] = ()


def read_all(
    wanted: Sequence[Wanted],
    members: Mapping[str, Member],
    *,
    root: RunsRoot,
    data: Path,
    registry: Registry,
    advance: Advance,
) -> Readings:
    """Values of every source for every wanted task; each task is kept in `root` as soon as it is read.

    A task that cannot be read is left out with a sentence; if it is the first, no other is read. `advance`: gets passes
    of an adapter over a text.
    """
    values: dict[tuple[str, str], Mapping[str, float]] = {}
    n_texts, seconds, n_sources, problems, now = {}, {}, {}, [], 0.0
    for at, one in enumerate(wanted):
        target = one.cell.target
        own = {task: member for task, member in members.items() if task != target}
        if target not in registry.tasks:
            problems.append(
                f"the training texts of {target} were not read: its card must be known, but no card has it; add it "
                "with --card"
            )
            continue
        name = one.name(registry.tasks[target].metric)
        kept = _known(one, name, own, root)
        if kept is None and own:
            started = time.monotonic()
            try:
                label = f"{target} ({at + 1} of {len(wanted)})"
                kept = _read(one, name, own, root, data, registry, partial(advance, label))
            except EmpslurmError as error:
                problems.append(f"the training texts of {target} were not read: {error}")
                if at == 0 or isinstance(error, BackboneError):
                    break  # without the first task's values, or without a backbone, others are of no use
            now += time.monotonic() - started
        if kept is not None:
            n_texts[target], seconds[target], n_sources[target] = kept.n_texts, kept.seconds, len(kept.values)
            for task, member in own.items():
                row = kept.values.get(member.measure.cell, {})
                values[task, target] = {key: float("nan") if value is None else value for key, value in row.items()}
    return Readings(
        values=values, n_texts=n_texts, seconds=seconds, n_sources=n_sources, now=now, problems=tuple(problems)
    )


def _known(one: Wanted, name: str, members: Mapping[str, Member], root: RunsRoot) -> Suitability | None:
    """What is kept, where it has every source and was made from a sample that is large enough."""
    for place in (root, *one.known_in):
        kept = suitability.read(place, name)
        if kept is None or kept.most < one.most:
            continue
        if all(member.measure.cell in kept.values for member in members.values()):
            return kept
    return None


def _read(
    one: Wanted,
    name: str,
    members: Mapping[str, Member],
    root: RunsRoot,
    data_root: Path,
    registry: Registry,
    advance: Callable[[int, int], None],
) -> Suitability:
    """Raises DataError, BackboneError, StoreError, UsageError."""
    started, target = time.monotonic(), one.cell.target
    from empslurm.scoring import suitability as scoring

    kept = suitability.read(root, name)
    if kept is None or kept.most < one.most:
        kept = None
    most = one.most if kept is None else kept.most
    todo = [member for member in members.values() if kept is None or member.measure.cell not in kept.values]
    prepared = prepare(registry.dataset_of(target), data_root, root.prepared)
    if prepared.meta.raw_digest != one.cell.data.raw:
        raise DataError(
            f"{prepared.dataset.id} must be the data that the cells of {target} were trained on, with digest "
            f"{one.cell.data.raw}, but {prepared.meta.raw_digest} is here; put the same files below {data_root}"
        )
    texts = scoring.training_texts(whole(one.cell), registry.tasks[target], prepared, root.prepared)
    rows = scoring.sample(texts, most)
    done, total = 0, len(todo) * len(rows)

    def progress(n: int) -> None:
        nonlocal done
        done += n
        advance(done, total)

    advance(0, total)
    metric = registry.tasks[target].metric
    found = scoring.suitability(scoring.bank_of(todo), texts, rows, metric, progress)
    fresh = Suitability(
        target=target,
        version=suitability.VERSION,
        most=most,
        n_texts=len(rows),
        seconds=time.monotonic() - started,
        values={
            member.measure.cell: {key: value if value == value else None for key, value in row.items()}
            for member, row in zip(todo, found, strict=True)
        },
    )
    return suitability.add(root, name, fresh)
