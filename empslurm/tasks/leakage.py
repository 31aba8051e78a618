"""The leakage audit: duplicates between train and test within and across tasks, and labels that contradict.

Each distinct normalised text or group gets a number, and only these numbers are counted; texts never leave this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from empslurm import files, ids
from empslurm.config import DataUse, SplitRule
from empslurm.errors import DataError
from empslurm.tasks.near_duplicates import NEAR_VERSION, THRESHOLD, neighbours, normalise
from empslurm.tasks.overlap import AUDIT_VERSION, Audited, AuditedDataset
from empslurm.tasks.pairs import Between, Duplicate, Progress, Rows, between_of, joined, overlaps_of
from empslurm.tasks.prepare import Prepared, TaskTable, load_task
from empslurm.tasks.schema import PARTS, Task
from empslurm.tasks.splits import split_name
from empslurm.validation import decode
from empslurm.validation.constraints import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULES: tuple[SplitRule, ...] = get_args(SplitRule)

TokenCounter = Callable[[Sequence[str]], list[int]]  # tokens of each text, without the special ones


@dataclass(frozen=True, kw_only=True)
class TaskAudit:
    """The audit of one task's table. Texts are compared without case, punctuation and spacing."""

    task: str
    kind: str
    n_examples: int
    equal_texts: int  # distinct texts that occur more than once
    conflicting_texts: int  # of these, with different labels or ratings
    conflicting_with_context: int  # distinct pairs of text and previous turn with different labels or ratings
    unseen_labels: Mapping[str, tuple[str, ...]]  # split rule -> labels of validation or test that train lacks
    empty_labels: tuple[str, ...]  # labels without an example
    largest_share: float  # of the most frequent label; of a regression, of the most frequent rating
    smallest_count: int  # examples of the rarest label or rating
    balance: float  # entropy of the labels over that of equal shares; 1: balanced
    truncated_share: float | None  # examples longer than the backbone's length; None: no tokenizer was given


@dataclass(frozen=True, kw_only=True)
class Audit(Audited):
    """The whole audit, as it is stored."""

    between: Annotated[tuple[Between, ...], Later()] = ()  # of tasks whose parts are official
    tasks: tuple[TaskAudit, ...]
    duplicates: tuple[Duplicate, ...]
    n_texts: int  # distinct normalised texts and previous turns
    n_near_pairs: int
    length: Mapping[str, Any]  # the backbone and its length, {} without one


class _Numbers:
    """Assigns a number to each distinct form of a value."""

    def __init__(self, form: Callable[[str], str] = str) -> None:
        self.known: dict[str, int] = {}  # form -> number
        self._form = form
        self._raw: dict[str, int] = {}  # tasks of a dataset share values, so each form is computed once

    def of(self, values: Sequence[str]) -> NDArray[np.int32]:
        import numpy as np

        return np.asarray([self._number(value) for value in values], np.int32)

    def _number(self, value: str) -> int:
        number = self._raw.get(value)
        if number is None:
            number = self._raw[value] = self.known.setdefault(self._form(value), len(self.known))
        return number


def audit_path(cache_root: Path, prepared: Sequence[Prepared], length: Mapping[str, Any]) -> Path:
    """The file of the audit of these datasets."""
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
    """The audit of prepared datasets and its file. `length`: backbone, max_length, specials_pair, specials.

    Raises DataError where no task has an example.
    """
    length = length or {}
    path = audit_path(cache_root, prepared, length)
    report = progress or (lambda _what, _done, _total: None)
    if not path.exists():
        files.write_json(path, asdict(_audit(prepared, count_tokens, length, report)))
    stored: Audit = decode.load(path, Audit, "remove it and run the same command again")
    return stored, path


def _audit(
    prepared: Sequence[Prepared], count_tokens: TokenCounter | None, length: Mapping[str, Any], progress: Progress
) -> Audit:
    texts, groups = _Numbers(normalise), _Numbers()
    texts.of([""])  # number 0: no previous turn
    rows: dict[SplitRule, list[Rows]] = {rule: [] for rule in RULES}
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
        raise DataError("an audit must have a task with examples, but there is none; run `empslurm data status`")
    n_texts = len(texts.known)
    near = neighbours([*texts.known], lambda done: progress("comparing", done, n_texts))
    overlaps, duplicates = overlaps_of(rows, near, progress)
    return Audit(
        version=AUDIT_VERSION,
        overlaps=tuple(overlaps),
        between=tuple(row for own in rows["family"] if own.official for row in between_of(own, near)),
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


def _number(item: Prepared, task: Task, table: TaskTable, texts: _Numbers, groups: _Numbers) -> Rows:
    family = item.dataset.family if item.dataset.grouped else f"{item.dataset.family}:{item.dataset.id}"
    return Rows(
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


def _task_audit(rows: Rows, paper: Rows, truncated: Mapping[str, float]) -> TaskAudit:
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
    """Number of distinct (first, second) with more than one target. All arrays (n_rows,)."""
    import numpy as np

    _, numbered = np.unique(targets, return_inverse=True)
    keys = joined(first, second)
    labelled = np.unique(np.stack([keys, numbered.astype(np.int64)]), axis=1)
    _, n_targets = np.unique(labelled[0], return_counts=True)
    return int((n_targets > 1).sum())


def _unseen(rows: Rows) -> tuple[str, ...]:
    import numpy as np

    seen = set(rows.targets[rows.part("train")].tolist())
    others = np.concatenate([rows.targets[rows.part(part)] for part in PARTS if part != "train"])
    return tuple(rows.task.labels[index] for index in sorted(set(others.tolist()) - seen))
