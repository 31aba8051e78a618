"""Read the predictions that come with a table of results: one file per run, with labels, values or logits.

id,gold,predicted
17,happy,happy
18,sad,happy

The file is named after the run's id: ID.csv, ID.tsv, ID.jsonl or ID.parquet. The columns `group` (the dialogue or post
that an example comes from) and `part` (only rows of `test` are used) are optional. For a classification metric, `gold`
and `predicted` are names of labels; for a correlation or an error they are numbers. Instead of `predicted`, a Parquet
or JSON lines file may have `output`, a list of logits per example; `gold` is then the index of the right label.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import DataError
from empslurm.store import predictions
from empslurm.store.predictions import Predictions
from empslurm.validation import table_file
from empslurm.validation.constraints import Kind

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
NEEDED, OPTIONAL = ("id", "gold"), ("predicted", "output", "group", "part")
MAX_LABELS = 10_000


@dataclass(frozen=True, kw_only=True)
class Given:
    """One run's predictions on the test part."""

    predictions: Predictions  # examples by id; labels are stored as logits: 1 for the label, 0 for the others
    labels: tuple[str, ...] = ()  # names in index order, if labels have names


def find(folder: Path, run: str) -> Path | None:
    """The predictions file of a run; None without one, or where the id cannot be a file name."""
    if "/" in run or "\0" in run:
        return None
    with contextlib.suppress(OSError):
        return next((path for suffix in SUFFIXES if (path := folder / f"{run}{suffix}").is_file()), None)
    return None


def read(path: Path, kind: Kind) -> Given:
    """A run's predictions on the test part. Raises DataError, DamagedError."""
    if path.name == predictions.NAME or _is_of_a_cell(path):
        part = predictions.read(path).get("test")
        if part is None:
            raise DataError(f"{path} must hold a part named test, but does not; write test in the column part")
        return Given(predictions=part)
    rows = [row for row in _rows(path) if table_file.text_of(row.cells.get("part")) in ("", "test")]
    if not rows:
        raise DataError(f"{path} must hold predictions of the test part, but holds none; write one row per example")
    rows.sort(key=lambda row: _text(path, row, "id"))
    names = [_text(path, row, "id") for row in rows]
    twice = next((first for first, second in pairwise(names) if first == second), None)
    if twice is not None:
        raise DataError(f"{path} must hold every example once, but holds {twice} twice; give each a different id")
    gold, outputs, labels = _answers(path, rows, kind)
    groups = tuple(table_file.text_of(row.cells.get("group")) or id for row, id in zip(rows, names, strict=True))
    return Given(predictions=Predictions(ids=tuple(names), groups=groups, gold=gold, outputs=outputs), labels=labels)


def _is_of_a_cell(path: Path) -> bool:
    """Whether a file has the form of the predictions that a cell saves."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        return False
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return True  # the reader of that form says what is wrong with it
    return set(predictions.COLUMNS) <= set(schema.names) and pa.types.is_fixed_size_list(schema.field("output").type)


def _rows(path: Path) -> list[table_file.Row]:
    rows = list(table_file.rows(path, NEEDED, OPTIONAL))
    flawed = next((row for row in rows if row.flaw), None)
    if flawed is not None:
        raise DataError(f"{path}, line {flawed.line:,} {flawed.flaw}; rewrite this line")
    return rows


def _text(path: Path, row: table_file.Row, column: str) -> str:
    """A required entry as text; 1.0 and 1 are the same label."""
    value = row.cells.get(column)
    try:
        text = table_file.text_of(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError as error:
        raise DataError(f"{path}, line {row.line:,}: {column} must be one value, but is {error}; write one") from error
    if not text:
        raise DataError(f"{path}, line {row.line:,}: {column} must have a value, but is blank; write one")
    return text


def _answers(
    path: Path, rows: Sequence[table_file.Row], kind: Kind
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Gold (n_examples,), outputs (n_examples, n_labels) or (n_examples,), and the labels' names."""
    if any(row.cells.get("output") is not None for row in rows):
        gold = np.array([_number(path, row, "gold") for row in rows])
        return gold, _logits(path, rows, gold), ()
    if kind == "regression":
        columns = [[_number(path, row, column) for row in rows] for column in ("gold", "predicted")]
        return np.array(columns[0]), np.array(columns[1]), ()
    golds, guesses = ([_text(path, row, column) for row in rows] for column in ("gold", "predicted"))
    labels = tuple(sorted({*golds, *guesses}))
    if len(labels) > MAX_LABELS:
        raise DataError(
            f"{path} must hold at most {MAX_LABELS:,} labels, but has {len(labels):,} different ones; if the task is a "
            "regression, give its runs a metric such as pearson"
        )
    index_of = {label: at for at, label in enumerate(labels)}
    outputs = np.zeros((len(rows), len(labels)))
    outputs[np.arange(len(rows)), [index_of[guess] for guess in guesses]] = 1.0
    return np.array([index_of[label] for label in golds], dtype=np.float64), outputs, labels


def _number(path: Path, row: table_file.Row, column: str) -> float:
    text = _text(path, row, column)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DataError(f"{path}, line {row.line:,}: {column} must be a number, but is {text}; write a number")
    return value


def _logits(path: Path, rows: Sequence[table_file.Row], gold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits, shape (n_examples, n_labels), or values, shape (n_examples,)."""
    outputs: list[Any] = [row.cells.get("output") for row in rows]
    widths = {len(output) if isinstance(output, list) else 0 for output in outputs}
    if len(widths) != 1 or widths == {0}:
        raise DataError(f"{path} must hold a list of equally many logits per example, but does not; write one each")
    logits = np.array(outputs, dtype=np.float64)
    width = logits.shape[1]
    if width == 1:
        return logits[:, 0]
    if not ((gold == np.floor(gold)) & (gold >= 0) & (gold < width)).all():
        raise DataError(f"{path} must hold gold as an index from 0 to {width - 1}, but does not; count labels from 0")
    return logits


def aligned(runs: Sequence[Given]) -> list[Predictions]:
    """Predictions of several runs with the same order of labels; every run gets the labels of all."""
    if not any(run.labels for run in runs):
        return [run.predictions for run in runs]
    labels = sorted({label for run in runs for label in run.labels})
    return [_with_labels(run, labels) for run in runs]


def _with_labels(run: Given, labels: Sequence[str]) -> Predictions:
    if not run.labels:
        return run.predictions
    columns = np.array([labels.index(label) for label in run.labels])
    outputs = np.zeros((len(run.predictions.ids), len(labels)))
    outputs[:, columns] = run.predictions.outputs
    return replace(
        run.predictions, gold=columns[run.predictions.gold.astype(np.int64)].astype(np.float64), outputs=outputs
    )
