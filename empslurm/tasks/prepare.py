"""Parse a dataset once into Parquet under its digest, and cut a task's table from that."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm import files, ids
from empslurm.config import DataUse, LabelUse
from empslurm.errors import DataError
from empslurm.tasks.raw import Located, locate
from empslurm.tasks.schema import Dataset, Example, Reject, Task
from empslurm.tasks.splits import SALTS, SPLIT_VERSION, paper_parts, part_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PREPARE_VERSION = 1
MAX_REJECT_SHARE = 0.05  # of a file's rows; more means that it is not the file it should be


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A parsed dataset on disk: examples.parquet, rejects.jsonl, split.json, meta.json."""

    dataset: Dataset
    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Counts, digests and where the raw files were."""
        return files.read_object(self.folder / "meta.json")

    @cached_property
    def table(self) -> pa.Table:
        """All examples: id, group, context (list of turns), text, manual, and one column per task."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "examples.parquet", memory_map=True)


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """One task's examples, in the dataset's order. With the paper's News slices an example stands once per part.

    contexts: earlier turns, oldest first, already cut to the data use. targets: (n_examples,) label indices (int64) or
    values (float64). parts: (n_examples,) of "train", "validation", "test".
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]
    targets: NDArray[Any]
    parts: NDArray[np.str_]
    digest: str  # of what tokenising depends on: the texts and contexts, by their origin


def prepare(dataset: Dataset, data_root: Path, cache_root: Path) -> Prepared:
    """The dataset, parsed now or before; a second call touches no raw file's content. Raises DataError."""
    found = locate(dataset, data_root, cache_root)
    if found.state == "missing" or found.raw_digest is None:
        raise DataError(found.problem)
    key = ids.digest([PREPARE_VERSION, found.raw_digest, SPLIT_VERSION, SALTS.get(dataset.family, 0)], 12)
    folder = cache_root / f"{dataset.id}-{key}"
    if not (folder / "meta.json").exists():
        _build(dataset, found, folder)
    return Prepared(dataset=dataset, folder=folder)


def _build(dataset: Dataset, found: Located, folder: Path) -> None:
    """Parse beside and rename: of two processes at once one folder stays, and both are equal."""
    import pyarrow.parquet as pq

    assert found.form is not None
    examples: dict[str, Example] = {}
    rejects: list[Reject] = []
    for item in found.form.read(found.paths):
        if isinstance(item, Reject):
            rejects.append(item)
        elif item.id in examples:
            raise DataError(f"{dataset.id} must give every example an id of its own, but {item.id} stands twice")
        else:
            examples[item.id] = item
    _sound(dataset, found, len(examples), rejects)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(6)}")
    beside.mkdir(parents=True)
    pq.write_table(_arrow(dataset, list(examples.values())), beside / "examples.parquet", compression="zstd")
    lines = (files.to_line(vars(reject)) + "\n" for reject in rejects)
    files.write_text(beside / "rejects.jsonl", "".join(lines))
    salt = SALTS.get(dataset.family, 0)
    split = {group: part_of(group, salt) for group in sorted({example.group for example in examples.values()})}
    files.write_json(beside / "split.json", split)
    meta = {
        "dataset": dataset.id,
        "form": found.form.name,
        "state": found.state,
        "raw_digest": found.raw_digest,
        "split": {"version": SPLIT_VERSION, "salt": salt, "digest": ids.digest(split), "n_groups": len(split)},
        "n_examples": len(examples),
        "n_rejects": len(rejects),
    }
    files.write_json(beside / "meta.json", meta)
    try:
        os.rename(beside, folder)
    except OSError:
        shutil.rmtree(beside)
        if not (folder / "meta.json").exists():
            raise


def _sound(dataset: Dataset, found: Located, n_examples: int, rejects: Sequence[Reject]) -> None:
    """Raise DataError where the counts are not what was recorded, or too many rows are bad."""
    assert found.form is not None
    expected = found.form.n_examples
    if found.state == "found" and expected is not None and n_examples != expected:
        raise DataError(
            f"{dataset.id} must give {expected:,} examples from the pinned files, but gives {n_examples:,}; "
            "the reader or the record has drifted"
        )
    worst = f", such as {rejects[0].file} row {rejects[0].row}: {rejects[0].reason}" if rejects else ""
    if n_examples == 0:
        raise DataError(f"{dataset.id} must give examples, but gives none and {len(rejects)} bad rows{worst}")
    if found.state != "sample" and len(rejects) > MAX_REJECT_SHARE * (n_examples + len(rejects)):
        raise DataError(
            f"{dataset.id} must have at most {MAX_REJECT_SHARE:.0%} bad rows, but has {len(rejects):,} beside "
            f"{n_examples:,} good ones{worst}; is it the right file?"
        )


def _arrow(dataset: Dataset, examples: Sequence[Example]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {
        "id": pa.array([example.id for example in examples], pa.string()),
        "group": pa.array([example.group for example in examples], pa.string()),
        "context": pa.array([list(example.context) for example in examples], pa.list_(pa.string())),
        "text": pa.array([example.text for example in examples], pa.string()),
        "manual": pa.array([example.manual for example in examples], pa.bool_()),
    }
    for task in dataset.tasks:
        kind = pa.int64() if task.kind == "classification" else pa.float64()
        columns[task.id] = pa.array([_target(task, example) for example in examples], kind)
    return pa.table(columns)


def _target(task: Task, example: Example) -> float | int | None:
    value = example.labels.get(task.id)
    if value is None or task.kind == "regression":
        return None if value is None else float(value)
    return task.labels.index(str(value))


def load_task(prepared: Prepared, task: Task, use: DataUse, labels: LabelUse) -> TaskTable:
    """A task's table under a data use. Raises DataError where no example has a label."""
    import numpy as np
    import pyarrow.compute as pc

    table = prepared.table
    keep = pc.is_valid(table[task.id])
    if labels == "manual":
        keep = pc.and_(keep, table["manual"])
    table = table.filter(keep)
    if table.num_rows == 0:
        raise DataError(f"{task.id} must have labelled examples, but {prepared.folder.name} has none ({labels} labels)")
    example_ids, groups = table["id"].to_pylist(), table["group"].to_pylist()
    rows, parts = _parts(prepared.dataset, task, use, example_ids, groups)
    contexts = table["context"].to_pylist()
    cut = [tuple(turns if use.context == "history" else turns[-1:]) for turns in contexts]
    texts = table["text"].to_pylist()
    targets = table[task.id].to_numpy()
    order = np.asarray(rows, np.int64)
    key = [prepared.folder.name, use.context, use.splits if prepared.dataset.id == "news" else "", len(example_ids)]
    same = ids.digest([*key, ids.digest(example_ids)], 24)
    return TaskTable(
        ids=tuple(example_ids[row] for row in rows),
        groups=tuple(groups[row] for row in rows),
        contexts=tuple(cut[row] for row in rows),
        texts=tuple(texts[row] for row in rows),
        targets=targets[order].astype(np.int64 if task.kind == "classification" else np.float64),
        parts=np.asarray(parts, dtype=np.str_),
        digest=same,
    )


def _parts(
    dataset: Dataset, task: Task, use: DataUse, example_ids: Sequence[str], groups: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Row and part of every use of an example: once per example, but for the paper's nested News slices."""
    if use.splits == "paper":
        pairs = [
            (row, part) for row, parts in enumerate(paper_parts(dataset, task.id, example_ids)) for part in parts
        ]
        return [row for row, _ in pairs], [part for _, part in pairs]
    salt = SALTS.get(dataset.family, 0)
    known = {group: part_of(group, salt) for group in set(groups)}
    return list(range(len(groups))), [known[group] for group in groups]


def rejects(prepared: Prepared) -> list[Reject]:
    """The rows that could not be used."""
    with contextlib.suppress(TypeError):
        return [Reject(**row) for row in files.read_lines(prepared.folder / "rejects.jsonl")]
    return []
