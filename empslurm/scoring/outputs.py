"""Write records window by window, so that a stopped run can resume; then convert them to the output's format.

OUT.part        JSONL, one window appended at a time
OUT.part.json   the note of what is in it: bytes and their digest, rows read and their digest, the run it belongs to
OUT             written when all rows are done: JSONL, CSV or Parquet
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from empslurm import files
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.scoring.inputs import Row
from empslurm.scoring.records import columns, flatten
from empslurm.scoring.selection import Group
from empslurm.validation import decode
from empslurm.validation.constraints import Range
from empslurm.validation.table_file import text_of

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
PARQUET_ROWS = 4_096  # rows of a row group
CHUNK = 2**20
EXACT = 2**53  # a float holds every integer up to this one
LONG = 2**63
HOLDS = {"bool": {"bool"}, "int": {"exact", "int"}, "float": {"exact", "float"}}  # column type -> value types


def format_of(path: Path) -> Format:
    """The format of a file, from its ending. Raises UsageError."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError as error:
        raise UsageError(
            f"the output must end in {', '.join(FORMATS)}, but is {path.name}; write for example {path.stem}.csv"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Note:
    """What the unfinished output is known to hold."""

    run: str  # digest of everything that affects a record, except the rows themselves
    n_bytes: Annotated[int, Range(low=0)]
    bytes: str  # their digest
    n_rows: Annotated[int, Range(low=0)]
    rows: str  # their digest; "" before the first


class RowDigest:
    """Running digest over the rows read so far."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._digest = hashlib.sha256()

    def add(self, row: Row) -> None:
        self.n_rows += 1
        kept = [row.kept] if row.kept else []
        self._digest.update(files.to_line([row.file, row.number, row.text, row.context, row.error, *kept]).encode())

    def hex(self) -> str:
        return self._digest.hexdigest()


class Work:
    """The unfinished output. `run`: digest of everything that affects a record, except the rows themselves."""

    def __init__(self, out: Path, run: str) -> None:
        self.out, self.run = out, run
        self.part = out.with_name(out.name + ".part")
        self.note = out.with_name(out.name + ".part.json")
        self._n_bytes, self._sums = 0, hashlib.sha256()
        self._stream: BinaryIO | None = None

    def open(self, rows: Iterator[Row]) -> RowDigest:
        """Open the part file and skip the rows that it already holds. Raises UsageError, StoreError.

        What was appended after the last note is cut off; what was there before is checked against the note's digest.
        """
        if self.out.exists():
            raise UsageError(f"{self.out} must not exist yet, but does; move it away, or name another output")
        note = self._read_note()
        self._lock()
        self._take_up(note)
        digest = RowDigest()
        for row in islice(rows, note.n_rows):
            digest.add(row)
        if digest.n_rows != note.n_rows or note.rows not in ("", digest.hex()):
            raise UsageError(
                f"{self.part} must come from the same input to be continued, but its rows differ from this input; move "
                "it away, or name another output"
            )
        return digest

    def _read_note(self) -> Note:
        """The note, or that of an empty part file. Raises UsageError, DamagedError."""
        try:
            note: Note = decode.load(self.note, Note, f"remove it and {self.part.name}, and start again")
        except FileNotFoundError:
            return Note(run=self.run, n_rows=0, n_bytes=0, rows="", bytes=self._sums.hexdigest())
        if note.run != self.run:
            raise UsageError(
                f"{self.part} must come from the same adapters and columns to be continued, but comes from others; "
                "move it away, or name another output"
            )
        return note

    def _lock(self) -> None:
        """Open the part file for this process alone. Raises StoreError."""
        with files.storage_errors(self.part, "written"):
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.part, "ab+")  # noqa: SIM115 (held until the run ends)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"{self.part} must be written by one process, but another one holds it; wait for it, or name another "
                "output"
            ) from error

    def _take_up(self, note: Note) -> None:
        """Check the part file up to the note's length and cut it there."""
        assert self._stream is not None
        self._stream.seek(0)
        left = self._n_bytes = note.n_bytes
        while left and (data := self._stream.read(min(CHUNK, left))):
            self._sums.update(data)
            left -= len(data)
        if left or self._sums.hexdigest() != note.bytes:
            raise DamagedError(
                f"{self.part} must match its note {self.note.name}, but does not; remove both and start again"
            )
        self._stream.truncate(self._n_bytes)

    def append(self, records: Sequence[Mapping[str, Any]], digest: RowDigest) -> None:
        """Append a window durably, then update the note. Raises StoreError."""
        assert self._stream is not None
        data = "".join(files.to_line(record) + "\n" for record in records).encode()
        with files.storage_errors(self.part, "written"):
            self._stream.write(data)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._sums.update(data)
        self._n_bytes += len(data)
        note = Note(
            run=self.run,
            n_bytes=self._n_bytes,
            bytes=self._sums.hexdigest(),
            n_rows=digest.n_rows,
            rows=digest.hex(),
        )
        files.write_json(self.note, asdict(note))

    def close(self) -> None:
        """Close the part file, which unlocks it."""
        if self._stream is not None:
            self._stream.close()

    def finish(self, groups: Sequence[Group], keep: Sequence[str] = ()) -> None:
        """Convert the records to the output's format, under its name. keep: columns of the input."""
        self.close()
        format = format_of(self.out)
        if format == "jsonl":
            os.replace(self.part, self.out)
        else:
            temporary = self.out.with_name(self.out.name + ".writing")
            (_write_csv if format == "csv" else _write_parquet)(self.part, temporary, groups, keep)
            os.replace(temporary, self.out)
            self.part.unlink()
        self.note.unlink(missing_ok=True)


def _flat(part: Path, groups: Sequence[Group], kept: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Records as flat columns. kept: type by column."""
    with open(part, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            carried = {name: _as_kind(record.get(name), kind) for name, kind in kept.items()}
            yield flatten({**record, **carried}, groups, kept)


def _as_kind(value: Any, kind: str) -> Any:
    """Convert a kept value to its column's type."""
    return text_of(value) if kind == "string" and not isinstance(value, str | None) else value


def _kinds(part: Path, keep: Sequence[str]) -> dict[str, str]:
    """The type of every kept column: one that holds all its values, else string."""
    seen: dict[str, set[str]] = {name: set() for name in keep}
    if keep:
        with open(part, encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                for name, kinds in seen.items():
                    kinds.add(_kind(record.get(name)))
    return {name: _common(kinds - {"none"}) for name, kinds in seen.items()}


def _kind(value: str | bool | int | float | None) -> str:
    """A value's type; `exact` is an integer that a float holds too."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "exact" if abs(value) <= EXACT else "int" if abs(value) < LONG else "string"
    return "float" if isinstance(value, float) else "string"


def _common(kinds: Iterable[str]) -> str:
    """The type of a column that holds values of these types."""
    kinds = {*kinds}
    for kind, holds in HOLDS.items():
        if kinds and kinds <= holds:
            return kind
    return "string"


def _write_csv(part: Path, path: Path, groups: Sequence[Group], keep: Sequence[str]) -> None:
    kept = dict.fromkeys(keep, "string")
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(columns(groups, kept)))
        writer.writeheader()
        writer.writerows(_flat(part, groups, kept))


def _write_parquet(part: Path, path: Path, groups: Sequence[Group], keep: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    kept = _kinds(part, keep)
    schema = pa.schema([(name, types[kind]) for name, kind in columns(groups, kept).items()])
    rows = _flat(part, groups, kept)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
