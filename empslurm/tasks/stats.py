"""Sizes, tokens and label distributions of a dataset, overall and per part, as in Tables 1 and 9 to 12."""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.config import DataUse
from empslurm.errors import DataError
from empslurm.tasks.prepare import PART_COLUMN, Prepared, TaskTable, empty_part, load_task, prepare, rejects, such_as
from empslurm.tasks.schema import PARTS, Dataset, Form, Task
from empslurm.tasks.splits import leaks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = ("all", *PARTS)
LEAVES_OUT_FIX = "write it as in the table, or remove it from leave_out"
FEW_TEST = 100  # below it only large effects differ from chance
# The paper does not say how it counts. Of whitespace, \w+, words and marks, Penn-like and WordPiece, each cased or not,
# this rule comes closest to Table 1's vocabularies of the files at hand (0.3 to 9 %).
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
# Scripts that put no space between words: Thai and Lao, Burmese, Khmer, Chinese and Japanese. As ranges of a pattern.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u30ff\u3100-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
JOINERS = "\u200c\u200d"  # inside words of Persian and of Indian languages


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One line of a task's table. `values`: per column of COLUMNS, None where a part is empty."""

    statistic: str  # n, percent (of the samples), min, median, max, mean, std, or `label`
    label: str | None = None  # then `values` are percents of the part's samples
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Table 1's columns. Tokens are those of `words`, of every example's context and text."""

    n_examples: int
    n_vocabulary: int  # distinct tokens, case kept
    n_tokens: int  # context: all earlier turns
    n_tokens_previous: int  # context: the previous turn alone
    n_tokens_text: int  # no context


def words(text: str) -> list[str]:
    """Words and punctuation marks; of a script without spaces between words, each character with the signs on it."""
    found: list[str] = (WORD if text.isascii() else _any_script()).findall(text)
    return found


@cache
def _any_script() -> re.Pattern[str]:
    """As WORD, but signs on a letter (Hindi vowels, accents of their own) belong to its word. Built once: 0.1 s."""
    codes = [code for code in range(0x300, 0x1E950) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    signs = "".join(chr(code) for code in codes if not 0xFE00 <= code <= 0xFE0F) + JOINERS  # those vary emoji
    letter = rf"[^\W{UNSPACED}]"
    word = f"{letter}+(?:[{signs}]+{letter}*)*"
    return re.compile(rf"[{UNSPACED}][{signs}]*|{word}(?:'{word})?|[^\w\s]")


def size(prepared: Prepared) -> Size:
    """Counts over all examples; each distinct turn is cut into tokens once."""
    lengths: dict[str, int] = {}
    vocabulary: set[str] = set()

    def length(turn: str) -> int:
        if turn not in lengths:
            found = words(turn)
            vocabulary.update(found)
            lengths[turn] = len(found)
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
    tendencies = [_tendency(values) for values in columns]
    return sizes + tuple(
        Measured(statistic=name, values=tuple(tendency[name] for tendency in tendencies)) for name in tendencies[0]
    )


def _shares(targets: NDArray[np.int64], n_labels: int) -> list[float | None]:
    """Percent of each label. targets: (n_examples,)."""
    import numpy as np

    if not len(targets):
        return [None] * n_labels
    return [float(share) for share in 100 * np.bincount(targets, minlength=n_labels) / len(targets)]


def _tendency(targets: NDArray[np.float64]) -> Mapping[str, float | None]:
    """Statistics of ratings, None where a part has too few. targets: (n_examples,)."""
    import numpy as np

    measures: Mapping[str, Callable[..., Any]] = {"min": np.min, "median": np.median, "max": np.max, "mean": np.mean}
    values = {name: float(measure(targets)) if len(targets) else None for name, measure in measures.items()}
    # The sample deviation: only this one gives the 2.00 that Table 9 prints for the pool of News Distress.
    return {**values, "std": float(np.std(targets, ddof=1)) if len(targets) > 1 else None}


def few_examples(dataset: Dataset, task: Task, sizes: Mapping[str, int]) -> list[str]:
    """Warnings about the sizes of a task's parts: one is empty, or the test part is small. sizes: by part."""
    own_shares = dataset.forms[0].reading > 0 and not dataset.official and dataset.family == dataset.id
    n_test, empty = sizes.get("test", 0), empty_part(sizes)
    if empty:
        finer = ", finer groups in columns.group, or larger `shares`" if own_shares else ""
        must = f"{task.id} must have examples in train, validation and test to be trained, but {empty} has none"
        return [f"{must}: whole groups are drawn, and there are few; use more data{finer}"]
    if n_test >= FEW_TEST:
        return []
    half = 1.96 / math.sqrt(n_test)  # of a normal 95 % interval, at its widest, for a correlation
    known = f"an accuracy is uncertain by about ±{50 * half:.0f} points"
    if task.kind == "regression":
        known = f"a correlation is uncertain by about ±{min(half, 1):.2f}"
    larger = ", or a larger test share (`shares` in its card)" if own_shares else ""
    return [f"{task.id}: {n_test} test examples can show only large effects: {known}; use more data{larger}"]


def remarks(prepared: Prepared) -> list[str]:
    """Notes on prepared data for its user: the note of its form, and those on its rows."""
    form = _form(prepared)
    return [*([form.note] if form and form.note else []), *_found(prepared)]


def _form(prepared: Prepared) -> Form | None:
    return next((form for form in prepared.dataset.forms if form.name == prepared.meta.form), None)


def _found(prepared: Prepared) -> list[str]:
    """Notes on bad rows, on rows left out on purpose, and on labels that no row or no test row has."""
    id, meta, form = prepared.dataset.id, prepared.meta, _form(prepared)
    n_bad, left_out = meta.n_rejects, meta.left_out
    n_rows = meta.n_examples + n_bad
    counts = ", ".join(f"{label} ({n:,})" for label, n in left_out.items())
    absent = [label for label in (form.leaves_out if form else ()) if label not in left_out]
    notes = {
        f"{id}: {n_bad:,} of {n_rows:,} rows are bad and give no example{such_as(rejects(prepared))}": n_bad,
        f"{id}: {sum(left_out.values()):,} rows are left out on purpose by their label: {counts}": left_out,
        f"{id}: its card leaves out {', '.join(absent)}, but no row has that label; {LEAVES_OUT_FIX}": absent,
    }
    return [*(text for text, holds in notes.items() if holds), *_untested_labels(prepared)]


def _untested_labels(prepared: Prepared) -> list[str]:
    """Labels that the train part of an official split has, but its validation or test part does not have."""
    sentences = []
    for task in prepared.dataset.tasks if prepared.dataset.official else ():
        if task.kind == "classification":
            columns = (prepared.table[name].to_pylist() for name in (PART_COLUMN, task.id))
            counts = Counter(zip(*columns, strict=True))
            for part in ("validation", "test"):
                labels = enumerate(task.labels)
                absent = [label for at, label in labels if counts["train", at] and not counts[part, at]]
                must = f"{task.id}: its {part} part has no example labelled {', '.join(absent)}, but train has"
                sentences += [f"{must}; check that it is the right file"] if absent else []
    return sentences


def cautions(prepared: Prepared, use: DataUse) -> list[str]:
    """Notes for a plan, which shows no counts: those on the rows, and on parts that are too small."""
    sentences = _found(prepared)
    for task in prepared.dataset.tasks:
        with contextlib.suppress(DataError):  # a form may hold labels for one of its tasks only
            parts = load_task(prepared, task, use, "all").parts
            sentences += few_examples(prepared.dataset, task, {part: int((parts == part).sum()) for part in PARTS})
    return sentences


def dataset_stats(dataset: Dataset, data_root: Path, cache_root: Path, use: DataUse | None = None) -> dict[str, Any]:
    """Everything that `data stats` shows for a dataset, as JSON values. Raises DataError, StoreError."""
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
    counted = [task for task in dataset.tasks if "n" in tasks[task.id]]
    few = [text for task in counted for text in few_examples(dataset, task, tasks[task.id]["n"])]
    return {
        "dataset": dataset.id,
        "title": dataset.title,
        "state": meta.state,
        "form": meta.form,
        "splits": use.splits,
        "leaks": leaks(dataset, use.splits),
        "n_rejects": meta.n_rejects,
        "left_out": dict(meta.left_out),
        "notes": [*remarks(prepared), *few],
        "n_groups": meta.split.n_groups,
        "split_digest": meta.split.digest,
        **vars(size(prepared)),
        "published": dict(dataset.published),
        "tasks": tasks,
    }
