"""Read delimited files as distributed: tolerant of BOM, CRLF and NUL, strict about columns; a bad row is a Reject."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from empslurm.errors import DataError
from empslurm.tasks.schema import Reject

MAX_FIELD = 2**24  # characters of one cell of a table
MAX_FILE_BYTES = 2**31


def read_bytes(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file of bounded size. Raises DataError."""
    try:
        if path.stat().st_size > max_bytes:
            raise DataError(
                f"{path.name} must be smaller than {max_bytes:,} bytes, but is larger; is it the right file?"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} must be readable, but is not: {error.strerror}; get read access") from error


def read_text(path: Path) -> str:
    """A file as text: UTF-8, with a BOM or not; NUL characters are dropped. Raises DataError for another encoding."""
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\x00", "")
    except UnicodeDecodeError as error:
        must = f"{path.name} must be UTF-8, but is not at byte {error.start:,}"
        raise DataError(f"{must}; convert it and keep its name") from error


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

    Without a `header` the columns are named by position; `ragged`: rows may have more columns than the header. Raises
    DataError naming the columns found and expected, and where a quote is never closed (it would swallow the rest).
    """
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(
        io.StringIO(read_text(path), newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=quoted,
    )
    try:
        found = [name.strip() for name in next(reader, [])] if header else list(columns)
        check_columns(path.name, found, columns)
        places = {name: found.index(name) for name in columns}
        for number, row in enumerate(reader, 1):
            if not row:
                continue
            if len(row) < len(found) or (len(row) > len(found) and header and not ragged):
                yield Reject(file=path.name, row=number, reason=f"has {len(row)} columns instead of {len(found)}")
                continue
            yield number, {name: row[place].strip() for name, place in places.items()}
    except csv.Error as error:
        must = f"{path.name} must be a delimited table, but is not at line {reader.line_num:,}: {error}"
        raise DataError(f"{must}; correct the line or take the file as distributed") from error


def check_columns(file: str, found: Sequence[str], expected: Sequence[str]) -> None:
    """Raise DataError where an expected column is not there."""
    absent = [name for name in expected if name not in found]
    if absent:
        raise DataError(
            f"{file} must have the columns {', '.join(expected)}; but has {_shown(found)}: not {absent[0]}; is it the "
            "right file?"
        )


def _shown(names: Iterable[str]) -> str:
    """Column names for an error; a file without a header has sentences in their place, and those are not repeated."""
    names = [*names]
    like_names = [name for name in names if re.fullmatch(r"[\w.:#-]+( [\w.:#-]+){0,3}", name) and len(name) <= 40]
    others = len(names) - len(like_names)
    shown = like_names[:30] + ([f"{others} that are no names"] if others else [])
    return ", ".join(shown) or "none"


def number(text: str, low: float | None = None, high: float | None = None) -> float | None:
    """A finite number within bounds, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        return None
    return value


def whole(text: str) -> int | None:
    """A whole number of at most nine digits, or None."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
