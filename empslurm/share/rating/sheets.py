"""Read filled forms, CSV or spreadsheet, one rater each. Every problem of every file is named at once.

A blank is no rating: it is allowed, counted and listed. Everything else that is not a whole level from 1 to 5 is a
problem, since a guess of what it means would change the results without a word.
"""

from __future__ import annotations

import difflib
import io
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empslurm import files, reference
from empslurm.errors import DataError, SheetError, UsageError
from empslurm.reference import Rating
from empslurm.share.rating.criteria import LEVELS, NAMES
from empslurm.share.rating.forms import COLUMNS, RATER, RESERVED, SHEET
from empslurm.validation import table_file
from empslurm.validation.reader import shown

NEEDED = ("rater", "task", *NAMES)
MAX_BYTES = 20 * 2**20  # of a form
MAX_UNPACKED = 200 * 2**20  # of a spreadsheet's parts together
WHOLE = re.compile(r"([0-9]+)(?:[.,]0+)?", re.ASCII)  # 4, and what programs make of it: 4.0, 4,0
DECIMAL = re.compile(r"[0-9]*[.,][0-9]+", re.ASCII)
SEPARATOR = re.compile(r"sep=.\s*", re.IGNORECASE)  # a first line by which some programs name the delimiter

Line = tuple[int, Sequence[Any]]  # number of a line or row, and its cells


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One rater's form as filled. `levels`: (task, criterion) -> 1 to 5; None: blank."""

    path: Path
    rater: str
    lines: Mapping[str, str]  # task -> where it is in the file, for errors
    levels: Mapping[tuple[str, str], int | None]

    @property
    def n_rated(self) -> int:
        """How many ratings are given."""
        return sum(level is not None for level in self.levels.values())

    @property
    def gaps(self) -> tuple[tuple[str, str], ...]:
        """The (task, criterion) that are blank."""
        return tuple(place for place, level in self.levels.items() if level is None)


def read(paths: Sequence[Path]) -> tuple[Sheet, ...]:
    """The forms of two or more raters who rated the same tasks.

    Raises UsageError for fewer than two files, SheetError with every problem of all files.
    """
    if len(paths) < 2:
        raise UsageError(
            "agreement must have the forms of two raters or more, but got one file; name the other raters' files too"
        )
    problems: list[str] = []
    read_sheets = [_sheet(path, problems) for path in paths]
    sheets = [sheet for sheet in read_sheets if sheet is not None]
    _compare_raters(sheets, problems)
    if len(sheets) == len(paths):
        _compare_tasks(sheets, problems)
    if problems:
        raise SheetError(problems)
    return tuple(sheets)


def ratings(sheets: Sequence[Sheet]) -> tuple[Rating, ...]:
    """The ratings of all raters side by side: the paper's tasks in its order, then the others by id."""
    there = {task for task, _ in sheets[0].levels}
    order = [*(task for task in reference.task_ids() if task in there), *sorted(there - {*reference.task_ids()})]
    raters = tuple(sheet.rater for sheet in sheets)
    return tuple(
        Rating(
            task=task,
            aspect=name,
            annotators=raters,
            values=tuple(_number(sheet.levels[task, name]) for sheet in sheets),
        )
        for task in order
        for name in NAMES
    )


def _number(level: int | None) -> float:
    return math.nan if level is None else float(level)


def write(path: Path, merged: Sequence[Rating]) -> None:
    """Write ratings as a table that `--ratings` reads. Raises UsageError where the file is there."""
    refuse_file(path)
    lines = [",".join((*reference.RATED, *merged[0].annotators))]
    lines += [
        ",".join((one.task, one.aspect, *("" if value != value else f"{value:g}" for value in one.values)))
        for one in merged
    ]
    files.write_text(path, "\n".join(lines) + "\n")


def refuse_file(path: Path) -> None:
    """Raise UsageError where there is something already."""
    if path.exists() or path.is_symlink():
        raise UsageError(f"--to must name a new file, but {path} exists; give another name, or move the file away")


# ---- one file --------------------------------------------------------------------------------------------------------


def _sheet(path: Path, problems: list[str]) -> Sheet | None:
    """A filled form; its problems are added. None where it has some, or cannot be read at all."""
    before = len(problems)
    try:
        word, lines = _lines(path)
        number, header = next(lines, (1, ()))
        columns = _columns(path, header, problems)
        rows = [(number, cells) for number, cells in lines if any(_stripped(cells))]
    except DataError as error:
        problems.append(str(error))
        return None
    if columns is None:
        return None
    if not rows:
        problems.append(f"{path} must have a row for each task, but has none below its header; give the filled form")
        return None
    raters: dict[str, str] = {}
    places: dict[str, str] = {}
    levels: dict[tuple[str, str], int | None] = {}
    for number, cells in rows:
        where = f"{path}, {word} {number}"
        row = _row(where, cells, columns, len(header), problems)
        if row is None:
            continue
        raters.setdefault(_rater(where, row["rater"], problems), where)
        task = _text(row["task"])
        if not task:
            problems.append(f"{where} must name its task, but its column task is blank; write the task's id there")
        elif task in places:
            problems.append(
                f"{where} must not rate {shown(task)} again, but {places[task]} rates it; remove one of the rows"
            )
        else:
            places[task] = where
            levels |= {(task, name): _level(where, name, task, row[name], problems) for name in NAMES}
    _one_rater(path, raters, problems)
    if len(problems) == before and not any(levels.values()):
        problems.append(f"{path} must have ratings, but all {len(levels)} are blank; give the filled form")
    if len(problems) > before:
        return None
    return Sheet(path=path, rater=next(iter(raters)), lines=places, levels=levels)


def _row(
    where: str, cells: Sequence[Any], columns: Mapping[str, int], width: int, problems: list[str]
) -> dict[str, Any] | None:
    """The needed cells of a row; None where cells are missing or too many, so that no value may slip a column."""
    if len(cells) <= max(columns.values()) or any(_stripped(cells[width:])):
        problems.append(
            f"{where} must have {width} cells, but has {len(cells)}; write a note that has a comma or a line break in "
            "quotes, and remove or add separators"
        )
        return None
    return {name: cells[at] for name, at in columns.items()}


def _columns(path: Path, header: Sequence[Any], problems: list[str]) -> dict[str, int] | None:
    """Needed column -> its index; None where one is missing or there twice. Unknown columns are problems."""
    names = [_text(name).casefold() for name in header]
    absent = [name for name in NEEDED if name not in names]
    odd = [name for name in dict.fromkeys(names) if name and name not in COLUMNS]
    if len(absent) == len(NEEDED):
        problems.append(
            f"{path} must be a filled form with the columns {', '.join(NEEDED)}, but has none of them; give a file "
            "that `empslurm rate` wrote"
        )
        return None
    for name in odd:
        near = difflib.get_close_matches(name[:100], absent, n=1)
        guess = f"did you mean {near[0]}?" if near else "remove the column, or move its text to the column note"
        problems.append(f"{path} must have no column {shown(name)}, which no form has; {guess}")
    twice = [name for name, n in Counter(names).items() if n > 1 and name in COLUMNS]
    if twice:
        problems.append(f"{path} must have every column once, but has {', '.join(twice)} twice; remove one of them")
    if absent:
        problems.append(f"{path} must have the column {' and '.join(absent)}, but has not; write it in the first line")
    return None if absent or set(twice) & set(NEEDED) else {name: names.index(name) for name in NEEDED}


def _rater(where: str, value: Any, problems: list[str]) -> str:
    """The rater whom a row names; "" where it names none."""
    name = _text(value)
    if not name:
        problems.append(f"{where} must name its rater, but its column rater is blank; write the name there")
    elif not RATER.fullmatch(name) or name.lower() in RESERVED:
        problems.append(
            f"{where} must name a rater by letters, digits, -, _ and ., but has {shown(name)}; write the name that the "
            "form had"
        )
    return name


def _one_rater(path: Path, raters: Mapping[str, str], problems: list[str]) -> None:
    named = {name: where for name, where in raters.items() if name}
    if len(named) > 1:
        places = ", ".join(f"{shown(name)} ({where.rpartition(', ')[2]})" for name, where in named.items())
        problems.append(f"{path} must be the form of one rater, but names {places}; give each rater's form as a file")


def _level(where: str, criterion: str, task: str, value: Any, problems: list[str]) -> int | None:
    """A level; None where the cell is blank, or wrong, which is then a problem."""
    text = _text(value)
    if not text:
        return None
    whole = None if isinstance(value, bool) else WHOLE.fullmatch(text)
    if whole and len(whole[1]) < 10 and int(whole[1]) in LEVELS:
        return int(whole[1])
    fix = "write one level, or leave the cell blank"
    if text.startswith("="):
        fix = "write the level itself instead of a formula"
    elif DECIMAL.fullmatch(text) or _is_date(value):
        fix = "choose one of the two levels: there is none between them"
    problems.append(
        f"{where}: the {criterion} of {shown(task)} must be a whole level from 1 to 5, but is {text!r:.60}; {fix}"
    )
    return None


def _is_date(value: Any) -> bool:
    """Whether a spreadsheet program took the cell for a date, as it does with 3.5."""
    return hasattr(value, "isoformat")


def _text(value: Any) -> str:
    """A cell as text; a whole number as people write it."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    try:
        return table_file.text_of(value)
    except TypeError:
        return repr(value)


def _stripped(cells: Sequence[Any]) -> list[str | None]:
    return [_text(cell) or None for cell in cells]


# ---- the two formats -------------------------------------------------------------------------------------------------


def _lines(path: Path) -> tuple[str, Iterator[Line]]:
    """What a row is called, and the rows with their numbers, the header first. Raises DataError."""
    if not path.is_file():
        found = "is no file" if path.exists() else "does not exist"
        raise DataError(f"{path} must be a filled form, but {found}; give the path of a CSV or XLSX")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} must be a filled form, a .csv or .xlsx file, but ends with {path.suffix or 'nothing'!r}; save it "
            "as CSV or XLSX (a page saves its answers with its button)"
        )
    return reader(path, table_file.read_bytes(path, MAX_BYTES))


def _csv_lines(path: Path, data: bytes) -> tuple[str, Iterator[Line]]:
    lines = list(table_file.lines_of(_decoded(data)))
    first = 2 if lines and SEPARATOR.fullmatch(lines[0]) else 1
    lines = lines[first - 1 :]
    blank = next((at for at, line in enumerate(lines) if line.strip(" \t\r\n;,")), 0)
    lines, first = lines[blank:], first + blank
    delimiter = table_file.delimiter_for(lines[0] if lines else "", NEEDED)
    records = table_file.delimited(
        lines,
        str(path),
        delimiter=delimiter,
        quotes="loose" if delimiter == "\t" else "strict",
        guarded=delimiter != "\t",
        first_line=first,
    )
    return "line", iter(records)


def _decoded(data: bytes) -> str:
    """The text of a CSV file: UTF-8, or what spreadsheet programs write instead.

    What is read is ASCII in every form, so letters of titles and notes that are decoded wrongly change nothing.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace").replace("\x00", "")
    try:
        return data.decode("utf-8-sig").replace("\x00", "")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").replace("\x00", "")


def _xlsx_lines(path: Path, data: bytes) -> tuple[str, Iterator[Line]]:
    import openpyxl

    must = f"{path} must be an XLSX file, but cannot be read as one"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_UNPACKED:
            raise DataError(f"{must}: its parts have {size:,} bytes; give a form that `empslurm rate` wrote")
        book = openpyxl.load_workbook(io.BytesIO(data))
    except DataError:
        raise
    except Exception as error:  # the library raises whatever a damaged part leads to
        raise DataError(f"{must} ({type(error).__name__}); save it again as XLSX, or as CSV") from error
    sheets = {sheet.title.casefold(): sheet for sheet in book.worksheets}
    sheet = sheets.get(SHEET) or (next(iter(sheets.values())) if len(sheets) == 1 else None)
    if sheet is None:
        raise DataError(
            f"{path} must have a sheet named {SHEET}, but has {', '.join(map(shown, sheets)) or 'none'}; rename the "
            "sheet with the ratings"
        )
    return "row", enumerate((tuple(cells) for cells in sheet.iter_rows(values_only=True)), 1)


READERS = {".csv": _csv_lines, ".tsv": _csv_lines, ".txt": _csv_lines, ".xlsx": _xlsx_lines}


# ---- several files ---------------------------------------------------------------------------------------------------


def _compare_raters(sheets: Sequence[Sheet], problems: list[str]) -> None:
    """Every rater once, whatever the files are called."""
    first: dict[str, Sheet] = {}
    for sheet in sheets:
        same = first.setdefault(sheet.rater.lower(), sheet)
        if same is not sheet:
            problems.append(
                f"{sheet.path} must be the form of another rater than {same.path}, but both are {sheet.rater}'s; give "
                "each rater's form once"
            )


def _compare_tasks(sheets: Sequence[Sheet], problems: list[str]) -> None:
    """The same tasks in every file; names that differ a little are one misspelt task."""
    every = dict.fromkeys(task for sheet in sheets for task in sheet.lines)
    in_all = {task for task in every if all(task in sheet.lines for sheet in sheets)}
    misspelt: set[frozenset[str]] = set()
    for sheet in sheets:
        for task in every:
            if task in sheet.lines:
                continue
            other = next(each for each in sheets if task in each.lines)
            odd = [own for own in sheet.lines if own not in in_all and own not in other.lines]
            near = difflib.get_close_matches(task[:100], odd, n=1)
            if not near:
                problems.append(
                    f"{sheet.path} must have the task {shown(task)}, as {other.lines[task]} has, but has not; add its "
                    "row, with blank ratings if it was not rated, or remove it from the other forms"
                )
            elif (pair := frozenset((task, near[0]))) not in misspelt:
                misspelt.add(pair)
                problems.append(
                    f"{other.lines[task]} and {sheet.lines[near[0]]} must name the same task, but name {shown(task)} "
                    f"and {shown(near[0])}; did you mean {_known(task, near[0])}?"
                )


def _known(one: str, two: str) -> str:
    """The one of two names that a built-in task has, or both."""
    known = [name for name in (one, two) if name in reference.task_ids()]
    return shown(known[0]) if len(known) == 1 else f"{shown(one)} or {shown(two)}"
