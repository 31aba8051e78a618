"""Texts from a file, a folder or standard input, one row at a time: bounded memory, and a bad row is a row."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from empslurm.errors import DataError, UsageError
from empslurm.tablefile import check_columns

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
PARQUET_ROWS = 2_048  # rows of a Parquet file held at a time


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text to be scored, or the sentence that says why it cannot be."""

    file: str  # name relative to the input folder; "" for a single file or standard input
    number: int  # 1-based within its file; a header is not counted
    text: str = ""
    context: tuple[str, ...] = ()  # earlier posts or turns, oldest first
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns hold what, in formats that have columns."""

    text: str = "text"
    context: tuple[str, ...] = ()  # oldest first; empty cells are left out


def read(path: Path | None, columns: Columns, format: Format | None = None) -> Iterator[Row]:
    """The rows of a file, of all files of known endings below a folder in order of their names, or of standard input.

    `path`: None is standard input. Raises DataError for a missing column, UsageError for what cannot be an input.
    """
    if path is None:
        if format == "parquet":
            raise UsageError("standard input must be txt, csv, tsv or jsonl, but is to be parquet; name a file")
        yield from _read_stream(sys.stdin.buffer, "standard input", "", columns, format or "txt")
    elif path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.is_file() and _format(file, format) is not None]
        if not found:
            raise UsageError(f"{path} must hold files that end in {', '.join(SUFFIXES)}, but holds none; name the file")
        for file in found:
            yield from _read_file(file, file.relative_to(path).as_posix(), columns, _format(file, format) or "txt")
    else:
        if not path.exists():
            raise UsageError(f"the input must be a file, a folder or `-` for standard input, but {path} does not exist")
        known = _format(path, format)
        if known is None:
            raise UsageError(
                f"{path.name} must end in {', '.join(SUFFIXES)} for its format to be known, but does not; give --format"
            )
        yield from _read_file(path, "", columns, known)


def _format(path: Path, given: Format | None) -> Format | None:
    return given or SUFFIXES.get(path.suffix.lower())


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{name} must be readable, but is not: {error.strerror or error}") from error


def _read_file(path: Path, name: str, columns: Columns, format: Format) -> Iterator[Row]:
    if format == "parquet":
        yield from _parquet(path, name, columns)
        return
    with _readable(path.name), open(path, "rb") as stream:
        yield from _read_stream(stream, path.name, name, columns, format)


def _read_stream(stream: BinaryIO, shown: str, name: str, columns: Columns, format: Format) -> Iterator[Row]:
    """shown: for errors of the whole file. name: for the rows."""
    lines = _lines(stream)
    if format == "txt":
        yield from (row_of(name, number, line.rstrip("\r\n")) for number, line in enumerate(lines, 1))
    elif format == "jsonl":
        yield from _jsonl(lines, shown, name, columns)
    else:
        yield from _table(lines, shown, name, columns, "," if format == "csv" else "\t")


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Decoded lines of bounded length; what is not UTF-8 stays visible as lone surrogates, a longer line is cut."""
    limit = 4 * MAX_CHARS + 4
    start = True
    while data := stream.readline(limit):
        whole = data
        while not data.endswith(b"\n") and len(data) == limit:  # a longer line: its rest is passed over
            data = stream.readline(limit)
        if start:
            whole, start = whole.removeprefix(b"\xef\xbb\xbf"), False
        yield whole.decode("utf-8", "surrogateescape")


def row_of(name: str, number: int, text: object, context: Iterable[object] = ()) -> Row:
    """A row, its text and context checked."""
    turns = tuple(turn for turn in context if turn not in (None, ""))
    problem = next(filter(None, map(_flaw, (text, *turns))), "")
    if not problem and not str(text).strip():
        problem = "the text must not be empty, but is"
    if problem:
        return Row(file=name, number=number, error=problem)
    return Row(file=name, number=number, text=str(text), context=tuple(str(turn) for turn in turns))


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


def _table(lines: Iterable[str], shown: str, name: str, columns: Columns, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(4 * MAX_CHARS)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise DataError(f"{shown} must begin with a line of column names, but does not: {error}") from error
    check_columns(shown, header, (columns.text, *columns.context))
    place = {column: header.index(column) for column in (columns.text, *columns.context)}
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield Row(file=name, number=number, error=f"the row must be delimited text, but is not: {error}")
            continue
        if not cells:
            continue
        number += 1
        if len(cells) != len(header):
            problem = f"the row must have {len(header)} columns, but has {len(cells)}"
            yield Row(file=name, number=number, error=problem)
            continue
        yield row_of(name, number, cells[place[columns.text]], [cells[place[column]] for column in columns.context])


def _jsonl(lines: Iterable[str], shown: str, name: str, columns: Columns) -> Iterator[Row]:
    """A context column may hold a string or a list of strings."""
    first = True
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            yield Row(file=name, number=number, error="the line must be a JSON object, but is not")
            continue
        if first:
            check_columns(shown, list(value), (columns.text, *columns.context))
            first = False
        yield row_of(name, number, value.get(columns.text), _turns(value.get(column) for column in columns.context))


def _turns(values: Iterable[object]) -> list[object]:
    """Context cells, lists among them laid flat."""
    return [turn for value in values for turn in (value if isinstance(value, list | tuple) else [value])]


def _parquet(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [columns.text, *columns.context]
    try:
        with _readable(path.name), pq.ParquetFile(path) as file:
            check_columns(path.name, file.schema_arrow.names, wanted)
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=wanted):
                values = [batch.column(batch.schema.get_field_index(column)) for column in wanted]
                for place in range(batch.num_rows):
                    number += 1
                    text, *context = (_cell(column, place) for column in values)
                    yield row_of(name, number, text, _turns(context))
    except pa.ArrowException as error:
        raise DataError(f"{path.name} must be a Parquet file, but is not: {str(error).splitlines()[0]}") from error


def _cell(column: object, place: int) -> object:
    try:
        return column[place].as_py()  # type: ignore[index]
    except UnicodeDecodeError:
        return "\udcff"  # not UTF-8: a lone surrogate, which becomes the row's error


def windows(rows: Iterable[Row], max_rows: int, max_chars: int) -> Iterator[Sequence[Row]]:
    """Consecutive rows, cut where either bound is reached: what is held in memory at a time."""
    window: list[Row] = []
    n_chars = 0
    for row in rows:
        window.append(row)
        n_chars += len(row.text) + sum(map(len, row.context))
        if len(window) >= max_rows or n_chars >= max_chars:
            yield window
            window, n_chars = [], 0
    if window:
        yield window
