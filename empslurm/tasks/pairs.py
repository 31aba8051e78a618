"""Count equal and nearly equal texts between parts of tasks, and list the worst of them by id.

Texts and groups are numbers, one for each distinct normalised form, which `leakage` assigns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from empslurm.config import SplitRule
from empslurm.tasks.near_duplicates import Neighbours
from empslurm.tasks.overlap import Overlap
from empslurm.tasks.schema import PARTS, Part, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

N_DUPLICATES = 20  # named per pair of tasks
MAX_GROUP_NAMES = 2**31

Progress = Callable[[str, int, int], None]  # step, how much of it is done, of how much


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """One test example and a training example like it, by id."""

    splits: SplitRule
    source: str
    target: str
    train_id: str
    test_id: str
    kind: str  # exact or near; with `+context` where the previous turn is alike too
    same_group: bool


@dataclass(frozen=True, kw_only=True)
class Between:
    """Overlap of two official parts of a task; the counts are of the later part's distinct examples."""

    task: str
    earlier: Part
    later: Part
    n_later: int
    in_shared_groups: int  # examples of the later part in groups that the earlier one has
    exact: int  # ... whose text is in the earlier part
    exact_context: int  # ... with its context
    near: int
    near_context: int


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A task's rows under one rule as numbers; all arrays (n_rows,)."""

    task: Task
    ids: tuple[str, ...]
    text: NDArray[np.int32]
    previous: NDArray[np.int32]  # of the turn before; the empty text where there is none
    group: NDArray[np.int32]
    targets: NDArray[Any]
    parts: NDArray[np.str_]
    official: bool

    def part(self, name: str) -> NDArray[np.int64]:
        """Rows of a part."""
        import numpy as np

        return np.flatnonzero(self.parts == name)


def joined(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    """One number per pair of numbers below 2^31."""
    import numpy as np

    return first.astype(np.int64) * MAX_GROUP_NAMES + second.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A source's training part, ready for look-ups; texts, groups, near: sorted distinct numbers."""

    rows: Rows
    n_rows: int
    texts: NDArray[np.int32]
    groups: NDArray[np.int32]
    with_previous: NDArray[np.int64]
    with_group: NDArray[np.int64]
    near_texts: NDArray[np.int32]
    keys_previous: frozenset[int]
    keys_group: frozenset[int]
    example: Mapping[int, int]  # text -> a training row


def _trained(rows: Rows, near: Neighbours, part: Part = "train") -> _Trained:
    import numpy as np

    train = rows.part(part)
    text, previous, group = rows.text[train], rows.previous[train], rows.group[train]
    texts = np.unique(text)
    with_previous, with_group = np.unique(joined(text, previous)), np.unique(joined(text, group))
    return _Trained(
        rows=rows,
        n_rows=len(train),
        texts=texts,
        groups=np.unique(group),
        with_previous=with_previous,
        with_group=with_group,
        near_texts=near.of_all(texts),
        keys_previous=frozenset(with_previous.tolist()),
        keys_group=frozenset(with_group.tolist()),
        example=dict(zip(text.tolist(), train.tolist(), strict=True)),
    )


def overlaps_of(
    rows: Mapping[SplitRule, Sequence[Rows]], near: Neighbours, progress: Progress
) -> tuple[list[Overlap], list[Duplicate]]:
    """Every source's train against every target's test, under each rule."""
    overlaps: list[Overlap] = []
    duplicates: list[Duplicate] = []
    n_pairs = sum(len(own) ** 2 for own in rows.values())
    for rule, own in rows.items():
        for source in own:
            trained = _trained(source, near)
            for target in own:
                alike = _alike(trained, target, near)
                overlaps.append(_overlap(rule, trained, target, alike))
                duplicates += _duplicates(rule, trained, target, alike, near)
                progress("counting", len(overlaps), n_pairs)
    return overlaps, duplicates


def between_of(rows: Rows, near: Neighbours) -> list[Between]:
    """The overlap of each part with the parts before it."""
    overlaps = []
    for earlier, later in combinations(PARTS, 2):
        trained = _trained(rows, near, earlier)
        overlap = _overlap("family", trained, rows, _alike(trained, rows, near, later))
        counts = {name: getattr(overlap, name) for name in ("exact", "exact_context", "near", "near_context")}
        overlaps.append(
            Between(
                task=rows.task.id,
                earlier=earlier,
                later=later,
                n_later=overlap.n_test,
                in_shared_groups=overlap.in_shared_groups,
                **counts,
            )
        )
    return overlaps


@dataclass(frozen=True, kw_only=True)
class _Alike:
    """Rows of a part of the target that are like training rows of a source; all but `rows` are masks (n_rows,)."""

    rows: NDArray[np.int64]  # of the target's table
    in_shared: NDArray[np.bool_]  # its group is trained on
    exact: NDArray[np.bool_]
    exact_context: NDArray[np.bool_]  # the turn before it too
    exact_group: NDArray[np.bool_]  # in the same group
    near: NDArray[np.bool_]  # equal or nearly equal; so are the next two
    near_context: NDArray[np.bool_]
    near_group: NDArray[np.bool_]


def _alike(trained: _Trained, target: Rows, near: Neighbours, part: Part = "test") -> _Alike:
    import numpy as np

    rows = target.part(part)
    text, previous, group = target.text[rows], target.previous[rows], target.group[rows]
    exact_context = np.isin(joined(text, previous), trained.with_previous)
    exact_group = np.isin(joined(text, group), trained.with_group)
    is_near = np.isin(text, trained.near_texts)
    near_context, near_group = exact_context.copy(), exact_group.copy()
    for index in np.flatnonzero(is_near & ~(exact_context & exact_group)):  # the others are settled
        texts = near.of(int(text[index])).tolist()
        before = near.of(int(previous[index])).tolist()
        near_context[index] |= any(
            text_id * MAX_GROUP_NAMES + previous_id in trained.keys_previous
            for text_id in texts
            for previous_id in before
        )
        near_group[index] |= any(
            text_id * MAX_GROUP_NAMES + int(group[index]) in trained.keys_group for text_id in texts
        )
    return _Alike(
        rows=rows,
        in_shared=np.isin(group, trained.groups),
        exact=np.isin(text, trained.texts),
        exact_context=exact_context,
        exact_group=exact_group,
        near=is_near,
        near_context=near_context,
        near_group=near_group,
    )


def _overlap(rule: SplitRule, trained: _Trained, target: Rows, alike: _Alike) -> Overlap:
    import numpy as np

    return Overlap(
        splits=rule,
        official=trained.rows.official or target.official,
        source=trained.rows.task.id,
        target=target.task.id,
        n_train=trained.n_rows,
        n_test=len(alike.rows),
        shared_groups=len(np.unique(target.group[alike.rows[alike.in_shared]])),
        in_shared_groups=int(alike.in_shared.sum()),
        exact=int(alike.exact.sum()),
        exact_context=int(alike.exact_context.sum()),
        exact_same_group=int(alike.exact_group.sum()),
        near=int(alike.near.sum()),
        near_context=int(alike.near_context.sum()),
        near_same_group=int(alike.near_group.sum()),
    )


def _duplicates(
    rule: SplitRule, trained: _Trained, target: Rows, alike: _Alike, near: Neighbours
) -> Iterator[Duplicate]:
    """The worst first: with context, then in the same group, then equal, then by place."""
    import numpy as np

    order = np.lexsort((np.arange(len(alike.rows)), ~alike.exact, ~alike.near_group, ~alike.near_context))
    for index in (index for index in order[:N_DUPLICATES].tolist() if alike.near[index]):
        row = alike.rows[index]
        text = int(target.text[row])
        like = next(text_id for text_id in [text, *near.of(text).tolist()] if text_id in trained.example)
        yield Duplicate(
            splits=rule,
            source=trained.rows.task.id,
            target=target.task.id,
            train_id=trained.rows.ids[trained.example[like]],
            test_id=target.ids[row],
            kind=("exact" if alike.exact[index] else "near") + ("+context" if alike.near_context[index] else ""),
            same_group=bool(alike.near_group[index]),
        )
