"""A rectangular table as CSV and Markdown; every form follows the marks of its entries. LaTeX: `latex`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from empslurm import files
from empslurm.report.latex import to_latex

MISSING = "—"
ROUNDING = 1e-12  # a change of less is the error of its arithmetic


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a table: what is shown, and how."""

    text: str
    bold: bool = False
    underlined: bool = False
    raw: object = None  # for CSV: the number at full precision; None: the text

    @property
    def plain(self) -> object:
        """The CSV value: full precision, "" where missing."""
        if self.raw is not None:
            return "" if self.raw != self.raw else self.raw
        return "" if self.text == MISSING else self.text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as printed. `head`: one or two header lines; equal neighbours in the first line are merged."""

    name: str  # of its files
    title: str
    caption: str  # how to read it, in two lines of text
    head: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]  # plain names, for CSV
    rows: tuple[tuple[Entry, ...], ...]
    n_labels: int = 1  # leading columns that are text
    number: str = ""  # in the paper, e.g. "Table 7"
    origin: tuple[tuple[str, str, str], ...] = ()  # row, column, ids of the cells behind the number
    details: str = ""  # sentences for few readers: folded on the page, below the table elsewhere
    main: tuple[str, ...] = ()  # columns shown first and printed by LaTeX, at most eight; (): all


@dataclass(frozen=True, kw_only=True)
class Part:
    """The shown part of a table; where the table is too large, the caption says what is shown."""

    table: Table
    rows: tuple[int, ...]  # of the whole table
    columns: tuple[int, ...]  # of the whole table, counted without its label columns


def part(table: Table, most_cells: int, weights: NDArray[np.float64] | None = None, folder: str = "") -> Part:
    """Cut a table to at most `most_cells` entries: the rows and columns of largest weight, in the table's order.

    `weights`: (n_rows, n_columns without labels), NaN counts as smallest; None: keep the first rows and columns.
    `folder`: where the table's files are, for the caption.
    """
    n_rows, n_columns = len(table.rows), len(table.columns) - table.n_labels
    if n_rows * n_columns <= most_cells:
        return Part(table=table, rows=tuple(range(n_rows)), columns=tuple(range(n_columns)))
    kept_rows = min(n_rows, max(math.isqrt(most_cells), most_cells // n_columns))
    kept_columns = min(n_columns, most_cells // kept_rows)
    rows, columns = tuple(range(kept_rows)), tuple(range(kept_columns))
    if weights is not None:
        sizes = np.where(np.isnan(weights), -1.0, weights)
        rows, columns = largest(sizes.max(1), kept_rows), largest(sizes.max(0), kept_columns)
    labels = tuple(range(table.n_labels))
    kept = (*labels, *(at + table.n_labels for at in columns))
    file = f"{folder}/{table.name}" if folder else table.name
    which = "the first" if weights is None else "those with the largest changes"
    counts = f"{kept_rows:,} of {n_rows:,} rows"
    if kept_columns < n_columns:
        counts += f" and {kept_columns:,} of {n_columns:,} columns"
    cut = replace(
        table,
        caption=f"{counts} are shown, {which}; {file}.csv has all. {table.caption}",
        head=tuple(tuple(line[at] for at in kept) for line in table.head),
        columns=tuple(table.columns[at] for at in kept),
        rows=tuple(tuple(table.rows[row][at] for at in kept) for row in rows),
    )
    return Part(table=cut, rows=rows, columns=columns)


def largest(sizes: NDArray[np.float64], n: int) -> tuple[int, ...]:
    """Indices of the n largest sizes, ascending; of equal sizes the first."""
    return tuple(sorted(np.argsort(-sizes, kind="stable")[:n].tolist()))


def flat(
    *,
    name: str,
    title: str,
    caption: str,
    columns: Mapping[str, str],
    rows: Sequence[tuple[Entry, ...]],
    n_labels: int = 1,
    number: str = "",
    origin: Sequence[tuple[str, str, str]] = (),
    details: str = "",
    main: Sequence[str] = (),
) -> Table:
    """A table with one header line. `columns`: plain name -> printed header."""
    return Table(
        name=name,
        title=title,
        caption=caption,
        head=(tuple(columns.values()),),
        columns=tuple(columns),
        rows=tuple(rows),
        n_labels=n_labels,
        number=number,
        origin=tuple(origin),
        details=details,
        main=tuple(main),
    )


def main_columns(table: Table) -> Table:
    """The table with its main columns alone; unchanged where it names none."""
    kept = [table.columns.index(name) for name in table.main if name in table.columns]
    if not kept:
        return table
    return replace(
        table,
        head=tuple(tuple(line[at] for at in kept) for line in table.head),
        columns=tuple(table.columns[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in table.rows),
        n_labels=sum(at < table.n_labels for at in kept),
    )


def text(value: object) -> Entry:
    """An entry with text."""
    return Entry(text=MISSING if value is None or value == "" else str(value))


def capital(words: str) -> str:
    """`words` with a capital first letter."""
    return words[:1].upper() + words[1:]


def whole(value: int) -> Entry:
    """An entry with a whole number."""
    return Entry(text=str(value), raw=value)


def number(value: float, digits: int = 3, *, short: bool = False, signed: bool = False) -> Entry:
    """An entry with a number; NaN is shown as missing. `short`: no zero before the point, as the paper prints."""
    return Entry(text=shown(value, digits, short=short, signed=signed), raw=float(value))


def shown(value: float, digits: int = 3, *, short: bool = False, signed: bool = False) -> str:
    """A number as printed.

    `signed`: a change, with its sign. One that rounds to zero keeps its sign: beside .922 -> .921 it is −.000.
    """
    if value != value:
        return MISSING
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    printed = f"{abs(value):.{digits}f}"
    is_zero = abs(value) < ROUNDING if signed else float(printed) == 0
    if short and printed.startswith("0."):
        printed = printed[1:]
    return ("" if is_zero else "−" if value < 0 else "+" if signed else "") + printed


def to_csv(table: Table) -> str:
    """CSV (RFC 4180), numbers at full precision; a missing value is empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([entry.plain for entry in row] for row in table.rows)
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub table: bold as **, underlined as <u>."""
    head = [_markdown(Entry(text=" ".join(filter(None, parts)))) for parts in _columns_of(table.head)]
    rule = ["---" if at < table.n_labels else "--:" for at in range(len(head))]
    lines = [head, rule, *([_markdown(entry) for entry in row] for row in table.rows)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    below = f"{table.caption}\n" + (f"\n{table.details}\n" if table.details else "")
    return f"**{table.title}**\n\n{body}\n\n{below}"


def _columns_of(head: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The header lines of each column."""
    return list(zip(*head, strict=True))


def _markdown(entry: Entry) -> str:
    markup = entry.text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    markup = markup.replace("*", "\\*").replace("_", "\\_")
    if entry.underlined:
        markup = f"<u>{markup}</u>"
    return f"**{markup}**" if entry.bold else markup


def write_forms(table: Table, folder: Path) -> list[Path]:
    """Write a table as CSV, Markdown and LaTeX; return the paths."""
    contents = {
        f"{table.name}.csv": to_csv(table),
        f"{table.name}.md": to_markdown(table),
        f"{table.name}.tex": to_latex(table),
    }
    for name, content in contents.items():
        files.write_text(folder / name, content)
    return [folder / name for name in contents]
