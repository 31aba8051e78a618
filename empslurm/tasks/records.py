"""Read delimited files as distributed: tolerant of BOM, CRLF and NUL, strict about columns; a bad row is a Reject."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from empslurm.errors import DataError
from empslurm.tasks.schema import Reject

MAX_FIELD = 2**24  # characters of one cell of a table
MAX_FILE_BYTES = 2**31


def read_text(path: Path) -> str:
    """A file as text: UTF-8, with a BOM or not; NUL characters are dropped. Raises DataError for another encoding."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path.name} must be smaller than {MAX_FILE_BYTES:,} bytes, but is larger; is it the right file?")
        data = path.read_bytes()
        return data.decode("utf-8-sig").replace("\x00", "")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} must be UTF-8, but is not at byte {error.start:,}; convert it and keep its name") from error
    except OSError as error:
        raise DataError(f"{path} must be readable, but is not: {error.strerror}") from error


def read_rows(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    quoted: bool = True,
    header: bool = True,
    ragged: bool = False,
) -> Iterator[tuple[int, dict[str, str]] | Reject]:
    """Record number (1-based, header not counted) and the named columns, stripped; a row of another width is a Reject.

    Without a `header` the columns are named by position; `ragged`: rows may have more columns than the header. Raises DataError naming the columns found and expected.
    """
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(
        io.StringIO(read_text(path), newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    try:
        found = [name.strip() for name in next(reader, [])] if header else list(columns)
        absent = [name for name in columns if name not in found]
        if absent:
            shown = ", ".join(name[:40] for name in found[:30])
            raise DataError(f"{path.name} must have the columns {', '.join(columns)}; but has {shown or 'none'}: not {absent[0]}")
        places = {name: found.index(name) for name in columns}
        for number, row in enumerate(reader, 1):
            if not row:
                continue
            if len(row) < len(found) or (len(row) > len(found) and header and not ragged):
                yield Reject(file=path.name, row=number, reason=f"has {len(row)} columns instead of {len(found)}")
                continue
            yield number, {name: row[place].strip() for name, place in places.items()}
    except csv.Error as error:
        raise DataError(f"{path.name} must be a delimited table, but is not at line {reader.line_num}: {error}") from error


def number(text: str, low: float | None = None, high: float | None = None) -> float | None:
    """A finite number within bounds, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        return None
    return value
