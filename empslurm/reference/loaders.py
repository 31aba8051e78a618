"""Readers of the packaged tables: each returns a tuple of frozen rows, in the order of the paper."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from empslurm.errors import DataError

Row = TypeVar("Row")
FOLDER = Path(__file__).parent
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
        given = [value for value in self.values if value == value]
        return sum(given) / len(given) if given else float("nan")


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
    """What the importance features need to know of a task."""

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


def _lines(path: Path) -> tuple[list[str], list[tuple[int, str]]]:
    """Comment lines without their mark, and the other lines with their 1-based numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} must be a readable UTF-8 CSV file, but: {error}; check the path") from error
    numbered = list(enumerate(text.splitlines(), start=1))
    comments = [line[1:].strip() for _, line in numbered if line.startswith("#")]
    return comments, [(number, line) for number, line in numbered if line.strip() and not line.startswith("#")]


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Records by column name, each with its line number."""
    _, numbered = _lines(path)
    if not numbered:
        raise DataError(f"{path} must have a header line, but is empty; write one")
    header = next(csv.reader([numbered[0][1]]))
    rows = []
    for number, line in numbered[1:]:
        values = next(csv.reader([line]))
        if len(values) != len(header):
            raise DataError(f"{path}:{number} must have {len(header)} columns, but has {len(values)}; mend the line")
        rows.append((number, dict(zip(header, values, strict=True))))
    return rows


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
    return tuple(
        row_type(**{column: _value(kinds[column], text) for column, text in row.items()})
        for _, row in _rows(FOLDER / name)
    )


def provenance(name: str) -> Provenance:
    """The source and notes of a packaged file, e.g. "table7.csv"."""
    if name not in FILES:
        raise DataError(f"{name} must be a packaged table, but is none; it is one of {', '.join(FILES)}")
    comments, _ = _lines(FOLDER / name)
    said = [tuple(comment.partition(": ")[::2]) for comment in comments]
    return Provenance(
        file=name,
        source=next(text for kind, text in said if kind == "source"),
        notes=tuple(text for kind, text in said if kind == "note"),
    )


def ratings(path: Path | None = None) -> tuple[Rating, ...]:
    """Table 2, or any file of its form: columns task, aspect, then one per annotator; an empty value is no rating."""
    path = path or FOLDER / "ratings.csv"
    return tuple(_rating(path, number, row) for number, row in _rows(path))


def _rating(path: Path, number: int, row: Mapping[str, str]) -> Rating:
    annotators = tuple(name for name in row if name not in ("task", "aspect"))
    if not {"task", "aspect"} <= set(row) or len(annotators) < 2:
        raise DataError(
            f"{path} must have the columns task, aspect and two annotators or more, but has {', '.join(row)}; "
            "see ratings.csv of this package"
        )
    return Rating(
        task=row["task"],
        aspect=row["aspect"],
        annotators=annotators,
        values=tuple(_number(path, number, name, row[name]) for name in annotators),
    )


def _number(path: Path, line: int, column: str, value: str) -> float:
    try:
        return float(value) if value.strip() else float("nan")
    except ValueError:
        raise DataError(
            f"{path}:{line} must have a number in column {column}, but has '{value}'; write one or leave it empty"
        ) from None


def themes() -> tuple[ThemeRow, ...]:
    """Table 5."""
    return _read("themes.csv", ThemeRow)


def tasks() -> tuple[TaskRow, ...]:
    """The eighteen tasks."""
    return _read("tasks.csv", TaskRow)


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
