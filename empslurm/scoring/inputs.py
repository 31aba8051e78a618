"""Read texts from a file, a folder or standard input, row by row, in bounded memory. A bad row is a row with an error.

Names in this module: `shown` is how errors of a whole file name it, `name` how its rows do.
"""

from __future__ import annotations

import json
import math
import numbers
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

from empslurm.errors import DataError, UsageError
from empslurm.validation.table_file import (
    MISSING_WORDS,
    delimited,
    delimiter_for,
    json_rows,
    lines_of,
    other_delimiter,
    places,
    present,
    text_of,
)

Format = Literal["txt", "csv", "tsv", "jsonl", "parquet"]
SUFFIXES: dict[str, Format] = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
MAX_CHARS = 1_000_000  # of one text or context turn; the models read its first few hundred words at most
PARQUET_ROWS = 2_048  # rows of a Parquet file in memory at a time


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text to score, or the sentence that says why it cannot be scored."""

    file: str  # name relative to the input folder; "" for a single file or standard input
    number: int  # 1-based within its file: in txt and JSONL the line; in CSV not counting the header and blank lines
    text: str = ""
    context: tuple[str, ...] = ()  # earlier posts or turns, oldest first
    error: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)  # column -> value copied to the output, see `kept_value`


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns hold what, in formats that have columns."""

    text: str = "text"
    context: tuple[str, ...] = ()  # oldest first; empty cells are left out
    keep: tuple[str, ...] = ()  # copied to the output

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.text, *self.context, *self.keep)

    @property
    def hint(self) -> str:
        """What to do where a file lacks one of them."""
        options = ["--text", *(["--context"] if self.context else []), *(["--keep"] if self.keep else [])]
        return f"name one of the columns that it has with {' or '.join(f'`{option} COLUMN`' for option in options)}"


def read(path: Path | None, columns: Columns, format: Format | None = None) -> Iterator[Row]:
    """Read the rows of a file, of a folder's files with known endings (sorted by name), or of standard input (None).

    Raises DataError for a missing column, UsageError for an unusable input.
    """
    if path is None:
        if format == "parquet":
            raise UsageError("standard input must be txt, csv, tsv or jsonl, but --format is parquet; name a file")
        yield from _read_stream(sys.stdin.buffer, "standard input", "", columns, format or "txt")
    elif path.is_dir():
        listed = [file for file in sorted(path.rglob("*")) if file.is_file() and _format(file, format) is not None]
        if not listed:
            raise UsageError(
                f"{path} must hold files that end in {', '.join(SUFFIXES)}, but holds none; add --format, or name "
                "another folder"
            )
        for file in listed:
            yield from _read_file(file, file.relative_to(path).as_posix(), columns, _format(file, format) or "txt")
    else:
        if not path.exists():
            raise UsageError(
                f"the input must be a file, a folder or `-` for standard input, but {path} does not exist; correct the "
                "path"
            )
        known = _format(path, format)
        if known is None:
            raise UsageError(
                f"{path.name} must end in {', '.join(SUFFIXES)} for its format to be known, but does not; add --format"
            )
        yield from _read_file(path, "", columns, known)


def _format(path: Path, override: Format | None) -> Format | None:
    return override or SUFFIXES.get(path.suffix.lower())


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{name} must be readable, but is not: {error.strerror or error}; get read access") from error


def _read_file(path: Path, name: str, columns: Columns, format: Format) -> Iterator[Row]:
    if format == "parquet":
        yield from _parquet(path, name, columns)
        return
    with _readable(path.name), open(path, "rb") as stream:
        yield from _read_stream(stream, path.name, name, columns, format)


def _read_stream(stream: BinaryIO, shown: str, name: str, columns: Columns, format: Format) -> Iterator[Row]:
    """Read rows from an open file. shown: for errors of the whole file. name: for the rows."""
    if format == "txt":
        yield from _plain(_lines(stream), shown, name, columns)
    elif format == "jsonl":
        yield from _jsonl(_lines(stream), shown, name, columns)
    else:
        yield from _table(_table_lines(stream, shown), shown, name, columns, format)


def _plain(lines: Iterable[str], shown: str, name: str, columns: Columns) -> Iterator[Row]:
    """Every line is a text, the only column."""
    if columns.keep:
        places(shown, [columns.text], columns.keep)
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        yield row_of(name, number, text, kept=dict.fromkeys(columns.keep, text))


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Decoded lines of bounded length: longer ones are cut, and bytes that are not UTF-8 become lone surrogates."""
    return (line for line, _ in _cut_lines(stream))


def _table_lines(stream: BinaryIO, shown: str) -> Iterator[str]:
    """Like `_lines`, but \\r ends a line too. Raises DataError where a cut would change the meaning of other lines."""
    for number, (line, cut) in enumerate(_cut_lines(stream), 1):
        if cut and ('"' in line or "\r" in line):
            raise DataError(
                f"{shown} must have lines shorter than {_limit():,} bytes, but line {number:,} is longer; shorten its "
                "text, or close its quote"
            )
        yield from lines_of(line) if "\r" in line else (line,)


def _limit() -> int:
    """The most bytes of a line that are read."""
    return 4 * MAX_CHARS + 4


def _cut_lines(stream: BinaryIO) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether its rest was cut off."""
    limit = _limit()
    start = True
    while data := stream.readline(limit):
        whole, cut = data, False
        while not data.endswith(b"\n") and len(data) == limit:
            data = stream.readline(limit)
            cut = cut or bool(data)
        if start:
            whole, start = whole.removeprefix(b"\xef\xbb\xbf"), False
        yield whole.decode("utf-8", "surrogateescape"), cut


def row_of(
    name: str, number: int, text: object, context: Iterable[object] = (), kept: Mapping[str, object] | None = None
) -> Row:
    """Make a row; what is wrong with its text or context becomes its error."""
    text = present(text)
    turns = tuple(
        turn for turn in map(present, context) if turn is not None and not (isinstance(turn, str) and not turn)
    )
    carried = {column: kept_value(value) for column, value in (kept or {}).items()}
    problem = next(filter(None, map(_flaw, (text, *turns))), "")
    if not problem and not str(text).strip():
        problem = "the text must not be empty, but is"
    if problem:
        return Row(file=name, number=number, error=problem, kept=carried)
    return Row(file=name, number=number, text=str(text), context=tuple(str(turn) for turn in turns), kept=carried)


def kept_value(value: Any) -> str | bool | int | float | None:
    """A kept value as the output has it: text, numbers and booleans unchanged, None where it is missing.

    Dates and the like become text, lists and objects JSON. Characters that are not UTF-8 are replaced.
    """
    value = present(_unboxed(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        try:
            value = text_of(value)
        except TypeError:
            value = json.dumps(value, ensure_ascii=False, default=str)
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def _unboxed(value: Any) -> Any:
    """Convert a NumPy value to Python: dates to text, float16 and float32 to the shortest decimal that prints alike."""
    kind = type(value)
    if kind.__module__ != "numpy":
        return value
    if kind.__name__ in ("datetime64", "timedelta64"):
        return None if str(value) == "NaT" else str(value)
    return float(str(value)) if kind.__name__ in ("float16", "float32") else value.tolist()


def _flaw(value: object) -> str:
    if value is None:
        return "the text must be there, but is missing"
    if not isinstance(value, str):
        return f"text and context must be strings, but one is {type(value).__name__}"
    if len(value) > MAX_CHARS:
        return f"text and context must be shorter than {MAX_CHARS:,} characters, but one is longer"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "text and context must be UTF-8, but one is not"
    return ""


def _table(lines: Iterator[str], shown: str, name: str, columns: Columns, format: Format) -> Iterator[Row]:
    first = next(lines, "")
    delimiter = delimiter_for(first, columns.names) if format == "csv" else "\t"
    quotes: Literal["strict", "loose"] = "strict" if format == "csv" else "loose"
    records = delimited(chain([first], lines), shown, delimiter=delimiter, quotes=quotes, guarded=True)
    header = [column.strip() for column in next(records, (1, []))[1]]
    hint, likely = other_delimiter(first, delimiter, columns.names)
    index_of = places(shown, header, columns.names, hint=hint or columns.hint, likely=likely)
    for number, cells in enumerate((cells for _, cells in records if cells), 1):
        if len(cells) != len(header):
            problem = f"the row must have {len(header)} columns, but has {len(cells)}"
            yield Row(file=name, number=number, error=problem, kept=dict.fromkeys(columns.keep))
            continue
        by_name = {column: cells[index] for column, index in index_of.items()}
        read = {column: _read_cell(by_name[column]) for column in (columns.text, *columns.context)}
        kept = {column: by_name[column] for column in columns.keep}
        yield row_of(name, number, read[columns.text], [read[column] for column in columns.context], kept)


def _read_cell(text: str) -> str | None:
    """A cell of delimited text, None where it is a word for a missing value."""
    return None if text.strip() in MISSING_WORDS else text


def _row(name: str, number: int, columns: Columns, cells: Mapping[str, Any]) -> Row:
    """A row from its cells. A context column may hold a text or a list of texts."""
    context = _turns(cells[column] for column in columns.context)
    return row_of(name, number, cells[columns.text], context, {column: cells[column] for column in columns.keep})


def _jsonl(lines: Iterable[str], shown: str, name: str, columns: Columns) -> Iterator[Row]:
    for row in json_rows(lines, shown, columns.names, hint=columns.hint):
        if row.flaw:
            kept = dict.fromkeys(columns.keep)
            yield Row(file=name, number=row.line, error=f"the line {row.flaw}", kept=kept)
        else:
            yield _row(name, row.line, columns, row.cells)


def _turns(values: Iterable[object]) -> list[object]:
    """Context cells, with lists flattened."""
    return [turn for value in values for turn in (value if isinstance(value, list | tuple) else [value])]


def _parquet(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _readable(path.name), pq.ParquetFile(path) as file:
            wanted = list(places(path.name, file.schema_arrow.names, columns.names, hint=columns.hint))
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=wanted):
                values = {column: batch.column(batch.schema.get_field_index(column)) for column in wanted}
                for index in range(batch.num_rows):
                    number += 1
                    cells = {column: _cell(column_values, index) for column, column_values in values.items()}
                    yield _row(name, number, columns, cells)
    except pa.ArrowException as error:
        raise DataError(
            f"{path.name} must be a Parquet file, but is not: {str(error).splitlines()[0]}; write it again, or set "
            "--format"
        ) from error


def _cell(column: Any, index: int) -> object:
    try:
        value = column[index].as_py()
    except UnicodeDecodeError:
        return "\udcff"  # not UTF-8: a lone surrogate, which becomes the row's error
    except (ValueError, OverflowError):  # such as a date beyond the year 9999
        return str(column[index].cast("string"))
    return None if isinstance(value, float) and math.isnan(value) else value


def windows(rows: Iterable[Row], max_rows: int, max_chars: int) -> Iterator[Sequence[Row]]:
    """Split rows into windows, which end where either limit is reached; one is in memory at a time."""
    window: list[Row] = []
    n_chars = 0
    for row in rows:
        window.append(row)
        n_chars += len(row.text) + sum(map(len, row.context)) + sum(len(str(value)) for value in row.kept.values())
        if len(window) >= max_rows or n_chars >= max_chars:
            yield window
            window, n_chars = [], 0
    if window:
        yield window
