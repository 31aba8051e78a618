"""Read delimited files as distributed: tolerant of BOM, CRLF and NUL, strict about columns; a bad row is a Reject."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from empslurm.tasks.schema import Reject
from empslurm.validation import table_file

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", re.IGNORECASE)


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
    DataError for a missing column, a column that is there twice, and a quote that is never closed (it would swallow
    the rest).
    """
    lines = table_file.lines_of(table_file.read_text(path))
    records = table_file.delimited(lines, path.name, delimiter=delimiter, quotes="strict" if quoted else "none")
    names = [name.strip() for name in next(records, (1, []))[1]] if header else list(columns)
    places = table_file.places(path.name, names, columns)
    for number, (_, row) in enumerate(records, 1):
        if not row:
            continue
        if len(row) < len(names) or (len(row) > len(names) and header and not ragged):
            yield Reject(file=path.name, row=number, reason=f"has {len(row)} columns instead of {len(names)}")
            continue
        yield number, {name: row[index].strip() for name, index in places.items()}


def number(text: str, low: float | None = None, high: float | None = None) -> float | None:
    """A finite number within bounds, or None. Digits are 0 to 9: no underscores, `inf` or digits of other scripts."""
    if not NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        return None
    return value


def whole(text: str) -> int | None:
    """A whole number of at most nine digits, or None."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
