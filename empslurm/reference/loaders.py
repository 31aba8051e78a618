"""Read the packaged tables: each reader returns a tuple of frozen rows, in the order of the paper."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from empslurm.errors import DataError
from empslurm.validation.table_file import delimited, delimiter_for, lines_of, read_text

Row = TypeVar("Row")
FOLDER = Path(__file__).parent
RATED = ("task", "aspect")  # columns that say what is rated; the others are annotators
LOWEST, HIGHEST = 1, 5  # of a rating
MERGE = "merge the filled forms of all raters: `empslurm agreement FORM FORM --to ratings.csv`"
FILES = (
    "ratings.csv",
    "themes.csv",
    "tasks.csv",
    "table1.csv",
    "table3.csv",
    "table4.csv",
    "table6.csv",
    "table7.csv",
    "table8.csv",
    "split_shares.csv",
    "label_shares.csv",
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a packaged file comes from, and what a reader must know about it."""

    file: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rating:
    """Table 2: one aspect of one task, rated by every annotator on a 5-point scale; NaN where one gave no rating."""

    task: str
    aspect: str  # definition, link or conduciveness in the paper
    annotators: tuple[str, ...]
    values: tuple[float, ...]  # one per annotator

    @property
    def mean(self) -> float:
        """Mean over the annotators who rated; NaN where none did."""
        known = [value for value in self.values if value == value]
        return sum(known) / len(known) if known else float("nan")


@dataclass(frozen=True, kw_only=True)
class ThemeRow:
    """Table 5: a task's theme and its mean ratings."""

    task: str
    theme: str  # direct, abstract or adjacent
    definition: float
    link: float
    conduciveness: float
    mean: float
    deviates: bool  # marked * in the paper: the mean rating would suggest another theme


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """What the importance analysis needs to know about a task."""

    task: str
    title: str
    dataset: str
    kind: str  # classification or regression
    n_labels: int | None  # None: regression
    data_source: str
    language_setting: str


@dataclass(frozen=True, kw_only=True)
class DatasetSize:
    """Table 1."""

    dataset: str
    title: str
    n_samples: int
    n_vocabulary: int
    n_tokens: int


@dataclass(frozen=True, kw_only=True)
class PublishedAgreement:
    """Table 3."""

    aspect: str
    alpha: float
    spearman: float
    p_value: float  # rounded to two digits in print


@dataclass(frozen=True, kw_only=True)
class HyperParameters:
    """Table 4."""

    task: str
    epochs: int
    batch_size: int
    lr: float


@dataclass(frozen=True, kw_only=True)
class PublishedImportance:
    """Table 6: drop in R^2 when the feature is permuted."""

    feature: str
    title: str
    importance: float
    spread: float  # printed after ±; the paper does not say of what


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """Tables 7 and 8: a target's score after training on the source; source = target is the baseline."""

    source: str
    target: str
    metric: str  # f1_macro (Table 7) or pearson (Table 8)
    value: float
    underlined: bool


@dataclass(frozen=True, kw_only=True)
class SplitStatistic:
    """Tables 9 to 12: one statistic of a task's labels, or the parts' shares, overall and per part."""

    task: str
    statistic: str  # percent (of the samples), min, median, max, mean, std
    all: float
    train: float
    validation: float
    test: float


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """Tables 10 to 12: percent of the samples that carry a label, overall and per part."""

    task: str
    label: str
    all: float
    train: float
    validation: float
    test: float
    table: int


def _comments(path: Path) -> list[str]:
    """Comment lines without their mark."""
    return [line[1:].strip() for line in lines_of(read_text(path)) if line.startswith("#")]


def _table(path: Path, wanted: Sequence[str] = ()) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Column names, and the records below them with their line numbers. Comments and blank lines are left out.

    wanted: columns by which the delimiter is recognised. Raises DataError.
    """
    lines = ["\n" if line.startswith("#") else line for line in lines_of(read_text(path))]
    first = next((line for line in lines if line.strip()), "")
    delimited_lines = delimited(lines, str(path), delimiter=delimiter_for(first, wanted))
    records = [(line, [cell.strip() for cell in cells]) for line, cells in delimited_lines]
    records = [(line, cells) for line, cells in records if any(cells)]
    if not records:
        raise DataError(f"{path} must have a header line, but is empty; write its column names")
    header = records[0][1]
    for line, cells in records[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{line} must have {len(header)} columns, but has {len(cells)}; add or remove cells there"
            )
    return header, records[1:]


def _value(kind: Any, text: str) -> Any:
    """A cell's text as the type of the field that holds it."""
    if kind is bool:
        return text == "yes"
    if kind == int | None:
        return int(text) if text else None
    return kind(text)


def _read(name: str, row_type: type[Row]) -> tuple[Row, ...]:
    """The rows of a packaged file, whose columns are the fields of `row_type`."""
    kinds = get_type_hints(row_type)
    header, records = _table(FOLDER / name)
    return tuple(
        row_type(**{column: _value(kinds[column], text) for column, text in zip(header, cells, strict=True)})
        for _, cells in records
    )


def provenance(name: str) -> Provenance:
    """The source and notes of a packaged file, e.g. "table7.csv"."""
    if name not in FILES:
        raise DataError(f"{name} must be a packaged table, but is not; name one of {', '.join(FILES)}")
    said = [tuple(comment.partition(": ")[::2]) for comment in _comments(FOLDER / name)]
    return Provenance(
        file=name,
        source=next(text for kind, text in said if kind == "source"),
        notes=tuple(text for kind, text in said if kind == "note"),
    )


def ratings(path: Path | None = None) -> tuple[Rating, ...]:
    """Table 2, or any file of its form: columns task, aspect, then one per annotator; an empty value is no rating.

    Columns may be separated by semicolons or tabs, too. Raises DataError.
    """
    path = path or FOLDER / "ratings.csv"
    if path.suffix.lower() == ".xlsx":
        raise DataError(f"{path} must be a CSV of all raters, but is a spreadsheet; {MERGE}")
    header, records = _table(path, RATED)
    _check_header(path, header)
    if not records:
        raise DataError(f"{path} must have a row per task and aspect, but has none; write rows below its header")
    rated: dict[tuple[str, str], Rating] = {}
    for line, cells in records:
        rating = _rating(f"{path}:{line}", dict(zip(header, cells, strict=True)))
        if (rating.task, rating.aspect) in rated:
            what = f"the {rating.aspect} of {rating.task}"
            raise DataError(
                f"{path}:{line} must not rate what a row above rates, but {what} is rated twice; remove one of the rows"
            )
        rated[rating.task, rating.aspect] = rating
    return tuple(rated.values())


def _check_header(path: Path, header: Sequence[str]) -> None:
    """Raise DataError where the columns are not those of a table of ratings."""
    if "rater" in header and "aspect" not in header:
        raise DataError(f"{path} must be a table of all raters, but is the form of one; {MERGE}")
    if not set(RATED) <= set(header) or len(header) < len(RATED) + 2:
        raise DataError(
            f"{path} must have the columns task, aspect and two annotators or more, but has {', '.join(header)}; "
            "write a header like that of empslurm/reference/ratings.csv"
        )
    if "" in header:
        column = header.index("") + 1
        raise DataError(
            f"{path} must have a name for every column, but column {column} has none; write the annotator's name, or "
            "remove the column"
        )
    twice = next((name for name, n in Counter(header).items() if n > 1), None)
    if twice is not None:
        raise DataError(f"{path} must have every column once, but has {twice} twice; rename or remove one")


def _rating(where: str, row: Mapping[str, str]) -> Rating:
    """where: file and line of the row, for errors. Raises DataError."""
    for name in RATED:
        if not row[name]:
            raise DataError(f"{where} must name its {name}, but its column {name} is empty; write the {name} there")
    annotators = tuple(name for name in row if name not in RATED)
    return Rating(
        task=row["task"],
        aspect=row["aspect"],
        annotators=annotators,
        values=tuple(_number(where, name, row[name]) for name in annotators),
    )


def _number(where: str, column: str, text: str) -> float:
    """A rating; NaN where there is none."""
    if text.lower() in ("", "nan", "na"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not LOWEST <= value <= HIGHEST:
        raise DataError(
            f"{where} must have a number from {LOWEST} to {HIGHEST} in column {column}, but has '{text}'; write such a "
            "number, with a decimal point, or leave the cell empty"
        )
    return value


def themes() -> tuple[ThemeRow, ...]:
    """Table 5."""
    return _read("themes.csv", ThemeRow)


def tasks() -> tuple[TaskRow, ...]:
    """The eighteen tasks, as the rows and columns of Tables 7 and 8: alphabetical by title."""
    return _read("tasks.csv", TaskRow)


@cache
def task_ids() -> tuple[str, ...]:
    """The ids of the paper's tasks, in the same order."""
    return tuple(row.task for row in tasks())


def dataset_sizes() -> tuple[DatasetSize, ...]:
    """Table 1."""
    return _read("table1.csv", DatasetSize)


def agreement() -> tuple[PublishedAgreement, ...]:
    """Table 3."""
    return _read("table3.csv", PublishedAgreement)


def hyper_parameters() -> tuple[HyperParameters, ...]:
    """Table 4."""
    return _read("table4.csv", HyperParameters)


def importances() -> tuple[PublishedImportance, ...]:
    """Table 6."""
    return _read("table6.csv", PublishedImportance)


def scores() -> tuple[PublishedScore, ...]:
    """Tables 7 and 8: 18 sources for each of 18 targets, the baselines included."""
    return _read("table7.csv", PublishedScore) + _read("table8.csv", PublishedScore)


def split_statistics() -> tuple[SplitStatistic, ...]:
    """Tables 9 to 12: shares of the parts, and the regression labels' central tendency."""
    return _read("split_shares.csv", SplitStatistic)


def label_shares() -> tuple[LabelShare, ...]:
    """Tables 10 to 12: label shares of the classification tasks."""
    return _read("label_shares.csv", LabelShare)
