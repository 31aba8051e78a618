"""Sizes, tokens and label distributions of a dataset, overall and per part: what Tables 1 and 9 to 12 hold."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.config import DataUse
from empslurm.errors import DataError
from empslurm.tasks.prepare import Prepared, TaskTable, load_task, prepare
from empslurm.tasks.schema import PARTS, Dataset, Task
from empslurm.tasks.splits import leaks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = ("all", *PARTS)
FEW_TEST = 100  # below it only large effects can be told from chance
# The paper does not say how it counts. Of whitespace, \w+, words and marks, Penn-like and WordPiece, each cased or not,
# this rule comes closest to Table 1's vocabularies of the files at hand (0.3 to 9 %).
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One line of a task's table. `values`: per column of COLUMNS, None where a part is empty."""

    statistic: str  # n, percent (of the samples), min, median, max, mean, std, or `label`
    label: str | None = None  # then `values` are percents of the part's samples
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Table 1's columns. Tokens are words and marks of every example's context and text."""

    n_examples: int
    n_vocabulary: int  # distinct tokens, case kept
    n_tokens: int  # context: all earlier turns
    n_tokens_previous: int  # context: the previous turn alone
    n_tokens_text: int  # no context


def size(prepared: Prepared) -> Size:
    """Counts over all examples; each distinct turn is cut into tokens once."""
    lengths: dict[str, int] = {}
    vocabulary: set[str] = set()

    def length(turn: str) -> int:
        if turn not in lengths:
            words = WORD.findall(turn)
            vocabulary.update(words)
            lengths[turn] = len(words)
        return lengths[turn]

    n_text = n_previous = n_earlier = 0
    for batch in prepared.table.select(["context", "text"]).to_batches(max_chunksize=10_000):
        for context, text in zip(batch["context"].to_pylist(), batch["text"].to_pylist(), strict=True):
            counts = [length(turn) for turn in context]
            n_text += length(text)
            n_earlier += sum(counts)
            n_previous += counts[-1] if counts else 0
    return Size(
        n_examples=prepared.table.num_rows,
        n_vocabulary=len(vocabulary),
        n_tokens=n_text + n_earlier,
        n_tokens_previous=n_text + n_previous,
        n_tokens_text=n_text,
    )


def task_stats(task: Task, table: TaskTable) -> tuple[Measured, ...]:
    """The lines of a task's table: part sizes, then label shares or the ratings' central tendency."""
    columns = [table.targets, *(table.targets[table.parts == part] for part in PARTS)]
    n_all = len(table.targets)
    sizes = (
        Measured(statistic="n", values=tuple(len(values) for values in columns)),
        Measured(statistic="percent", values=tuple(100 * len(values) / n_all for values in columns)),
    )
    if task.kind == "classification":
        shares = [_shares(values, len(task.labels)) for values in columns]
        return sizes + tuple(
            Measured(statistic="label", label=label, values=tuple(share[index] for share in shares))
            for index, label in enumerate(task.labels)
        )
    found = [_tendency(values) for values in columns]
    return sizes + tuple(Measured(statistic=name, values=tuple(one[name] for one in found)) for name in found[0])


def _shares(targets: NDArray[np.int64], n_labels: int) -> list[float | None]:
    """Percent of each label. targets: (n_examples,)."""
    import numpy as np

    if not len(targets):
        return [None] * n_labels
    return [float(share) for share in 100 * np.bincount(targets, minlength=n_labels) / len(targets)]


def _tendency(targets: NDArray[np.float64]) -> Mapping[str, float | None]:
    """targets: (n_examples,)."""
    import numpy as np

    measures: Mapping[str, Callable[..., Any]] = {"min": np.min, "median": np.median, "max": np.max, "mean": np.mean}
    found = {name: float(measure(targets)) if len(targets) else None for name, measure in measures.items()}
    # The sample deviation: only this one gives the 2.00 that Table 9 prints for the pool of News Distress.
    return {**found, "std": float(np.std(targets, ddof=1)) if len(targets) > 1 else None}


def few_examples(task: str, n_test: int) -> str:
    """What a test part of this size cannot show, an empty string where it is large enough."""
    if n_test >= FEW_TEST:
        return ""
    points = 100 * 1.96 * math.sqrt(0.25 / max(n_test, 1))  # half of a normal 95 % interval, at its widest
    return (
        f"{task}: {n_test} test examples can show only large effects: an accuracy is known to within {points:.0f} "
        "points either way; use more data, or a larger test share (`shares` in a card)"
    )


def remarks(prepared: Prepared) -> list[str]:
    """What a person must know of prepared data: the note of its form, and the rows that are left out on purpose."""
    meta = prepared.meta
    notes = [form.note for form in prepared.dataset.forms if form.name == meta["form"] and form.note]
    left_out = meta.get("left_out", {})  # older folders have none
    counts = ", ".join(f"{label} ({n:,})" for label, n in left_out.items())
    told = f"{prepared.dataset.id}: {sum(left_out.values()):,} rows are left out on purpose by their label: {counts}"
    return [*notes, *([told] if left_out else [])]


def cautions(prepared: Prepared, use: DataUse) -> list[str]:
    """What is too small to show much, and how many rows are left out on purpose: for a plan, which has no counts."""
    found = remarks(prepared)[-1:] if prepared.meta.get("left_out") else []
    for task in prepared.dataset.tasks:
        with contextlib.suppress(DataError):  # a form may hold labels for one of its tasks only
            n_test = int((load_task(prepared, task, use, "all").parts == "test").sum())
            found += filter(None, [few_examples(task.id, n_test)])
    return found


def dataset_stats(dataset: Dataset, data_root: Path, cache_root: Path, use: DataUse | None = None) -> dict[str, Any]:
    """Everything `data stats` says of a dataset, as JSON values. Raises DataError, StoreError."""
    use = use or DataUse()
    prepared = prepare(dataset, data_root, cache_root)
    tasks: dict[str, dict[str, Any]] = {}
    for task in dataset.tasks:
        try:
            lines = task_stats(task, load_task(prepared, task, use, "all"))
        except DataError as error:  # a form may hold labels for one of its tasks only
            tasks[task.id] = {"kind": task.kind, "columns": COLUMNS, "rows": [], "problem": str(error)}
            continue
        rows = [[line.statistic if line.label is None else line.label, *line.values] for line in lines]
        tasks[task.id] = {
            "kind": task.kind,
            "n": dict(zip(COLUMNS, rows[0][1:], strict=True)),
            "lines": [vars(line) for line in lines],
            "columns": COLUMNS,
            "rows": rows,
        }
    meta = prepared.meta
    few = [few_examples(name, value["n"]["test"]) for name, value in tasks.items() if "n" in value]
    return {
        "dataset": dataset.id,
        "title": dataset.title,
        "state": meta["state"],
        "form": meta["form"],
        "splits": use.splits,
        "leaks": leaks(dataset, use.splits),
        "n_rejects": meta["n_rejects"],
        "left_out": meta.get("left_out", {}),
        "notes": [*remarks(prepared), *filter(None, few)],
        "n_groups": meta["split"]["n_groups"],
        "split_digest": meta["split"]["digest"],
        **vars(size(prepared)),
        "published": dict(dataset.published),
        "tasks": tasks,
    }
