"""Read a table of results, one run per row: every entry is read as text and then typed by its column.

source,target,seed,metric,value
,news,1,f1_macro,0.61
chat,news,1,f1_macro,0.64

- The file is CSV (separated by commas, semicolons, tabs or bars, as in its header), JSON lines or Parquet.
- A baseline has a blank source, or its target as the source. There is no word for it: `none` is a task named none.
- Names are text, even where they look like numbers; blanks around them are removed.
- Meaning of a blank: source, see above; value, a run without a defined score; fraction, 1; flags, none; id, made from
  the other columns; setting, the setting without a name. A blank anywhere else is refused.
- Unknown columns are ignored. The long table that `gather` writes has this form too: its main metrics on the test part
  are read.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from empslurm import ids
from empslurm.errors import DataError
from empslurm.metrics import METRICS
from empslurm.validation import table_file

NEEDED = ("source", "target", "seed", "metric", "value")
OPTIONAL = ("fraction", "flags", "id", "setting", "part", "main", "group")
DELIMITERS = (",", ";", "\t", "|")
COMMENT = "must be a row of results, but begins with # like a comment; remove the line, or put the name in quotes"
LARGEST_SEED = 2**63 - 1
LARGEST_VALUE = 1e15  # beyond it, sums of squares lose the digits in which two scores differ
SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


Run = tuple[str, str, str, int, float]  # setting, source, target, seed and fraction identify a run of a table


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run's score. `where`: its line, or in Parquet its record."""

    where: int
    id: str
    source: str  # "" of a baseline
    target: str
    seed: int
    fraction: float  # of the target's training data
    metric: str
    value: float  # NaN: the run ended without a defined score
    flags: str
    setting: str  # a model, a method, a language: analysed separately; "" where there is only one


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table's rows as read."""

    file: str
    word: str  # how errors name a row: line, or record where there are no lines
    rows: tuple[table_file.Row, ...]
    commas: bool  # whether commas separate the columns, or values are typed: then no comma is a decimal mark

    def place(self, row: table_file.Row) -> str:
        """The position of a row, for errors."""
        line = "" if self.word == "record" else f"line {row.line:,}, "
        return f"{self.file}, {line}record {row.number:,}"


def read(path: Path) -> tuple[Result, ...]:
    """The runs of a table, each once. Raises DataError naming file, line (or record) and column."""
    table = _READERS.get(path.suffix.lower(), _delimited)(path)
    flawed = next((row for row in table.rows if row.flaw), None)
    if flawed is not None:
        fix = "" if flawed.flaw == COMMENT else "; rewrite this row"
        raise DataError(f"{table.place(flawed)} {flawed.flaw}{fix}")
    rows = [row for row in table.rows if _is_main(table.place(row), row.cells)]
    if table.rows and not rows:
        raise DataError(f"{path} must hold a main metric on the part `test`, but holds none; add such rows")
    comma = _decimal_comma(table, rows)
    results = [_result(table.place(row), row, comma) for row in rows]
    if not results:
        raise DataError(f"{path} must hold results, but holds a header and no rows; write one row per run")
    for check in (_in_range, _distinct_names, _distinct_fractions, _one_metric, _every_run_once):
        check(table, results)
    return _with_ids(results)


def _delimited(path: Path) -> _Table:
    """Read delimited text; lines above the header that begin with # are comments."""
    lines = list(table_file.lines_of(table_file.read_text(path)))
    before = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if before == len(lines):
        raise DataError(f"{path} must be a readable CSV, JSON lines or Parquet table, but is empty; check the path")
    delimiter = max(DELIMITERS, key=lambda mark: _n_needed(lines[before], mark))
    rows = table_file.delimited_rows(
        lines[before:],
        path.name,
        NEEDED,
        OPTIONAL,
        delimiter=delimiter,
        quotes="loose" if delimiter == "\t" else "strict",
        trailing=True,
        first_line=before + 1,
    )
    checked = tuple(replace(row, flaw=COMMENT) if lines[row.line - 1].startswith("#") else row for row in rows)
    return _Table(file=path.name, word="line", rows=checked, commas=delimiter == ",")


def _n_needed(header: str, delimiter: str) -> int:
    return len({name.strip().strip('"') for name in header.strip("\r\n").split(delimiter)} & set(NEEDED))


def _json(path: Path) -> _Table:
    rows = table_file.json_rows(table_file.read_text(path).split("\n"), path.name, NEEDED, OPTIONAL)
    return _Table(file=path.name, word="line", rows=tuple(rows), commas=True)


def _parquet(path: Path) -> _Table:
    rows = table_file.arrow_rows(path, "parquet", NEEDED, OPTIONAL)
    return _Table(file=path.name, word="record", rows=tuple(rows), commas=True)


_READERS: Mapping[str, Callable[[Path], _Table]] = {".jsonl": _json, ".ndjson": _json, ".parquet": _parquet}


def _is_long(cells: Mapping[str, Any]) -> bool:
    """Whether a row is from the long table that `gather` writes, with several parts and metrics."""
    return cells.get("part") is not None and cells.get("main") is not None


def _is_main(where: str, cells: Mapping[str, Any]) -> bool:
    """Whether to use a row: of the long table that `gather` writes, only the main metric on the test part."""
    if not _is_long(cells):
        return True
    part, main = _text(where, "part", cells["part"]).lower(), _text(where, "main", cells["main"]).lower()
    if main not in SWITCHES:
        raise DataError(f"{where}: main must be true or false, but is {main}; write one, or rename the column")
    return part == "test" and SWITCHES[main]


def _result(where: str, row: table_file.Row, comma: bool) -> Result:
    texts = {column: _text(where, column, value) for column, value in row.cells.items()}
    target, metric = texts["target"], texts["metric"]
    if not target:
        raise DataError(f"{where}: target must be a task's name, but is blank; write the name")
    if metric not in METRICS:
        known = ", ".join(METRICS)
        raise DataError(f"{where}: metric must be one of {known}, but is {metric!r}; rename it")
    seed = _seed(where, texts["seed"])
    value = _number(where, "value", texts["value"], comma) if texts["value"] else float("nan")
    fraction = _number(where, "fraction", texts.get("fraction") or "1", comma)
    if not 0 < fraction <= 1:
        raise DataError(
            f"{where}: fraction must be above 0 and at most 1, but is {texts['fraction']}; write .1 for a tenth of the "
            "target's training data"
        )
    source = "" if texts["source"] == target else texts["source"]
    setting = texts.get("setting") or (texts.get("group", "") if _is_long(row.cells) else "")
    return Result(
        where=row.line,
        id=texts.get("id", ""),
        source=source,
        target=target,
        seed=seed,
        fraction=fraction,
        metric=metric,
        value=value,
        flags=texts.get("flags", ""),
        setting=setting,
    )


def _id(row: Result) -> str:
    """The id of a run where the table gives none; its predictions file is named after it."""
    return _made_id(_run(row))


def _made_id(run: Run) -> str:
    setting, source, target, seed, fraction = run
    part = "" if fraction == 1.0 else f"-f{fraction * 100:g}"
    name = f"{source}--{target}" if source else target
    return f"{f'{setting}-' if setting else ''}{name}-s{seed}{part}"


def names_a_run(id: str, run: Run) -> bool:
    """Whether an id is one that its table gave, not one that is made from the other columns.

    `run`: setting, source ("" of a baseline), target, seed and fraction.
    """
    made = _made_id(run)
    return id not in (made, f"{made}-{ids.digest(run, 6)}")


def _with_ids(results: Sequence[Result]) -> tuple[Result, ...]:
    """Give every run a unique id: names with hyphens could give two runs the same."""
    names = [row.id or _id(row) for row in results]
    counts = Counter(names)
    return tuple(
        replace(row, id=name if row.id or counts[name] == 1 else f"{name}-{ids.digest(_run(row), 6)}")
        for row, name in zip(results, names, strict=True)
    )


def _run(row: Result) -> Run:
    """The columns that identify a run."""
    return (row.setting, row.source, row.target, row.seed, row.fraction)


def _text(where: str, column: str, value: Any) -> str:
    """An entry as text; 3.0 becomes 3, since data frames with missing values store whole numbers as floats."""
    try:
        if column != "value" and isinstance(value, float) and value.is_integer():
            value = int(value)
        return table_file.text_of(value)
    except TypeError as error:
        raise DataError(f"{where}: {column} must be one value, but is {error}; write a text or a number") from error


def _seed(where: str, text: str) -> int:
    whole = re.fullmatch(r"([+-]?[0-9]{1,40})(?:[.,]0*)?", text)
    if whole is None:
        shown = f"is {text}" if text else "is blank"
        raise DataError(f"{where}: seed must be a whole number, but {shown}; number the runs of a pair 1, 2, 3")
    seed = int(whole[1])
    if not -LARGEST_SEED - 1 <= seed <= LARGEST_SEED:
        raise DataError(
            f"{where}: seed must fit into 64 bits, at most {LARGEST_SEED}, but is {text}; number the runs 1, 2, 3"
        )
    return seed


NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
UNDEFINED = ("nan", "+nan", "-nan", "na", "n/a", "null", "none", "<na>")  # how programs write a missing value


def _number(where: str, column: str, text: str, comma: bool) -> float:
    """A finite number; in the column `value`, NaN for one of `UNDEFINED`."""
    if column == "value" and text.lower() in UNDEFINED:
        return float("nan")
    plain = text.replace("\N{MINUS SIGN}", "-")
    plain = plain.replace(",", ".") if comma and plain.count(",") == 1 else plain
    value = float(plain) if NUMBER.fullmatch(plain) else float("nan")
    if not abs(value) <= LARGEST_VALUE:
        fix = "with a decimal point, such as 0.61" if "," in text and not comma else "such as 0.61"
        raise DataError(f"{where}: {column} must be a finite number, but is {text}; write a number {fix}")
    return value


def _decimal_comma(table: _Table, rows: Sequence[table_file.Row]) -> bool:
    """Whether commas are decimal marks: they do not separate columns, and no number of the table has a point.

    Raises DataError where the numbers have both marks, since either could separate thousands.
    """
    if table.commas:
        return False
    texts = [(row.line, str(row.cells[name])) for row in rows for name in ("value", "fraction") if row.cells.get(name)]
    comma = next(((line, text) for line, text in texts if "," in text), None)
    point = next(((line, text) for line, text in texts if "." in text), None)
    if comma is not None and point is not None:
        raise DataError(
            f"{table.file} must write all numbers in the same way, but has {comma[1]} in line {comma[0]:,} and "
            f"{point[1]} in line {point[0]:,}; use one decimal mark, and no mark for thousands"
        )
    return comma is not None


def _in_range(table: _Table, results: Sequence[Result]) -> None:
    """Check that every value is possible for its metric, so that percent are not taken for fractions."""
    for name in dict.fromkeys(row.metric for row in results):
        metric = METRICS[name]
        own = [row for row in results if row.metric == name]
        wrong = next((row for row in own if not metric.allows(row.value)), None)
        if wrong is None:
            continue
        right = next((row for row in own if metric.allows(row.value) and row.value), None)
        mixed = "" if right is None else f" (and {right.value:g} in {table.word} {right.where:,})"
        unbounded = metric.high == math.inf
        ends = f"be at least {metric.low:g}" if unbounded else f"be between {metric.low:g} and {metric.high:g}"
        if unbounded:
            fix = "write the error itself, not its negative"
        elif metric.allows(wrong.value / 100):
            fix = f"write fractions, not percent: {wrong.value / 100:g}"
        else:
            fix = f"write a value that {name} can have, or remove the {table.word}"
        raise DataError(
            f"{table.file}, {table.word} {wrong.where:,}: value must {ends} for {name}, but is "
            f"{wrong.value:g}{mixed}; {fix}"
        )


def _distinct_names(table: _Table, results: Sequence[Result]) -> None:
    """Check that no two names differ only in what a program adds (`20.0` for 20) or in how an é is stored."""
    for what, names in (
        ("tasks", [(row.where, name) for row in results for name in (row.source, row.target)]),
        ("settings", [(row.where, row.setting) for row in results]),
    ):
        seen: dict[str, tuple[str, int]] = {}
        for where, name in names:
            first, before = seen.setdefault(_plain(name), (name, where))
            if first != name:
                raise DataError(
                    f"{table.file} must name {what} in one way, but has {first} in {table.word} {before:,} and {name} "
                    f"in {table.word} {where:,}, which look the same; write both in the same way"
                )


@cache
def _plain(name: str) -> str:
    """A name in normal form, without invisible characters and without an added `.0`."""
    shown = "".join(mark for mark in unicodedata.normalize("NFC", name) if unicodedata.category(mark) != "Cf")
    return re.sub(r"^([0-9]+)\.0$", r"\1", shown)


def _distinct_fractions(table: _Table, results: Sequence[Result]) -> None:
    """Check that different fractions are printed differently, since they name tables and files."""
    seen: dict[str, Result] = {}
    for row in results:
        first = seen.setdefault(f"{row.fraction * 100:g}", row)
        if first.fraction != row.fraction:
            raise DataError(
                f"{table.file} must write a fraction in one way, but has {first.fraction} in {table.word} "
                f"{first.where:,} and {row.fraction} in {table.word} {row.where:,}; write both in the same way"
            )


def _one_metric(table: _Table, results: Sequence[Result]) -> None:
    seen: dict[tuple[str, str], Result] = {}
    for row in results:
        first = seen.setdefault((row.setting, row.target), row)
        if first.metric != row.metric:
            raise DataError(
                f"{table.file} must have one metric per target, but has {first.metric} in {table.word} "
                f"{first.where:,} and {row.metric} in {table.word} {row.where:,} for {row.target}; keep one"
            )


def _every_run_once(table: _Table, results: Sequence[Result]) -> None:
    for key in (_run, lambda row: (row.id or row.where,)):
        seen: dict[tuple[object, ...], Result] = {}
        for row in results:
            first = seen.setdefault(key(row), row)
            if first is not row:
                raise DataError(
                    f"{table.file} must hold every run once, but holds {row.id or _id(row)} twice, in {table.word} "
                    f"{first.where:,} and {row.where:,}; keep one, or distinguish them in a column named setting (a "
                    "model, a method)"
                )


def settings(results: Sequence[Result]) -> tuple[tuple[str, str], ...]:
    """(name of the group's folder, setting), in the order of the table; a single setting needs no folder ("")."""
    names = tuple(dict.fromkeys(row.setting for row in results))
    if len(names) == 1:
        return (("", names[0]),)
    return tuple((folder_name(name), name) for name in names)


def folder_name(setting: str) -> str:
    """A readable folder name of a setting, different from those of other settings and from the report's files."""
    readable = re.sub(r"[^\w+-]+", "-", setting).strip("-")[:40] or "setting"
    return readable if readable == setting else f"{readable}-{ids.digest(setting, 6)}"
