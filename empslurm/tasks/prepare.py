"""Parse a dataset once into a Parquet file under its digest, and select a task's table from it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from empslurm import files, ids
from empslurm.config import DataUse, LabelUse
from empslurm.errors import DataError, EmpslurmError, StoreError
from empslurm.tasks.raw import Located, locate
from empslurm.tasks.schema import PARTS, Dataset, Example, Form, LeftOut, Part, Reject, Task
from empslurm.tasks.splits import SALTS, SPLIT_VERSION, ends_of, official_parts, paper_parts, part_of, split_name
from empslurm.validation import decode
from empslurm.validation.constraints import Later

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PREPARE_VERSION = 2
META = "meta.json"
CONTENT = ("examples.parquet", "rejects.jsonl", "split.json")
PROGRESS_EVERY = 1_000
DRIFT = 0.0011  # means and deviations are recorded to three digits
PART_COLUMN = ":part"  # of examples.parquet where the parts are official; no task has such a name
MAX_REASONS = 5  # of bad rows, in an error
MAX_REJECT_SHARE = 0.05  # of all rows, of a file, and of an official part; more is a sign of a wrong file

Progress = Callable[[str, int], None]  # dataset id, rows read so far


@dataclass(frozen=True, kw_only=True)
class SplitNote:
    """The rule by which the groups were split, and a digest of the result."""

    version: int
    salt: int
    digest: str
    n_groups: int


@dataclass(frozen=True, kw_only=True)
class Meta:
    """Counts and digests of a prepared dataset, and the state of its raw files."""

    dataset: str
    form: str
    state: str
    raw_digest: str
    split: SplitNote
    n_examples: int
    n_rejects: int
    left_out: Annotated[Mapping[str, int], Later()] = field(default_factory=dict)  # label -> rows
    files: Mapping[str, str]  # name -> sha256


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A parsed dataset on disk: examples.parquet, rejects.jsonl, split.json, meta.json."""

    dataset: Dataset
    folder: Path

    @cached_property
    def meta(self) -> Meta:
        """Counts and digests, and the state of the raw files. Raises DamagedError."""
        return _meta(self.folder)

    @cached_property
    def table(self) -> pa.Table:
        """All examples: id, group, context (list of turns), text; per task its target and whether a person gave it."""
        import pyarrow.parquet as pq

        # Not read_table: it imports pyarrow.dataset and pandas, which takes longer than reading.
        return pq.ParquetFile(self.folder / "examples.parquet", memory_map=True).read()


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """One task's examples, in the dataset's order. With the paper's News slices an example is there once per part.

    contexts: earlier turns, oldest first, already cut to the data use. targets: (n_examples,) label indices (int64) or
    values (float64). parts: (n_examples,) of "train", "validation", "test".
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]
    targets: NDArray[Any]
    parts: NDArray[np.str_]
    digest: str  # of everything that tokenising depends on: which texts and contexts these are


def prepare(dataset: Dataset, data_root: Path, cache_root: Path, progress: Progress | None = None) -> Prepared:
    """The dataset, parsed now or before; a second call does not read the raw files. Raises DataError, StoreError.

    An earlier result is checked against its recorded checksums, and the files are parsed again where it differs.
    """
    located = locate(dataset, data_root, cache_root)
    form = located.form
    if form is None or located.raw_digest is None:
        raise DataError(located.problem)
    folder = cache_root / folder_name(dataset, form, located.raw_digest)
    if not _intact(folder):
        rows = _read(dataset, form, located.paths, progress or (lambda _dataset, _n_rows: None))
        _sound(dataset, form, located, rows)
        _store(dataset, form, located, rows, folder)
    return Prepared(dataset=dataset, folder=folder)


def folder_name(dataset: Dataset, form: Form, raw_digest: str) -> str:
    """The prepared folder of raw files: a digest of all that it depends on; for cards also reader and split."""
    own = [form.reading, split_name(dataset, "family")] if form.reading else []
    key = ids.digest([PREPARE_VERSION, raw_digest, SPLIT_VERSION, SALTS.get(dataset.family, 0), *own], 12)
    return f"{dataset.id}-{key}"


def _intact(folder: Path) -> bool:
    """Whether the folder holds every file with the checksum that was recorded when it was made."""
    try:
        sums = _meta(folder).files
        return set(sums) == set(CONTENT) and all(files.sha256_file(folder / name) == sums[name] for name in sums)
    except (OSError, EmpslurmError):
        return False


def _meta(folder: Path) -> Meta:
    meta: Meta = decode.load(folder / META, Meta)
    return meta


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows of a form, read. left_out: label -> number of rows that are left out on purpose."""

    examples: Sequence[Example]
    rejected: Sequence[Reject]
    left_out: Mapping[str, int]


def _read(dataset: Dataset, form: Form, paths: Mapping[str, Path], progress: Progress) -> _Rows:
    """All rows of the form that was found. Raises DataError where two rows have one id."""
    examples: dict[str, Example] = {}
    rejected: list[Reject] = []
    left_out: Counter[str] = Counter()
    n_rows = 0
    for n_rows, item in enumerate(form.read(paths), 1):
        if isinstance(item, Reject):
            rejected.append(item)
        elif isinstance(item, LeftOut):
            left_out[item.label] += 1
        elif item.id in examples:
            raise DataError(
                f"{dataset.id} must give each example a different id, but two have {item.id}; remove one of the rows"
            )
        else:
            examples[item.id] = item
        if n_rows % PROGRESS_EVERY == 0:
            progress(dataset.id, n_rows)
    progress(dataset.id, n_rows)
    return _Rows(examples=list(examples.values()), rejected=rejected, left_out=left_out)


def _store(dataset: Dataset, form: Form, located: Located, rows: _Rows, folder: Path) -> None:
    """Write a temporary folder and rename it; of two processes at once one wins, and their folders are equal."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(6)}")
    try:
        beside.mkdir(parents=True)
        _write(dataset, form, located, rows, beside)
        if folder.exists() and not _intact(folder):
            os.rename(folder, beside / "damaged")
        with contextlib.suppress(OSError):  # another process was first
            os.rename(beside, folder)
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        files.sync_folder(folder.parent)
    except OSError as error:
        raise StoreError(f"{folder} must be written, but cannot be: {error.strerror or error}; make room") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if not _intact(folder):
        raise StoreError(
            f"{folder} must hold what was written, but does not; move it away and run the same command again"
        )


def _write(dataset: Dataset, form: Form, located: Located, rows: _Rows, folder: Path) -> None:
    import pyarrow.parquet as pq

    salt = SALTS.get(dataset.family, 0)
    parts = official_parts(rows.examples, salt) if dataset.official else []
    pq.write_table(_arrow(dataset, rows.examples, parts), folder / "examples.parquet", compression="zstd")
    lines = (files.to_line(_kept(reject)) + "\n" for reject in rows.rejected)
    files.write_text(folder / "rejects.jsonl", "".join(lines))
    groups = sorted({example.group for example in rows.examples})
    if dataset.official:  # by example: the publisher's parts may cut through a group
        split = {example.id: part for example, part in zip(rows.examples, parts, strict=True)}
    else:
        split = {group: part_of(group, salt, ends_of(dataset)) for group in groups}
    files.write_json(folder / "split.json", split)
    meta = Meta(
        dataset=dataset.id,
        form=form.name,
        state=located.state,
        raw_digest=str(located.raw_digest),
        split=SplitNote(version=SPLIT_VERSION, salt=salt, digest=ids.digest(split), n_groups=len(groups)),
        n_examples=len(rows.examples),
        n_rejects=len(rows.rejected),
        left_out=dict(rows.left_out),
        files={name: files.sha256_file(folder / name) for name in CONTENT},
    )
    files.write_json(folder / META, asdict(meta))


def _kept(reject: Reject) -> dict[str, Any]:
    """What the prepared folder keeps of a bad row."""
    value = {"value": reject.value} if reject.value else {}
    return {"file": reject.file, "row": reject.row, "reason": reject.reason, **value}


def _sound(dataset: Dataset, form: Form, located: Located, rows: _Rows) -> None:
    """Raise DataError where the examples differ from the record, too many rows are bad or a part is empty."""
    if not rows.examples:
        others = f" and {sum(rows.left_out.values()):,} left out by their label" if rows.left_out else ""
        raise DataError(
            f"{dataset.id} must give examples, but gives none and {len(rows.rejected):,} bad rows{others}"
            f"{such_as(rows.rejected)}; {_fix(form, rows.rejected, some_good=False)}"
        )
    if located.state == "found" and located.pinned:
        _undrifted(dataset, form, rows.examples)
    if located.state != "sample" and not form.partial:
        _mostly_good(dataset, form, rows)
    if dataset.official:
        _parts_filled(dataset, rows.examples)


def _mostly_good(dataset: Dataset, form: Form, rows: _Rows) -> None:
    """Raise DataError where too many rows are bad: of all, of a file, or of an official part.

    Readers of built-in datasets do not say which file an example is from: there all files count together. One bad row
    in a small file or part is allowed.
    """
    by_file = all(example.file for example in rows.examples)
    n_good = Counter(origin for item in rows.examples for origin in _places(item.file if by_file else "", item.part))
    bad: dict[str, list[Reject]] = {}
    for reject in rows.rejected:
        for origin in _places(reject.file if by_file else "", reject.part):
            bad.setdefault(origin, []).append(reject)
    for origin, rejected in sorted(bad.items()):  # all rows first
        n_bad = len(rejected)
        if n_bad > max(1 if origin else 0, MAX_REJECT_SHARE * (n_good[origin] + n_bad)):
            where = f" in {origin}" if origin else ""
            raise DataError(
                f"{dataset.id} must have at most {MAX_REJECT_SHARE:.0%} bad rows{where}, but has {n_bad:,} beside "
                f"{n_good[origin]:,} good ones{such_as(rejected)}; {_fix(form, rejected, some_good=True)}"
            )


def _fix(form: Form, rejected: Sequence[Reject], *, some_good: bool) -> str:
    """What to do about bad rows. some_good: whether the form has good rows too."""
    if form.label_fix is not None and 2 * sum(reject.by_label for reject in rejected) > len(rejected):
        return form.label_fix([*dict.fromkeys(reject.value for reject in rejected if reject.value)], some_good)
    return "give the right file, or fix these rows" if some_good else "give the right file"


def _places(file: str, part: Part | None) -> list[str]:
    """The groups of rows that a row counts in: all rows, its file, its official part."""
    return ["", *([file] if file else []), *([f"the {part} part"] if part else [])]


def _parts_filled(dataset: Dataset, examples: Sequence[Example]) -> None:
    """Raise DataError where an official part has no examples, or drawing validation leaves it or train empty."""
    filled = {example.part for example in examples}
    empty = [part for part in dataset.official if part not in filled]
    if empty:
        raise DataError(
            f"{dataset.id} must have examples in each official part ({', '.join(dataset.official)}), but {empty[0]} "
            "has none; name the right files or the right column"
        )
    lacking = empty_part(dict(Counter(official_parts(examples, SALTS.get(dataset.family, 0)))))
    if lacking:
        n_groups = len({example.group for example in examples if example.part == "train"})
        raise DataError(
            f"{dataset.id} must have train and validation examples, but {lacking} has none: there is no validation "
            f"file or part, so a ninth of the {n_groups:,} groups of train is drawn; name a validation file or part, "
            "or finer groups in columns.group"
        )


def empty_part(sizes: Mapping[str, int]) -> str:
    """The first part without examples; an empty string where all have some. sizes: part -> examples."""
    return next((part for part in PARTS if not sizes.get(part)), "")


def such_as(rejected: Sequence[Reject]) -> str:
    """The first row of each reason and the number of its rows, a few of them, for the end of a clause."""
    by_reason: dict[str, list[Reject]] = {}
    for reject in rejected:
        reason = reject.reason.replace(f"but is {reject.value}", "but is", 1) if reject.value else reject.reason
        by_reason.setdefault(reason, []).append(reject)
    rows = "; ".join(map(_first_of, [*by_reason.values()][:MAX_REASONS]))
    return f", such as {rows}" if rows else ""


def _first_of(alike: Sequence[Reject]) -> str:
    """The first of several rows with one reason, how many there are, and their values."""
    values = [*dict.fromkeys(reject.value for reject in alike)]
    several = f": {', '.join(values)}" if len(values) > 1 else ""
    count = f" ({len(alike):,} rows{several})" if len(alike) > 1 else ""
    return f"{alike[0].file} row {alike[0].row}: {alike[0].reason}{count}"


def _undrifted(dataset: Dataset, form: Form, examples: Sequence[Example]) -> None:
    """Raise DataError where pinned files give other examples than were recorded."""
    if form.n_examples is not None and len(examples) != form.n_examples:
        raise DataError(
            f"{dataset.id} must give {form.n_examples:,} examples from the pinned files, but gives {len(examples):,}; "
            "fix the dataset's reader, or record the new number in its module"
        )
    for task in dataset.tasks:
        now, then = summary(task, examples), form.recorded.get(task.id)
        if then is not None and any(abs(new - old) > DRIFT for new, old in zip(now, then, strict=True)):
            raise DataError(
                f"{task.id} must give {then} from the pinned files, but gives {now} (examples per label, or mean and "
                "deviation); fix the dataset's reader, or record the new numbers in its module"
            )


def summary(task: Task, examples: Sequence[Example]) -> tuple[float, ...]:
    """The recorded statistics of a task: counts in the labels' order, or mean and standard deviation."""
    labels = [example.labels[task.id] for example in examples if task.id in example.labels]
    if task.kind == "classification":
        counts = Counter(labels)
        return tuple(counts[label] for label in task.labels)
    values = [float(label) for label in labels]
    return (round(statistics.fmean(values), 3), round(statistics.pstdev(values), 3)) if values else (0.0, 0.0)


def _arrow(dataset: Dataset, examples: Sequence[Example], parts: Sequence[Part]) -> pa.Table:
    """parts: of the examples where they are official."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "id": pa.array([example.id for example in examples], pa.string()),
        "group": pa.array([example.group for example in examples], pa.string()),
        "context": pa.array([list(example.context) for example in examples], pa.list_(pa.string())),
        "text": pa.array([example.text for example in examples], pa.string()),
    }
    if dataset.official:
        columns[PART_COLUMN] = pa.array(parts, pa.string())
    for task in dataset.tasks:
        kind = pa.int64() if task.kind == "classification" else pa.float64()
        columns[task.id] = pa.array([_target(task, example) for example in examples], kind)
        columns[manual_column(task)] = pa.array([task.id not in example.automatic for example in examples], pa.bool_())
    return pa.table(columns)


def _target(task: Task, example: Example) -> float | int | None:
    value = example.labels.get(task.id)
    if value is None or task.kind == "regression":
        return None if value is None else float(value)
    return task.labels.index(str(value))


def manual_column(task: Task) -> str:
    """The column that says whether a person gave a task's label."""
    return f"{task.id}:manual"


def load_task(prepared: Prepared, task: Task, use: DataUse, labels: LabelUse) -> TaskTable:
    """A task's table under a data use. Raises DataError where no example has a label."""
    import numpy as np
    import pyarrow.compute as pc

    table = prepared.table.filter(pc.is_valid(prepared.table[task.id]))
    example_ids, groups = table["id"].to_pylist(), table["group"].to_pylist()
    # Parts are drawn before manual labels are picked: a row is in one part whatever labels a source is trained on.
    dataset = prepared.dataset
    if dataset.official:
        rows, parts = list(range(len(groups))), table[PART_COLUMN].to_pylist()
    else:
        rows, parts = _parts(dataset, task, use, example_ids, groups)
    if labels == "manual":
        manual = table[manual_column(task)].to_pylist()
        kept = [index for index, row in enumerate(rows) if manual[row]]
        rows, parts = [rows[index] for index in kept], [parts[index] for index in kept]
    if not rows:
        raise DataError(
            f"{task.id} must have labelled examples, but has none ({labels} labels); run `empslurm data status`"
        )
    keep = slice(None) if use.context == "history" else slice(-1, None)
    contexts = [tuple(turns[keep]) for turns in table["context"].to_pylist()]
    texts, targets = table["text"].to_pylist(), table[task.id].to_numpy()
    chosen = [example_ids[row] for row in rows]
    return TaskTable(
        ids=tuple(chosen),
        groups=tuple(groups[row] for row in rows),
        contexts=tuple(contexts[row] for row in rows),
        texts=tuple(texts[row] for row in rows),
        targets=targets[np.asarray(rows, np.int64)].astype(np.int64 if task.kind == "classification" else np.float64),
        parts=np.asarray(parts, dtype=np.str_),
        digest=ids.digest([prepared.folder.name, use.context, ids.digest(chosen)], 24),
    )


def _parts(
    dataset: Dataset, task: Task, use: DataUse, example_ids: Sequence[str], groups: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Row and part of every use of an example: one per example, except in the paper's nested News slices."""
    if use.splits == "paper":
        pairs = [(row, part) for row, parts in enumerate(paper_parts(dataset, task.id, example_ids)) for part in parts]
        return [row for row, _ in pairs], [part for _, part in pairs]
    salt = SALTS.get(dataset.family, 0)
    known = {group: part_of(group, salt, ends_of(dataset)) for group in set(groups)}
    return list(range(len(groups))), [known[group] for group in groups]


def rejects(prepared: Prepared) -> list[Reject]:
    """The rows that could not be used."""
    with contextlib.suppress(TypeError):
        return [Reject(**row) for row in files.read_lines(prepared.folder / "rejects.jsonl")]
    return []
