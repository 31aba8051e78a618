"""Leaks and traps in the data: duplicates between train and test within and across tasks, labels that contradict.

Everything is counted on numbers that stand for distinct normalised texts and groups; texts never leave this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from empslurm import files, ids
from empslurm.config import DataUse, SplitRule
from empslurm.errors import DataError
from empslurm.tasks.near_duplicates import NEAR_VERSION, THRESHOLD, Neighbours, neighbours, normalise
from empslurm.tasks.overlap import AUDIT_VERSION, Audited, AuditedDataset, Overlap
from empslurm.tasks.prepare import Prepared, TaskTable, load_task
from empslurm.tasks.schema import PARTS, Part, Task
from empslurm.tasks.splits import split_name
from empslurm.validation import decode
from empslurm.validation.constraints import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULES: tuple[SplitRule, ...] = get_args(SplitRule)
N_DUPLICATES = 20  # named per pair of tasks
MAX_GROUP_NAMES = 2**31

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much
TokenCounter = Callable[[Sequence[str]], list[int]]  # tokens of each text, without the special ones


@dataclass(frozen=True, kw_only=True)
class TaskAudit:
    """What a task's own table holds. Texts are compared without case, marks and spacing."""

    task: str
    kind: str
    n_examples: int
    equal_texts: int  # distinct texts that stand more than once
    conflicting_texts: int  # of these, with different labels or ratings
    conflicting_with_context: int  # distinct pairs of text and previous turn with different labels or ratings
    unseen_labels: Mapping[str, tuple[str, ...]]  # split rule -> labels of validation or test that train lacks
    empty_labels: tuple[str, ...]  # labels of no example
    largest_share: float  # of the most frequent label; of a regression, of the most frequent rating
    smallest_count: int  # examples of the rarest label or rating
    balance: float  # entropy of the labels over that of equal shares; 1: balanced
    truncated_share: float | None  # examples longer than the backbone's length; None: no tokenizer was given


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """One test example and a training example like it, by id."""

    splits: SplitRule
    source: str
    target: str
    train_id: str
    test_id: str
    kind: str  # exact or near, `+context` where the previous turn is alike too
    same_group: bool


@dataclass(frozen=True, kw_only=True)
class Between:
    """What one official part of a task holds of another; the counts are of the later part's distinct examples."""

    task: str
    earlier: Part
    later: Part
    n_later: int
    in_shared_groups: int  # examples of the later part in groups that the earlier one has
    exact: int  # ... whose text stands in the earlier part
    exact_context: int  # ... with its context
    near: int
    near_context: int


@dataclass(frozen=True, kw_only=True)
class Audit(Audited):
    """All of it, as it is stored."""

    between: Annotated[tuple[Between, ...], Later()] = ()  # of tasks whose parts are official
    tasks: tuple[TaskAudit, ...]
    duplicates: tuple[Duplicate, ...]
    n_texts: int  # distinct normalised texts and previous turns
    n_near_pairs: int
    length: Mapping[str, Any]  # the backbone and its length, {} without one


class _Numbers:
    """Numbers for the distinct forms of values."""

    def __init__(self, form: Callable[[str], str] = str) -> None:
        self.known: dict[str, int] = {}  # form -> number
        self._form = form
        self._raw: dict[str, int] = {}  # the tasks of a dataset give the same values again

    def of(self, values: Sequence[str]) -> NDArray[np.int32]:
        import numpy as np

        return np.asarray([self._number(value) for value in values], np.int32)

    def _number(self, value: str) -> int:
        number = self._raw.get(value)
        if number is None:
            number = self._raw[value] = self.known.setdefault(self._form(value), len(self.known))
        return number


@dataclass(frozen=True, kw_only=True)
class _Rows:
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


def audit_path(cache_root: Path, prepared: Sequence[Prepared], length: Mapping[str, Any]) -> Path:
    """Where the audit of these datasets is kept."""
    folders = sorted(item.folder.name for item in prepared)
    key = ids.digest([AUDIT_VERSION, NEAR_VERSION, THRESHOLD, folders, dict(length)], 12)
    return cache_root / f"audit-{key}.json"


def audit(
    prepared: Sequence[Prepared],
    cache_root: Path,
    *,
    count_tokens: TokenCounter | None = None,
    length: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[Audit, Path]:
    """The audit of prepared datasets, made now or before. `length`: backbone, max_length, specials_pair, specials.

    Raises DataError where no task has an example.
    """
    length = length or {}
    path = audit_path(cache_root, prepared, length)
    tell = progress or (lambda _what, _done, _total: None)
    if not path.exists():
        files.write_json(path, asdict(_audit(prepared, count_tokens, length, tell)))
    stored: Audit = decode.load(path, Audit, "remove it and run the same command again")
    return stored, path


def _audit(
    prepared: Sequence[Prepared], count_tokens: TokenCounter | None, length: Mapping[str, Any], progress: Progress
) -> Audit:
    texts, groups = _Numbers(normalise), _Numbers()
    texts.of([""])  # number 0: no previous turn
    rows: dict[SplitRule, list[_Rows]] = {rule: [] for rule in RULES}
    truncated: dict[str, float] = {}
    for item in prepared:
        progress("reading", len(rows["family"]), sum(len(each.dataset.tasks) for each in prepared))
        n_tokens = _token_counts(item, count_tokens, length)
        for task in item.dataset.tasks:
            for rule in RULES:
                try:
                    table = load_task(item, task, DataUse(splits=rule, context="previous"), "all")
                except DataError:  # a form may hold labels for one of its tasks only
                    continue
                rows[rule].append(_number(item, task, table, texts, groups))
                if n_tokens and rule == "family":
                    over = [n_tokens[id] for id in table.ids]
                    truncated[task.id] = sum(over) / len(over)
    if not rows["family"]:
        raise DataError("an audit must have a task with examples, but there is none; look at `data status`")
    n_texts = len(texts.known)
    near = neighbours([*texts.known], lambda done: progress("comparing", done, n_texts))
    overlaps, duplicates = _overlaps(rows, near, progress)
    return Audit(
        version=AUDIT_VERSION,
        overlaps=tuple(overlaps),
        between=tuple(row for own in rows["family"] if own.official for row in _between(own, near)),
        tasks=tuple(
            _task_audit(family, paper, truncated) for family, paper in zip(rows["family"], rows["paper"], strict=True)
        ),
        duplicates=tuple(duplicates),
        n_texts=n_texts,
        n_near_pairs=(len(near.others) - n_texts) // 2,
        datasets={
            item.dataset.id: AuditedDataset(
                raw_digest=item.meta.raw_digest,
                prepared=item.folder.name,
                reading=item.dataset.forms[0].reading,
                splits={rule: split_name(item.dataset, rule) for rule in RULES},
            )
            for item in prepared
        },
        length=length,
    )


def _number(item: Prepared, task: Task, table: TaskTable, texts: _Numbers, groups: _Numbers) -> _Rows:
    family = item.dataset.family if item.dataset.grouped else f"{item.dataset.family}:{item.dataset.id}"
    return _Rows(
        task=task,
        ids=table.ids,
        text=texts.of(table.texts),
        previous=texts.of([turns[-1] if turns else "" for turns in table.contexts]),
        group=groups.of([f"{family}/{group}" for group in table.groups]),
        targets=table.targets,
        parts=table.parts,
        official=bool(item.dataset.official),
    )


def _token_counts(
    item: Prepared, count_tokens: TokenCounter | None, length: Mapping[str, Any]
) -> dict[str, bool] | None:
    """Example id -> whether its whole context and text are longer than the backbone's length.

    Turns are counted one by one and joined by a separator, as training joins them.
    """
    if count_tokens is None:
        return None
    table = item.table.select(["id", "context", "text"])
    contexts, texts = table["context"].to_pylist(), table["text"].to_pylist()
    distinct = [*dict.fromkeys(turn for turns in (*contexts, texts) for turn in turns)]
    counts = dict(zip(distinct, count_tokens(distinct), strict=True))
    truncated = {}
    for id, context, text in zip(table["id"].to_pylist(), contexts, texts, strict=True):
        n_context = sum(counts[turn] for turn in context) + len(context) - 1 if context else 0
        specials = length["specials_pair"] if context else length["specials"]
        truncated[id] = n_context + counts[text] + specials > length["max_length"]
    return truncated


def _task_audit(rows: _Rows, paper: _Rows, truncated: Mapping[str, float]) -> TaskAudit:
    import numpy as np

    task = rows.task
    n_labels = len(task.labels)
    _, counts = np.unique(rows.targets, return_counts=True)
    shares = counts / counts.sum()
    possible = n_labels if task.kind == "classification" else len(counts)
    alone = np.zeros(len(rows.text), np.int64)
    _, n_equal = np.unique(rows.text, return_counts=True)
    classes = task.kind == "classification"
    return TaskAudit(
        task=task.id,
        kind=task.kind,
        n_examples=len(rows.ids),
        equal_texts=int((n_equal > 1).sum()),
        conflicting_texts=_conflicts(rows.text, alone, rows.targets),
        conflicting_with_context=_conflicts(rows.text, rows.previous, rows.targets),
        unseen_labels={rule: _unseen(own) for rule, own in zip(RULES, (rows, paper), strict=True)} if classes else {},
        empty_labels=tuple(label for index, label in enumerate(task.labels) if not (rows.targets == index).any()),
        largest_share=float(shares.max()),
        smallest_count=int(counts.min()),
        balance=float(-(shares * np.log(shares)).sum() / np.log(possible)) if possible > 1 else 1.0,
        truncated_share=truncated.get(task.id),
    )


def _conflicts(first: NDArray[np.int32], second: NDArray[Any], targets: NDArray[Any]) -> int:
    """Distinct (first, second) that stand with more than one target. All arrays (n_rows,)."""
    import numpy as np

    _, numbered = np.unique(targets, return_inverse=True)
    keys = _joined(first, second)
    labelled = np.unique(np.stack([keys, numbered.astype(np.int64)]), axis=1)
    _, n_targets = np.unique(labelled[0], return_counts=True)
    return int((n_targets > 1).sum())


def _unseen(rows: _Rows) -> tuple[str, ...]:
    import numpy as np

    seen = set(rows.targets[rows.part("train")].tolist())
    others = np.concatenate([rows.targets[rows.part(part)] for part in PARTS if part != "train"])
    return tuple(rows.task.labels[index] for index in sorted(set(others.tolist()) - seen))


def _joined(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    """One number per pair of numbers below 2^31."""
    import numpy as np

    return first.astype(np.int64) * MAX_GROUP_NAMES + second.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What a source trains on, ready for look-ups; texts, groups, near: sorted distinct numbers."""

    rows: _Rows
    n_rows: int
    texts: NDArray[np.int32]
    groups: NDArray[np.int32]
    with_previous: NDArray[np.int64]
    with_group: NDArray[np.int64]
    near_texts: NDArray[np.int32]
    keys_previous: frozenset[int]
    keys_group: frozenset[int]
    example: Mapping[int, int]  # text -> a training row


def _trained(rows: _Rows, near: Neighbours, part: Part = "train") -> _Trained:
    import numpy as np

    train = rows.part(part)
    text, previous, group = rows.text[train], rows.previous[train], rows.group[train]
    texts = np.unique(text)
    with_previous, with_group = np.unique(_joined(text, previous)), np.unique(_joined(text, group))
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


def _overlaps(
    rows: Mapping[SplitRule, Sequence[_Rows]], near: Neighbours, progress: Progress
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


def _between(rows: _Rows, near: Neighbours) -> list[Between]:
    """What each part holds of the parts before it."""
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
    """Which rows of a part of the target are like what a source trains on; all but `rows` are masks (n_rows,)."""

    rows: NDArray[np.int64]  # of the target's table
    in_shared: NDArray[np.bool_]  # its group is trained on
    exact: NDArray[np.bool_]
    exact_context: NDArray[np.bool_]  # the turn before it too
    exact_group: NDArray[np.bool_]  # in the same group
    near: NDArray[np.bool_]  # equal or nearly so, and the same of the next two
    near_context: NDArray[np.bool_]
    near_group: NDArray[np.bool_]


def _alike(trained: _Trained, target: _Rows, near: Neighbours, part: Part = "test") -> _Alike:
    import numpy as np

    rows = target.part(part)
    text, previous, group = target.text[rows], target.previous[rows], target.group[rows]
    exact_context = np.isin(_joined(text, previous), trained.with_previous)
    exact_group = np.isin(_joined(text, group), trained.with_group)
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


def _overlap(rule: SplitRule, trained: _Trained, target: _Rows, alike: _Alike) -> Overlap:
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
    rule: SplitRule, trained: _Trained, target: _Rows, alike: _Alike, near: Neighbours
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
