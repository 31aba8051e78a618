"""A task of the user's own without code: a YAML card that says where its table is and how to read it.

id: politeness
title: Politeness
file: politeness.csv            # in DATA/politeness/, or in any folder below DATA
format: csv                     # csv, tsv, jsonl, parquet, arrow (what `datasets` saves to disk)
columns: {text: reply, context: post, label: polite, id: row, group: thread}
kind: classification
labels: [polite, rude]          # regression: low: 1.0 and high: 5.0
data_source: Twitter
language_setting: social media
citation: ...
licence: CC BY 4.0
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm import ids, yamlfile
from empslurm.errors import DataError, ManifestError
from empslurm.limits import Listed, Name, Pattern, Range
from empslurm.tablefile import check_columns, read_text
from empslurm.tasks.hub import is_folder, save
from empslurm.tasks.records import number, read_rows
from empslurm.tasks.schema import Dataset, Example, Form, Kind, RawFile, Reject, Task
from empslurm.tasks.splits import SALTS
from empslurm.typed import Reader, required, unknown

Aspect = Literal["definition", "link", "conduciveness"]  # the criteria of the paper's Table 2
Metric = Literal["f1_macro", "f1_micro", "f1_weighted", "accuracy", "pearson", "spearman"]
METRICS: Mapping[str, tuple[Metric, ...]] = {
    "classification": ("f1_macro", "f1_micro", "f1_weighted", "accuracy"),
    "regression": ("pearson", "spearman"),  # the best epoch has the highest value, so an error measure will not do
}
Line = Annotated[str, Pattern(regex=r"\S.{0,999}", words="a line of text")]
FileName = Annotated[
    str,
    Pattern(regex=r"(?!.*(^|/)\.\.?(/|$))[^/\\].{0,199}", words="a file name, or a relative path below the data root"),
]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column holds what."""

    text: Line  # what is labelled
    label: Line  # a label's name, or a number
    context: Line | Annotated[tuple[Line, ...], Listed()] | None = None  # earlier posts or turns, oldest first
    id: Line | None = None  # unique. Default: file and row number
    group: Line | None = None  # what must not cross a split: thread, author. Default: every row alone


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A dataset of the Hugging Face hub, or a folder of its library, that the file is saved from."""

    name: Line  # a hub id, or a folder (./ is the card's): written by `save_to_disk`, or of Parquet
    revision: Line | None = None  # hub ids only: a commit, so that the data cannot change under the results
    split: Line = "train"
    config: Line | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card as it is written."""

    id: Name
    title: Line
    file: FileName | Annotated[tuple[FileName, ...], Listed()]
    format: Literal["csv", "tsv", "jsonl", "parquet", "arrow"]
    columns: Columns
    kind: Kind
    labels: Annotated[tuple[Line, ...], Listed(at_least=2)] = ()  # classification: all of them
    low: float | None = None  # regression: the scale's ends
    high: float | None = None
    metric: Metric | None = None  # default: f1_macro or pearson
    data_source: Line
    language_setting: Line
    ratings: Mapping[Aspect, Annotated[float, Range(low=1, high=5)]] = field(default_factory=dict)
    family: Name | None = None  # another dataset's family whose groups these are, such as dialogue
    hub: Hub | None = None
    citation: Line
    licence: Line
    obtain: Line | None = None  # the steps a person takes


def read_cards(paths: Iterable[Path], taken: Collection[str]) -> list[Dataset]:
    """The datasets of cards, and of all *.yaml in folders of cards; `taken` are ids that exist already.

    Raises ManifestError with every problem of every card.
    """
    made: list[Dataset] = []
    problems: list[str] = []
    for card in (file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])):
        try:
            made.append(_read_card(card, {*taken, *(dataset.id for dataset in made)}))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    return made


def _read_card(path: Path, taken: Collection[str]) -> Dataset:
    reader = Reader(str(path))
    node = yamlfile.load(path)
    given = reader.section(Card, node)
    written = {key for key, _, _ in node.entries} if isinstance(node, yamlfile.Table) else set()
    if given.get("id") in taken:
        reader.problem("id", f"be an id of its own, but {given['id']} exists already", "choose another")
    _check_kind(reader, given, written)
    _check_hub(reader, given)
    if given.get("family") not in (None, *SALTS):
        reader.problem("family", *unknown(given["family"], SALTS, "family"))
    reader.finish()
    assert set(required(Card)) <= set(given)
    return dataset_of(Card(**given), path.parent)


def _check_kind(reader: Reader, given: Mapping[str, Any], written: Collection[str]) -> None:
    """What must be there or must not for a kind of task; `written`: all keys, those with a noted problem too."""
    kind, low, high = str(given.get("kind")), given.get("low"), given.get("high")
    if kind == "classification":
        if "labels" not in written:
            reader.problem("kind", "come with labels, but there are none", "add `labels: [one, another]`")
        for name in ("low", "high"):
            if given.get(name) is not None:
                reader.problem(name, "belong to a regression, but kind is classification", "remove it")
    if kind == "regression":
        if given.get("labels"):
            reader.problem("labels", "belong to a classification, but kind is regression", "remove them")
        if low is not None and high is not None and low >= high:
            reader.problem("low", f"be below high, but is {low:g} and high is {high:g}", "exchange them")
    metric = given.get("metric")
    if kind in METRICS and metric is not None and metric not in METRICS[kind]:
        reader.problem("metric", f"be one of {', '.join(METRICS[kind])} for a {kind}, but is {metric}", "choose one")


def _check_hub(reader: Reader, given: Mapping[str, Any]) -> None:
    """A hub's dataset is saved as one Parquet file."""
    if given.get("hub") is None:
        return
    if given.get("format", "parquet") != "parquet":
        reader.problem("hub", f"be saved as parquet, but format is {given['format']}", "write `format: parquet`")
    hub: Hub = given["hub"]
    if is_folder(hub.name) == (hub.revision is not None):
        must, fix = ("have no revision", "remove it") if hub.revision else ("have a revision", "add the commit")
        reader.problem("hub", f"{must}, since {hub.name} is a {'folder' if hub.revision else 'hub id'}", fix)
    if not isinstance(given.get("file", ""), str):
        reader.problem("hub", "be saved as one file, but there are several", "name one file and one split")


def dataset_of(card: Card, folder: Path) -> Dataset:
    """The dataset with one task that a card in a folder declares."""
    task = Task(
        id=card.id,
        title=card.title,
        dataset=card.id,
        kind=card.kind,
        labels=card.labels,
        low=card.low,
        high=card.high,
        data_source=card.data_source,
        language_setting=card.language_setting,
        own_metric=card.metric,
        ratings={str(aspect): value for aspect, value in card.ratings.items()},
    )
    names = (card.file,) if isinstance(card.file, str) else card.file
    # How the file is read changes the examples, so it must change the identity of the cells: it enters the form's name.
    reading = ids.digest([card.format, card.columns, card.kind, card.labels, card.low, card.high], 12)
    form = Form(name=f"card-{reading}", files=tuple(RawFile(name=name) for name in names), read=partial(read, card))
    return Dataset(
        id=card.id,
        title=card.title,
        family=card.family or card.id,
        grouped=card.columns.group is not None,
        tasks=(task,),
        forms=(form,),
        citation=card.citation,
        licence=card.licence,
        obtain=_obtain(card, names),
        obtain_by=partial(_save, card.hub, folder, Path(card.id, names[0])) if card.hub else None,
    )


def _obtain(card: Card, names: Sequence[str]) -> str:
    if card.obtain:
        return card.obtain
    if card.hub is None:
        return f"put {', '.join(names)} into DATA/{card.id}/"
    named = f"{card.hub.name} at {card.hub.revision}" if card.hub.revision else card.hub.name
    saved = f"the split {card.hub.split} of {named} as DATA/{card.id}/{names[0]}"
    return f"run `empslurm prepare` on a manifest with its card, or `empslurm data fetch`: it saves {saved}"


def _save(hub: Hub, folder: Path, file: Path, data_root: Path) -> Path:
    """Save a card's file from its hub section; a relative folder is the card's."""
    name = str(folder / hub.name) if hub.name.startswith(".") else hub.name
    return save(
        str(Path(name).resolve()) if is_folder(hub.name) else name,
        hub.config,
        hub.split,
        hub.revision,
        data_root / file,
    )


def read(card: Card, paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The rows of a card's files."""
    seen: set[str] = set()
    for name, path in paths.items():
        for item in _rows(card, path):
            if isinstance(item, Reject):
                yield item
                continue
            row, value = item
            made = _example(card, f"{name}-{row}", value)
            if isinstance(made, Example) and made.id in seen:
                made = "must have an id of its own, but it was given above"
            if isinstance(made, str):
                yield Reject(file=name, row=row, reason=made)
            else:
                seen.add(made.id)
                yield made


def _example(card: Card, default_id: str, value: Mapping[str, Any]) -> Example | str:
    """The example of a row, or why there is none."""
    columns = card.columns
    text, label = _text(value[columns.text]), _label(card, _text(value[columns.label]))
    if not text:
        return f"{columns.text} must hold a text, but is empty"
    if label is None:
        wanted = "one of the card's labels" if card.kind == "classification" else "a number within the card's scale"
        return f"{columns.label} must be {wanted}, but is not"
    id = _text(value[columns.id]) if columns.id else default_id
    group = _text(value[columns.group]) if columns.group else id
    if not id or not group:
        return "must have an id and a group, but has an empty one"
    context = tuple(turn for name in _contexts(columns) for turn in _turns(value[name]) if turn)
    return Example(id=id, group=group, context=context, text=text, labels={card.id: label})


def _label(card: Card, text: str) -> str | float | None:
    if card.kind == "regression":
        return number(text, card.low, card.high)
    # Tables that went through a frame with gaps hold 1.0 where 1 was meant.
    return next((name for name in (text, text.removesuffix(".0")) if name in card.labels), None)


def _contexts(columns: Columns) -> tuple[str, ...]:
    if columns.context is None:
        return ()
    return (columns.context,) if isinstance(columns.context, str) else columns.context


def _turns(value: Any) -> list[str]:
    """A cell of a context column: one turn, or a list of turns."""
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    """A cell as text; what is no scalar is empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace("\x00", "").strip() if isinstance(value, str | int | float) else ""


def _rows(card: Card, path: Path) -> Iterator[tuple[int, Mapping[str, Any]] | Reject]:
    """Row number and the cells of the columns that the card names. Raises DataError."""
    columns = card.columns
    single = (columns.text, columns.label, columns.id, columns.group)
    names = [*dict.fromkeys(name for name in (*single, *_contexts(columns)) if name is not None)]
    if card.format in ("csv", "tsv"):
        return read_rows(path, names, delimiter="," if card.format == "csv" else "\t")
    return _json_rows(path, names) if card.format == "jsonl" else _arrow_rows(card, path, names)


def _json_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]] | Reject]:
    lines = (line for line in read_text(path).split("\n") if line.strip())
    for row, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            yield Reject(file=path.name, row=row, reason="must be a JSON object, but is not")
            continue
        if row == 1:
            check_columns(path.name, [*value], names)
        yield row, {name: value.get(name) for name in names}


def _arrow_rows(card: Card, path: Path, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if card.format == "parquet":
            table = pq.read_table(path)
        else:
            # Not a memory map: lengths in a damaged file lead beyond its end, and there the process dies.
            table = pa.ipc.open_stream(pa.BufferReader(path.read_bytes())).read_all()
        table.validate(full=True)
        check_columns(path.name, table.column_names, names)
        rows = table.select(names).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        must = f"{path.name} must be a table in the {card.format} format, but cannot be read as one"
        raise DataError(f"{must} ({type(error).__name__}); correct the card's format or the file") from error
    yield from enumerate(rows, 1)
