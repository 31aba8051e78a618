"""Write records as they come, so that a run that was stopped goes on where it was; then give them their final form.

OUT.part        JSONL, one window appended at a time
OUT.part.json   the note of what is in it: bytes and their digest, rows read and their digest, which run it belongs to
OUT             appears when all is done: JSONL, CSV or Parquet
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from empslurm import files
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.scoring.choose import Group
from empslurm.scoring.inputs import Row
from empslurm.scoring.records import columns, flatten

Form = Literal["jsonl", "csv", "parquet"]
FORMS: dict[str, Form] = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
PARQUET_ROWS = 4_096  # rows of a row group
CHUNK = 2**20


def form_of(path: Path) -> Form:
    """The form that a file's ending asks for. Raises UsageError."""
    try:
        return FORMS[path.suffix.lower()]
    except KeyError as error:
        raise UsageError(f"the output must end in {', '.join(FORMS)}, but is {path.name}; name it so") from error


class RowDigest:
    """Running digest over the rows read so far."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._digest = hashlib.sha256()

    def add(self, row: Row) -> None:
        self.n_rows += 1
        self._digest.update(files.to_line([row.file, row.number, row.text, row.context, row.error]).encode())

    def hex(self) -> str:
        return self._digest.hexdigest()


@dataclass
class Work:
    """The unfinished output. `run`: digest of everything that decides a record but the rows themselves."""

    out: Path
    run: str

    @property
    def part(self) -> Path:
        return self.out.with_name(self.out.name + ".part")

    @property
    def note(self) -> Path:
        return self.out.with_name(self.out.name + ".part.json")

    def open(self, rows: Iterator[Row]) -> RowDigest:
        """Prepare the part file; pass over the rows that it holds already. Raises UsageError, DamagedError.

        What was appended after the last note is cut off; what the note vouches for is checked against its digest.
        """
        if self.out.exists():
            raise UsageError(f"{self.out} must not exist yet, but does; move it away, or name another output")
        digest = RowDigest()
        if not self.note.exists():
            self._write_part(b"")
            self._sums = hashlib.sha256()
            self._n_bytes = 0
            return digest
        note = files.read_object(self.note)
        if note.get("run") != self.run:
            raise UsageError(
                f"{self.part} must come from the same adapters and columns to be gone on with, but comes from others; "
                "move it away, or name another output"
            )
        self._take_up(note)
        for row in islice(rows, int(note["n_rows"])):
            digest.add(row)
        if (digest.n_rows, digest.hex()) != (note["n_rows"], note["rows"]):
            raise UsageError(
                f"{self.part} must come from the same input to be gone on with, but the rows before it differ; move "
                "it away, or name another output"
            )
        return digest

    def _write_part(self, data: bytes) -> None:
        files.write_bytes(self.part, data)

    def _take_up(self, note: Mapping[str, Any]) -> None:
        """Check the part file up to the note's length and cut it there."""
        self._n_bytes = int(note["n_bytes"])
        self._sums = hashlib.sha256()
        left = self._n_bytes
        try:
            with open(self.part, "rb") as stream:
                while left and (data := stream.read(min(CHUNK, left))):
                    self._sums.update(data)
                    left -= len(data)
        except FileNotFoundError:
            pass
        if left or self._sums.hexdigest() != note["bytes"]:
            raise DamagedError(
                f"{self.part} must match its note {self.note.name}, but does not; remove both and start again"
            )
        os.truncate(self.part, self._n_bytes)

    def append(self, records: Sequence[Mapping[str, Any]], digest: RowDigest) -> None:
        """Append a window durably, then vouch for it. Raises StoreError."""
        data = "".join(files.to_line(record) + "\n" for record in records).encode()
        try:
            with open(self.part, "ab") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.part} must be written, but the file system says: {error.strerror}; make room and run the same "
                "command again"
            ) from error
        self._sums.update(data)
        self._n_bytes += len(data)
        files.write_json(
            self.note,
            {
                "run": self.run,
                "n_bytes": self._n_bytes,
                "bytes": self._sums.hexdigest(),
                "n_rows": digest.n_rows,
                "rows": digest.hex(),
            },
        )

    def finish(self, groups: Sequence[Group]) -> None:
        """Give the records their final form under the output's own name."""
        form = form_of(self.out)
        if form == "jsonl":
            os.replace(self.part, self.out)
        else:
            beside = self.out.with_name(self.out.name + ".writing")
            (_write_csv if form == "csv" else _write_parquet)(self.part, beside, groups)
            os.replace(beside, self.out)
            self.part.unlink()
        self.note.unlink(missing_ok=True)


def _flat(part: Path, groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    with open(part, encoding="utf-8") as lines:
        for line in lines:
            yield flatten(json.loads(line), groups)


def _write_csv(part: Path, path: Path, groups: Sequence[Group]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(columns(groups)))
        writer.writeheader()
        writer.writerows(_flat(part, groups))


def _write_parquet(part: Path, path: Path, groups: Sequence[Group]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"string": pa.string(), "int": pa.int64(), "float": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns(groups).items()])
    rows = _flat(part, groups)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
