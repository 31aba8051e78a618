"""Read tables row by row: delimited text, JSON lines, Parquet and Arrow, with one set of rules.

- A row keeps its number and its line, so that every error can name the place.
- Text cells lose the blanks around them and are otherwise unchanged.
- A missing value is missing in every format: an empty cell, null, NaN, or a key that a JSON line leaves out.
- Two columns of one name are refused, since either may be meant.
- A quote that is never closed is refused with its line: it would swallow the rest of the file.
- So is a pair of quotes around lines that are rows on their own: they would become one text.
- Single-precision numbers become the shortest decimals that give them: 0.1, as in text files.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
import numbers
import re
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from empslurm.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# strict: quotes enclose a cell, and malformed quotes are refused. loose: as strict, but a malformed quote is a plain
# character, as most programs read tab-separated files. none: quotes are plain characters.
Quotes = Literal["strict", "loose", "none"]
Format = Literal["csv", "tsv", "jsonl", "parquet", "arrow"]
MAX_FIELD = 2**24  # characters of one cell
MAX_FILE_BYTES = 2**31
MAX_LOOK_AHEAD = 1_000  # lines of one quoted cell of a tab-separated file
MISSING_WORDS = ("NaN", "nan", "NaT", "<NA>")  # what pandas writes to a text file for a missing value
MISSING_TYPES = (
    "NAType",
    "NaTType",
)  # of pandas, by name since it may not be installed; NaT is an instance of datetime
BATCH_ROWS = 2_048  # rows of a Parquet file held at a time
MARKS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}  # what separates columns, in words


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row. `flaw`: why it cannot be read, as a predicate such as `has 3 columns`; such a row has no cells."""

    number: int  # 1-based, the header not counted
    line: int  # of the file, where it begins; in Parquet and Arrow the number
    cells: Mapping[str, Any] = field(default_factory=dict)  # column -> text, or a typed value; missing: None
    flaw: str = ""


def read_bytes(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file of bounded size. Raises DataError."""
    try:
        if path.stat().st_size > max_bytes:
            raise DataError(
                f"{path.name} must be smaller than {max_bytes:,} bytes, but is larger; split it or give the right file"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} must be readable, but is not: {error.strerror}; get read access") from error


def read_text(path: Path) -> str:
    """A file as text: UTF-8, with a byte order mark or not; NUL characters are dropped. Raises DataError."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig").replace("\x00", "")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        must = f"{path.name} must be UTF-8, but is not at byte {error.start:,}"
        raise DataError(
            f"{must}; convert it, as `iconv -f latin1 -t utf-8` does, and keep its name (the byte is in line {line:,})"
        ) from error


def delimited(
    lines: Iterable[str],
    name: str,
    *,
    delimiter: str,
    quotes: Quotes = "strict",
    guarded: bool = False,
    first_line: int = 1,
) -> Iterator[tuple[int, list[str]]]:
    """Records of delimited text as (line where it begins, cells); the header is the first. A blank line has no cells.

    name: of the file, for errors. guarded: refuse a quoted cell over lines that look like rows on their own.
    first_line: number of the first of `lines` in the file. Raises DataError at the first record that cannot be read:
    after a bad quote the records are not known.
    """
    csv.field_size_limit(MAX_FIELD)
    if quotes == "loose":
        yield from _loose(lines, delimiter, first_line)
        return
    taken: list[str] = []  # lines of the record that is being read
    reader = csv.reader(
        _noting(lines, taken) if guarded else iter(lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if quotes == "none" else csv.QUOTE_MINIMAL,
        strict=quotes == "strict",
    )
    begins, width = first_line, 0
    try:
        for cells in reader:
            if len(taken) > 1 and _are_rows(taken, delimiter, width):
                closes = reader.line_num + first_line - 1
                raise DataError(
                    f"{name} must have no quotes around whole rows, but has them: one opens in line {begins:,}, one "
                    f"closes in line {closes:,}, and the {len(taken)} lines in them are rows on their own; remove "
                    "these two quotes if the lines are rows, or write the text in one line"
                )
            yield begins, cells
            begins, width = reader.line_num + first_line, width or len(cells)
            taken.clear()
    except csv.Error as error:
        raise DataError(f"{name} must be a delimited table, but is not at line {begins:,}: {_quote(error)}") from error


def _noting(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _are_rows(lines: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether lines with one pair of quotes around them are rows on their own: each has all columns without it.

    A delimiter before a blank or the line's end is a text's own: "Dear Ann,".
    """
    rows = [_plain(line, delimiter) for line in lines]
    filled = all(cell and not cell[0].isspace() for cells in rows for cell in cells)
    return width > 1 and filled and {*map(len, rows)} == {width} and sum(line.count('"') for line in lines) == 2


def _quote(error: csv.Error) -> str:
    """The library's error in plainer words, with the fix."""
    if "unexpected end of data" in str(error):
        return "a quote opens there that is never closed; close it, or double the quotes that belong to the text"
    if "expected after" in str(error):
        return "text follows a closing quote; double the quotes that belong to the text"
    if "field larger" in str(error):
        return f"a cell has more than {MAX_FIELD:,} characters; shorten it, or close the quote that opens it"
    return f"{error}; rewrite this line, or take the file as distributed"


def _loose(lines: Iterable[str], delimiter: str, first_line: int) -> Iterator[tuple[int, list[str]]]:
    """A cell in well-formed quotes is unquoted and may reach over lines; any other quote is part of the text."""
    waiting: deque[str] = deque()
    source = iter(lines)
    at, width = first_line, 0
    while (line := waiting.popleft() if waiting else next(source, None)) is not None:
        cells, n_lines = _plain(line, delimiter), 1
        if any(cell.startswith('"') for cell in cells):
            cells, n_lines = _in_quotes(line, delimiter, waiting, source, width) or (cells, 1)
            for _ in range(n_lines - 1):
                waiting.popleft()
        blank = not line.strip("\r\n")
        width = width or (0 if blank else len(cells))
        yield at, [] if blank else cells
        at += n_lines


def _plain(line: str, delimiter: str) -> list[str]:
    return line.rstrip("\r\n").split(delimiter)


def _in_quotes(
    line: str, delimiter: str, waiting: deque[str], source: Iterator[str], width: int
) -> tuple[list[str], int] | None:
    """A record with quoted cells, and over how many lines it reaches; None where the quotes are not well-formed.

    Lines that each have all columns are rows of their own, not the end of an earlier cell. Lines read ahead are kept
    in `waiting`.
    """
    parts = [line]
    while len(parts) <= MAX_LOOK_AHEAD:
        if len(parts) == 1 or '"' in parts[-1]:
            try:
                cells = next(csv.reader(parts, delimiter=delimiter, strict=True))
            except csv.Error as error:
                if "unexpected end of data" not in str(error):
                    return None
            else:
                own = len(parts) > 1 and all(len(_plain(part, delimiter)) == width for part in parts)
                return None if own else (cells, len(parts))
        if len(waiting) < len(parts):
            following = next(source, None)
            if following is None:
                return None
            waiting.append(following)
        parts.append(waiting[len(parts) - 1])
    return None


def places(
    name: str,
    header: Sequence[str],
    wanted: Sequence[str],
    optional: Sequence[str] = (),
    hint: str = "",
    likely: Sequence[str] = (),
) -> dict[str, int]:
    """Column -> its index in the header, for all wanted columns and for the optional ones that are there.

    hint: what to do where a wanted one is absent. likely: the columns as another delimiter gives them. Raises DataError
    there, and where one of them is there twice.
    """
    check_columns(name, header, wanted, hint, likely)
    counts = Counter(header)
    columns = [column for column in (*wanted, *optional) if counts[column]]
    twice = [column for column in columns if counts[column] > 1]
    if twice:
        raise DataError(
            f"{name} must have one column {twice[0]}, but has {counts[twice[0]]}; rename or remove the others"
        )
    return {column: list(header).index(column) for column in columns}


def check_columns(
    file: str, header: Sequence[str], expected: Sequence[str], hint: str = "", likely: Sequence[str] = ()
) -> None:
    """Raise DataError where an expected column is not there. hint: what to do, for the end of the sentence.

    likely: the columns to list instead of the header, as another delimiter gives them.
    """
    absent = [name for name in expected if name not in header]
    if absent:
        must = f"{file} must have the columns {', '.join(expected)}, but lacks {absent[0]}"
        there = f"its first line names {_shown(likely)}" if likely else f"it has {_shown(header)}"
        raise DataError(f"{must} ({there}); {hint or 'rename a column, or give the right file'}")


def other_delimiter(header: str, delimiter: str, wanted: Sequence[str], advice: str = "") -> tuple[str, list[str]]:
    """A hint and the columns where another delimiter gives the wanted ones, or this one does not split the header.

    advice: how to set the delimiter, with `{}` for it.
    """
    others = [mark for mark in MARKS if mark != delimiter]
    fitting = [mark for mark in others if set(wanted) <= set(_names(header, mark))]
    if delimiter not in header:
        fitting += [mark for mark in others if mark in header]
    if not fitting:
        return "", []
    spelled = json.dumps(fitting[0]) if fitting[0] == "\t" else f"'{fitting[0]}'"
    fix = advice.format(spelled) if advice else "if they separate the columns, give the file with another delimiter"
    return f"its columns seem to be separated by {MARKS[fitting[0]]}: {fix}", _names(header, fitting[0])


def delimiter_for(header: str, wanted: Iterable[str]) -> str:
    """What separates the columns of a CSV file: commas, or the semicolons or tabs that give the wanted columns.

    Where none gives them, the first that is there, so that an error can list the columns.
    """
    marks, columns = (",", ";", "\t"), set(wanted)
    fitting = [mark for mark in marks if columns <= set(_names(header, mark))]
    return next(iter((*fitting, *(mark for mark in marks if mark in header))), ",")


def _names(header: str, delimiter: str) -> list[str]:
    """The columns of a header that is read leniently."""
    try:
        return [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _shown(names: Iterable[str]) -> str:
    """Column names for an error. The first line of a file without a header may hold texts, which are not repeated."""
    names = [*names]
    like_names = [name for name in names if re.fullmatch(r"[\w.:#-]+( [\w.:#-]+){0,3}", name) and len(name) <= 40]
    others = len(names) - len(like_names)
    shown = like_names[:30] + ([f"{others} that are not names"] if others else [])
    return ", ".join(shown) or "none"


def delimited_rows(
    lines: Iterable[str],
    name: str,
    wanted: Sequence[str],
    optional: Sequence[str] = (),
    *,
    delimiter: str,
    quotes: Quotes = "strict",
    trailing: bool = False,
    advice: str = "",
    first_line: int = 1,
) -> Iterator[Row]:
    """Rows of delimited text with a header. An empty cell is None; a row of another width has a flaw.

    Blank rows are counted and left out. `trailing`: empty cells beyond the header's width count for nothing.
    `advice`: how to set the delimiter, for the error where another one fits, with `{}` for that one in quotes.
    `first_line`: number of the first of `lines` in the file. Raises DataError.
    """
    lines = iter(lines)
    first = next(lines, "")
    hint, likely = other_delimiter(first, delimiter, wanted, advice)
    records = delimited(
        chain([first], lines), name, delimiter=delimiter, quotes=quotes, guarded=True, first_line=first_line
    )
    try:
        header = [column.strip() for column in next(records, (first_line, []))[1]]
    except DataError:
        check_columns(name, _names(first, delimiter), wanted, hint, likely)  # another delimiter explains it better
        raise
    positions = places(name, header, wanted, optional, hint, likely)
    for number, (line, cells) in enumerate(records, 1):
        stripped = [cell.strip() for cell in cells]
        if not any(stripped):
            continue
        if len(cells) < len(header) or (any(stripped[len(header) :]) if trailing else len(cells) > len(header)):
            yield Row(number=number, line=line, flaw=f"has {len(cells)} columns instead of {len(header)}")
            continue
        yield Row(number=number, line=line, cells={column: stripped[at] or None for column, at in positions.items()})


def json_rows(
    lines: Iterable[str], name: str, wanted: Sequence[str], optional: Sequence[str] = (), hint: str = ""
) -> Iterator[Row]:
    """Rows of JSON lines: typed values, None where a key is absent, null or NaN. Blank lines are no rows.

    Raises DataError at the end where no line has a wanted key: lines leave out what is absent. hint: what to do then.
    """
    columns = (*wanted, *optional)
    seen: dict[str, None] = {}
    number = 0
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        number += 1
        pairs = _pairs(text)
        if pairs is None:
            yield Row(number=number, line=line, flaw="must be a JSON object, but is not")
            continue
        seen.update((key, None) for key, _ in pairs)
        twice = [column for column in columns if sum(key == column for key, _ in pairs) > 1]
        if twice:
            yield Row(number=number, line=line, flaw=f"must have every key once, but has {twice[0]} twice")
            continue
        value = dict(pairs)
        yield Row(number=number, line=line, cells={column: present(value.get(column)) for column in columns})
    if seen or not number:  # where no line is an object, each has its flaw
        check_columns(name, [*seen], wanted, hint)


def _pairs(text: str) -> list[tuple[str, Any]] | None:
    """The keys and values of a JSON object, duplicates included; None where the text is not one."""
    pairs: list[tuple[str, Any]] = []

    def keep(members: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = members  # the outermost object is the last to end
        return dict(members)

    try:
        value = json.loads(text, object_pairs_hook=keep)
    except (ValueError, RecursionError):
        return None
    return pairs if isinstance(value, dict) else None


def present(value: Any) -> Any:
    """A typed value; None where it is missing: NaN, and pandas' NaT and NA."""
    if type(value).__name__ in MISSING_TYPES:
        return None
    try:
        missing = value is None or (isinstance(value, numbers.Real | decimal.Decimal) and math.isnan(value))
    except (OverflowError, ValueError):  # a number too large for a float; a signalling NaN
        missing = isinstance(value, decimal.Decimal) and value.is_nan()
    return None if missing else value


def arrow_rows(
    path: Path, format: Literal["parquet", "arrow"], wanted: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Row]:
    """Rows of Parquet, or of Arrow: a stream, as `datasets` saves it, or a file.

    Typed values, None where null or NaN. Raises DataError.
    """
    import pyarrow as pa

    try:
        for start, batch in _batches(path, format, lambda header: places(path.name, header, wanted, optional)):
            columns = {column: _values(batch.column(column)) for column in batch.schema.names}
            for at in range(batch.num_rows):
                cells = {column: present(values[at]) for column, values in columns.items()}
                yield Row(number=start + at + 1, line=start + at + 1, cells=cells)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # such as a date beyond the year 9999
        must = f"{path.name} must be a table in the {format} format, but cannot be read as one"
        raise DataError(f"{must} ({type(error).__name__}); get the file again, or name its true format") from error


def _values(column: pa.Array) -> list[Any]:
    """A column's values; single and half precision numbers as the shortest decimals that give them."""
    import numpy as np
    import pyarrow as pa

    narrow = {pa.float32(): np.float32, pa.float16(): np.float16}.get(column.type)
    values = column.to_pylist()
    return values if narrow is None else [value if value is None else float(str(narrow(value))) for value in values]


def _batches(
    path: Path, format: Literal["parquet", "arrow"], find: Callable[[Sequence[str]], Mapping[str, int]]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of the columns that are found, each with the number of rows before it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 0
    if format == "parquet":
        with pq.ParquetFile(path) as file:
            columns = list(find(file.schema_arrow.names))
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                batch.validate(full=True)
                yield start, batch
                start += batch.num_rows
        return
    # Not a memory map: lengths in a damaged file may point beyond its end, which would crash the process.
    data = read_bytes(path)
    opened = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
    table = opened(pa.BufferReader(data)).read_all()
    table.validate(full=True)
    for batch in table.select(list(find(table.column_names))).to_batches(max_chunksize=BATCH_ROWS):
        yield start, batch
        start += batch.num_rows


def rows(path: Path, wanted: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a file whose ending says what it is: .csv, .tsv, .jsonl or .parquet. Raises DataError."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return arrow_rows(path, "parquet", wanted, optional)
    if suffix in (".jsonl", ".ndjson"):
        return json_rows(read_text(path).split("\n"), path.name, wanted, optional)
    text = read_text(path)
    delimiter = "\t" if suffix == ".tsv" else delimiter_for(next(lines_of(text), ""), wanted)
    return delimited_rows(lines_of(text), path.name, wanted, optional, delimiter=delimiter)


def text_of(value: Any) -> str:
    """A cell as text without the blanks around it; "" where it is missing.

    Booleans are `true` and `false`, numbers as Python writes them, dates and times in ISO 8601. Raises TypeError for
    anything but a single value: a list, an object, bytes that are not UTF-8.
    """
    value = present(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\x00", "").strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode().replace("\x00", "").strip()
        except UnicodeDecodeError as error:
            raise TypeError("bytes that are not UTF-8") from error
    if isinstance(value, numbers.Real):  # half precision
        return str(float(value))
    if isinstance(value, list | dict):
        raise TypeError("a list" if isinstance(value, list) else "an object")
    raise TypeError(f"a value of type {type(value).__name__}")


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text as the readers above take them: with their ends, \\r, \\n or both."""
    return iter(io.StringIO(text, newline=""))
