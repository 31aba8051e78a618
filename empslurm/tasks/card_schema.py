"""The fields of a card with their limits, and the names of official parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from empslurm.tasks.schema import PARTS, Part, Shares
from empslurm.validation.constraints import Doc, Kind, Listed, Name, Pattern, Range
from empslurm.validation.reader import json_schema

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
Line = Annotated[str, Pattern(regex=r"\S.{0,999}", words="a line of text", fix="write a text in one line")]
FileName = Annotated[
    str,
    Pattern(
        regex=r"(?!.*(^|/)\.\.?(/|$))[^/\\].{0,199}",
        words="a file name, or a relative path below the data root",
        fix="write it without a leading / and without ..",
    ),
]
Files = FileName | Annotated[tuple[FileName, ...], Listed()]
Mark = Annotated[
    str,
    Pattern(
        regex=r"[^\w\s\"'.+-]|\t",
        words='one character such as ; or |, or a tab, which is "\\t" in double quotes',
        fix='write it in double quotes, such as ";"',
    ),
]


LABELS_FIX = (
    "write the names here, such as `[up, down]`, or a mapping `{0: up, 1: down}` (value in the table: its name)"
)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a card's table; in JSON lines, the keys."""

    text: Annotated[Line, Doc("Column with the text that is labelled.")]
    label: Annotated[Line, Doc("Column with the label: its name, or a number.")]
    context: Annotated[
        Line | Annotated[tuple[Line, ...], Listed()] | None,
        Doc("Column or columns with earlier turns or posts, oldest first. null: no context."),
    ] = None
    id: Annotated[Line | None, Doc("Column with a unique id for each row. null: file name and row number.")] = None
    group: Annotated[
        Line | None,
        Doc("Column whose equal values stay in one part, such as thread or author. null: each row is a group."),
    ] = None
    part: Annotated[
        Line | None, Doc("Column with each row's official part: train, validation (dev, val) or test. null: none.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A dataset of the Hugging Face hub or a local folder, which empslurm saves as the card's file."""

    name: Annotated[
        Line,
        Doc("Hub id; or a folder with Parquet files or from `save_to_disk`: ./ (beside the card), ../, / or ~ first."),
    ]
    revision: Annotated[
        Line | None, Doc("Commit of the hub dataset, so that the data cannot change later; not for a folder.")
    ] = None
    split: Annotated[Line, Doc("The split to save; not together with `splits`.")] = "train"
    splits: Annotated[
        Mapping[Line, Line] | None, Doc("Official parts: part -> split of the dataset. null: only `split`.")
    ] = None
    config: Annotated[Line | None, Doc("Configuration of the dataset. null: its default.")] = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card as it is written in YAML."""

    id: Annotated[Name, Doc("Id of the dataset and of its task, and the folder's name below the data root.")]
    title: Annotated[Line, Doc("Title of the task in tables and reports.")]
    file: Annotated[
        Files | Mapping[Line, Files],
        Doc("File below the data root, or a list of files to pool. Official parts: a mapping, part -> file."),
    ]
    format: Annotated[
        Literal["csv", "tsv", "jsonl", "parquet", "arrow"],
        Doc("Format of the files. jsonl: one JSON object per line. arrow: as saved by the `datasets` library."),
    ]
    delimiter: Annotated[
        Mark | None, Doc("csv and tsv: the character between columns. null: a comma in csv, a tab in tsv.")
    ] = None
    decimal: Annotated[
        Literal[".", ","] | None, Doc("csv and tsv: the decimal mark in the label column. null: a point.")
    ] = None
    columns: Annotated[Columns, Doc("Which column holds what.")]
    kind: Annotated[Kind, Doc("classification: labels of a fixed set. regression: ratings on a scale.")]
    labels: Annotated[
        Annotated[tuple[Line, ...], Listed(at_least=2, fix=LABELS_FIX)] | Mapping[Line, Line],
        Doc("Classification: all labels, in index order. A mapping: value in the table -> label."),
    ] = ()
    leave_out: Annotated[
        tuple[Line, ...],
        Listed(),
        Doc("Values of the label column, as in the table, whose rows are left out on purpose."),
    ] = ()
    low: Annotated[
        float | None, Doc("Regression: lower end of the scale; a rating below it makes a bad row. null: no limit.")
    ] = None
    high: Annotated[
        float | None, Doc("Regression: upper end of the scale; a rating above it makes a bad row. null: no limit.")
    ] = None
    metric: Annotated[
        Line | None, Doc("Metric that chooses the best epoch and that tables show. null: f1_macro, or pearson.")
    ] = None
    shares: Annotated[
        Shares | None, Doc("Shares of validation and test in a drawn split. null: 0.1 each, 0.8 for train.")
    ] = None
    data_source: Annotated[Line, Doc("Where the texts are from, such as Twitter.")]
    language_setting: Annotated[Line, Doc("The setting of the texts, such as conversation or social media.")]
    ratings: Annotated[
        Mapping[Aspect, Annotated[float, Range(low=1, high=5)]],
        Doc("Criteria of the paper's Table 2, each from 1 to 5: definition, link, conduciveness."),
    ] = field(default_factory=dict)
    family: Annotated[
        Name | None,
        Doc("Built-in family of datasets, such as dialogue, whose groups and split it shares. null: its own."),
    ] = None
    hub: Annotated[
        Hub | None, Doc("Dataset of the Hugging Face hub, or local folder, to save as the file. null: none.")
    ] = None
    citation: Annotated[Line, Doc("Publication to cite, in one line.")]
    licence: Annotated[Line, Doc("Licence of the data, in one line.")]
    obtain: Annotated[
        Line | None, Doc("How a person gets the files, for `data status`. null: a sentence made from the card.")
    ] = None


def card_json_schema() -> dict[str, Any]:
    """The JSON Schema of cards, for editors; `manifests/card.schema.json` is this."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "empslurm card", **json_schema(Card)}


def part_named(text: str) -> Part | None:
    """The part that a name means, in upper or lower case; None for an unknown name."""
    return PART_NAMES.get(text.strip().lower())


def names_of(files: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several as a tuple."""
    return (files,) if isinstance(files, str) else files


def files_of(card: Card) -> dict[str, Part | None]:
    """File name -> its official part, None where the files are pooled.

    With several splits of a hub's dataset, one name gives one file each: kites.parquet gives kites-train.parquet, ...
    """
    if isinstance(card.file, Mapping):
        return {name: part_named(key) for key, files in card.file.items() for name in names_of(files)}
    if card.hub is not None and card.hub.splits:
        stem = PurePosixPath(names_of(card.file)[0])
        parts = [part for part in PARTS if part in {part_named(key) for key in card.hub.splits}]
        return {str(stem.with_name(f"{stem.stem}-{part}{stem.suffix}")): part for part in parts}
    return dict.fromkeys(names_of(card.file))


def label_names(card: Card) -> dict[str, str]:
    """Value in the table -> the label's name, in index order."""
    return dict(card.labels) if isinstance(card.labels, Mapping) else {label: label for label in card.labels}
