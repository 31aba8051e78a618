"""What may stand in a card: the fields, their limits, and how a part of a split may be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Literal

from empslurm.tasks.schema import PARTS, Part, Shares
from empslurm.validation.constraints import Kind, Listed, Name, Pattern, Range

Aspect = Literal["definition", "link", "conduciveness"]  # the criteria of the paper's Table 2
DELIMITERS: Mapping[str, str] = {"csv": ",", "tsv": "\t"}
PART_NAMES: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "development": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
Line = Annotated[str, Pattern(regex=r"\S.{0,999}", words="a line of text")]
FileName = Annotated[
    str,
    Pattern(regex=r"(?!.*(^|/)\.\.?(/|$))[^/\\].{0,199}", words="a file name, or a relative path below the data root"),
]
Files = FileName | Annotated[tuple[FileName, ...], Listed()]
Mark = Annotated[
    str,
    Pattern(regex=r"[^\w\s\"'.+-]|\t", words='one character such as ; or |, or a tab, which is "\\t" in double quotes'),
]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column holds what."""

    text: Line  # what is labelled
    label: Line  # a label's name, or a number
    context: Line | Annotated[tuple[Line, ...], Listed()] | None = None  # earlier posts or turns, oldest first
    id: Line | None = None  # unique. Default: file and row number
    group: Line | None = None  # what must not cross a split: thread, author. Default: every row alone
    part: Line | None = None  # the official part of each row: train, validation (or dev, val, valid), test


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A dataset of the Hugging Face hub, or a folder of its library, that the file is saved from."""

    name: Line  # a hub id, or a folder (./ is the card's): written by `save_to_disk`, or of Parquet
    revision: Line | None = None  # hub ids only: a commit, so that the data cannot change under the results
    split: Line = "train"
    splits: Mapping[Line, Line] | None = None  # official parts: part -> split; then `split` has no say
    config: Line | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card as it is written."""

    id: Name
    title: Line
    file: Files | Mapping[Line, Files]  # a mapping: official parts, part -> file
    format: Literal["csv", "tsv", "jsonl", "parquet", "arrow"]
    delimiter: Mark | None = None  # csv and tsv: what separates columns. Default: a comma, a tab
    decimal: Literal[".", ","] | None = None  # csv and tsv: the decimal mark of the label column. Default: a point
    columns: Columns
    kind: Kind
    labels: Annotated[tuple[Line, ...], Listed(at_least=2)] | Mapping[Line, Line] = ()  # all, or value -> name
    leave_out: Annotated[tuple[Line, ...], Listed()] = ()  # labels whose rows are left out on purpose
    low: float | None = None  # regression: the scale's ends
    high: float | None = None
    metric: Line | None = None  # one of `metrics.that_choose_epochs`. Default: f1_macro or pearson
    shares: Shares | None = None  # of validation and test in the drawn split. Default: 0.1 and 0.1
    data_source: Line
    language_setting: Line
    ratings: Mapping[Aspect, Annotated[float, Range(low=1, high=5)]] = field(default_factory=dict)
    family: Name | None = None  # another dataset's family whose groups these are, such as dialogue
    hub: Hub | None = None
    citation: Line
    licence: Line
    obtain: Line | None = None  # the steps a person takes


def part_named(text: str) -> Part | None:
    """The part that a name means, in any case."""
    return PART_NAMES.get(text.strip().lower())


def names_of(files: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several as a tuple."""
    return (files,) if isinstance(files, str) else files


def files_of(card: Card) -> dict[str, Part | None]:
    """File name -> its official part, None where the files are pooled.

    One name for several splits of a hub's dataset stands for one file each: kites.parquet for kites-train.parquet, ...
    """
    if isinstance(card.file, Mapping):
        return {name: part_named(key) for key, files in card.file.items() for name in names_of(files)}
    if card.hub is not None and card.hub.splits:
        stem = PurePosixPath(names_of(card.file)[0])
        parts = [part for part in PARTS if part in {part_named(key) for key in card.hub.splits}]
        return {str(stem.with_name(f"{stem.stem}-{part}{stem.suffix}")): part for part in parts}
    return dict.fromkeys(names_of(card.file))


def label_names(card: Card) -> dict[str, str]:
    """What stands in the table -> the label's name, in index order."""
    return dict(card.labels) if isinstance(card.labels, Mapping) else {label: label for label in card.labels}
