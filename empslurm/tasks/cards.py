"""Your own task without code: a YAML card says where its table is and how to read it.

id: politeness
title: Politeness
file: politeness.csv            # in DATA/politeness/, or in any folder below DATA; several: [one.csv, two.csv]
format: csv                     # csv, tsv, jsonl, parquet, arrow (what `datasets` saves to disk)
columns: {text: reply, context: post, label: polite, id: row, group: thread}
kind: classification
labels: [polite, rude]          # or {1: polite, 0: rude}; for a regression low: 1.0 and high: 5.0
data_source: Twitter
language_setting: social media
citation: ...
licence: CC BY 4.0

Where it is needed:

file: {train: train.csv, validation: dev.csv, test: test.csv}          # official parts as files,
columns: {text: reply, label: polite, part: split}                     # as a column,
hub: {name: ./folder, splits: {train: train, test: test}}              # or as splits of a `datasets` folder
leave_out: [unclear]            # labels whose rows are left out on purpose
delimiter: ";"                  # csv and tsv
decimal: ","
shares: {validation: 0.1, test: 0.2}                                   # of the drawn split

docs/own-task.md explains them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from empslurm import ids
from empslurm.errors import ManifestError
from empslurm.tasks.card_rows import MAX_SHOWN, READING, read, same_label
from empslurm.tasks.card_schema import (
    DELIMITERS,
    PART_NAMES,
    Card,
    Hub,
    files_of,
    label_names,
    names_of,
    part_named,
)
from empslurm.tasks.hub import is_folder, save
from empslurm.tasks.schema import PARTS, Dataset, Form, Part, RawFile, Task
from empslurm.tasks.splits import SALTS
from empslurm.validation import yaml_tree
from empslurm.validation.reader import FAILED, Reader, required, unknown

PLAIN = re.compile(r"[^\W\d]\w*( \w+)*")  # a YAML string that needs no quotes, but for NULLS and BOOLS
MAX_DIGITS = 24  # of a label that an error shows
MAX_DRAWN = 0.8  # validation and test together; the rest is train


def read_cards(paths: Iterable[Path], taken: Collection[str]) -> list[Dataset]:
    """The datasets of cards, and of all *.yaml in folders of cards; `taken` are ids that exist already.

    Raises ManifestError with every problem of every card.
    """
    datasets: list[Dataset] = []
    problems: list[str] = []
    for card in (file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])):
        try:
            datasets.append(_read_card(card, {*taken, *(dataset.id for dataset in datasets)}))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    return datasets


def _read_card(path: Path, taken: Collection[str]) -> Dataset:
    reader = Reader(str(path))
    node = yaml_tree.load(path)
    values = reader.section(Card, node)
    written = {key for key, _, _ in node.entries} if isinstance(node, yaml_tree.Table) else set()
    if values.get("id") in taken:
        reader.problem("id", f"be a new id, but {values['id']} exists already", "choose another id")
    for check in (_check_kind, _check_labels, _check_table, _check_parts, _check_shares, _check_hub):
        check(reader, values, written)
    if values.get("family") not in (None, *SALTS):
        reader.problem("family", *unknown(values["family"], SALTS, "family"))
    reader.finish()
    assert set(required(Card)) <= set(values)
    return dataset_of(Card(**values), path.parent)


def _check_kind(reader: Reader, values: Mapping[str, Any], written: Collection[str]) -> None:
    """Fields that a kind of task needs or must not have. `written`: all keys, those with a noted problem too."""
    from empslurm.metrics import that_choose_epochs

    kind, low, high = str(values.get("kind")), values.get("low"), values.get("high")
    if kind == "classification":
        if "labels" not in written:
            reader.problem("kind", "come with `labels`, but they are missing", "add `labels: [one, another]`")
        for name in ("low", "high"):
            if values.get(name) is not None:
                reader.problem(name, "be for a regression only, but kind is classification", "remove it")
    if kind == "regression":
        if values.get("labels"):
            reader.problem("labels", "be for a classification only, but kind is regression", "remove them")
        if low is not None and high is not None and low >= high:
            fix = "swap them" if low > high else "write the two ends of the scale"
            reader.problem("low", f"be below high, but is {low:g} and high is {high:g}", fix)
    metric, options = values.get("metric"), that_choose_epochs(kind)
    if options and metric is not None and metric not in options:
        must = f"be one of {', '.join(options)} for a {kind}, but is {metric}"
        reader.problem("metric", must, f"write one of these, or remove it for {options[0]}")


def _check_labels(reader: Reader, values: Mapping[str, Any], written: Collection[str]) -> None:
    """Labels that the table can tell apart, and values to leave out that are not labels."""
    labels, left_out = values.get("labels", ()), values.get("leave_out", ())
    decimal = values.get("decimal") or "."
    known = [label for label in labels if label is not FAILED]
    for first, second in combinations(known, 2):
        named = isinstance(labels, Mapping) and labels[first] == labels[second]
        if same_label(first, second, decimal) and not named:
            must = f"be different in a table, but {first} and {second} mean one value"
            reader.problem("labels", must, "remove one of them")
    if isinstance(labels, Mapping) and len(set(labels.values())) < 2:
        must = f"give at least 2 names, but gives {len(set(labels.values()))}"
        reader.problem("labels", must, "write `labels: {0: one, 1: another}`")
    for index, label in enumerate(left_out):
        if label is not FAILED and any(same_label(label, value, decimal) for value in known):
            must = f"not be one of the labels, but {label} is"
            reader.problem(f"leave_out[{index}]", must, "remove it from leave_out or from labels")


def _check_table(reader: Reader, values: Mapping[str, Any], written: Collection[str]) -> None:
    """`delimiter` and `decimal` are for delimited text only."""
    format = values.get("format")
    if format is None:
        return
    for name in ("delimiter", "decimal"):
        if values.get(name) is not None and format not in DELIMITERS:
            reader.problem(name, f"be for {' or '.join(DELIMITERS)} only, but format is {format}", "remove it")


def _official(values: Mapping[str, Any]) -> list[str]:
    """The keys of a card that give official parts."""
    columns, hub = values.get("columns"), values.get("hub")
    return [
        *(["file"] if isinstance(values.get("file"), Mapping) else []),
        *(["columns.part"] if columns is not None and columns.part is not None else []),
        *(["hub.splits"] if hub is not None and hub.splits is not None else []),
    ]


def _check_parts(reader: Reader, values: Mapping[str, Any], written: Collection[str]) -> None:
    """Official parts are given in one place, by names that are known, train and test among them."""
    keys = _official(values)
    by_key = {"file": values.get("file"), "hub.splits": values["hub"].splits if values.get("hub") else None}
    for key, named in by_key.items():
        if isinstance(named, Mapping):
            _check_names(reader, key, [*named])
    if "columns.part" in keys and len(keys) > 1:
        other = next(key for key in keys if key != "columns.part")
        must = f"be the only key with official parts, but {other} gives them too"
        reader.problem("columns.part", must, f"remove columns.part, or the parts of {other}")
    file = values.get("file")
    names = [name for files in file.values() for name in names_of(files)] if isinstance(file, Mapping) else []
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1 and name is not FAILED]:
        reader.problem("file", f"name each file in one part, but {name} is in several", "remove it from all but one")


def _check_names(reader: Reader, key: str, names: Sequence[str]) -> None:
    """Note part names that are unknown, given twice or missing."""
    name_of: dict[Part, str] = {}
    for name in names:
        part = part_named(name)
        if part is None:
            must = f"name parts, but has {', '.join(names)}: {name} is not one"
            reader.problem(key, must, f"rename it; known: {', '.join(PART_NAMES)}")
        elif part in name_of:
            reader.problem(
                key, f"name each part once, but {name_of[part]} and {name} are the same", "remove one of them"
            )
        else:
            name_of[part] = name
    lacking = [part for part in ("train", "test") if part not in name_of]
    if lacking and all(part_named(name) for name in names):
        must = f"give train and test, but has {', '.join(names) or 'none'}: not {lacking[0]}"
        reader.problem(key, must, f"add {lacking[0]}, or write a list to have the parts drawn")


def _check_shares(reader: Reader, values: Mapping[str, Any], written: Collection[str]) -> None:
    """Shares belong to a split that is drawn for this card alone."""
    shares = values.get("shares")
    if shares is None:
        return
    if shares.validation + shares.test > MAX_DRAWN:
        must = f"leave a fifth for train, but validation and test are {shares.validation + shares.test:g}"
        reader.problem("shares", must, f"lower their sum to at most {MAX_DRAWN:g}")
    if _official(values):
        reader.problem(
            "shares", f"be for a drawn split only, but {_official(values)[0]} gives the parts", "remove shares"
        )
    if values.get("family") is not None:
        must = f"be given without family, but family is {values['family']}, whose datasets have one split"
        reader.problem("shares", must, "remove shares or family")


def _check_hub(reader: Reader, values: Mapping[str, Any], written: Collection[str]) -> None:
    """A hub's dataset is saved as Parquet: one file, or one per official part."""
    if values.get("hub") is None:
        return
    if values.get("format", "parquet") != "parquet":
        reader.problem("hub", f"be saved as parquet, but format is {values['format']}", "write `format: parquet`")
    hub: Hub = values["hub"]
    if is_folder(hub.name) == (hub.revision is not None):
        must, fix = f"have no revision for a folder, but {hub.name} has one", "remove hub.revision"
        if hub.revision is None:
            must, fix = f"have the revision of a hub id, but {hub.name} has none", "add `revision: COMMIT`"
        reader.problem("hub", must, fix)
    file = values.get("file", "")
    if isinstance(file, tuple):
        reader.problem("hub", "be saved as one file, but file names several", "name one file and one split")
    if isinstance(file, Mapping) and hub.splits is None:
        must = "say which split is which part, but has no splits"
        reader.problem("hub", must, "add `splits: {train: train, test: test}` to hub")
    if isinstance(file, Mapping) and hub.splits is not None:
        parts = [{part_named(key) for key in mapping} for mapping in (file, hub.splits)]
        if parts[0] != parts[1] or not all(isinstance(name, str) for name in file.values()):
            must = "name one file for each part of hub.splits, but does not"
            reader.problem("file", must, "name the same parts in both")
    if hub.splits is not None and hub.split != "train":
        reader.problem("hub", "have split or splits, but has both", "remove hub.split")


def dataset_of(card: Card, folder: Path) -> Dataset:
    """The dataset with one task that a card in a folder declares."""
    parts = files_of(card)
    official = [part for part in PARTS if part in parts.values()]
    task = Task(
        id=card.id,
        title=card.title,
        dataset=card.id,
        kind=card.kind,
        labels=tuple(dict.fromkeys(label_names(card).values())),
        low=card.low,
        high=card.high,
        data_source=card.data_source,
        language_setting=card.language_setting,
        own_metric=card.metric,
        ratings={str(aspect): value for aspect, value in card.ratings.items()},
    )
    form = Form(
        name=f"card-{_reading(card)}",
        files=tuple(RawFile(name=name) for name in parts),
        read=partial(read, card),
        reading=READING,
        note=_note(card),
        leaves_out=card.leave_out,
        label_fix=_label_fix if card.kind == "classification" else None,
    )
    return Dataset(
        id=card.id,
        title=card.title,
        family=card.family or card.id,
        grouped=card.columns.group is not None,
        tasks=(task,),
        forms=(form,),
        citation=card.citation,
        licence=card.licence,
        obtain=_obtain(card, folder),
        obtain_by=partial(_save, card, card.hub, folder) if card.hub else None,
        official=tuple(official) or (("train", "test") if card.columns.part else ()),
        shares=card.shares,
    )


def _label_fix(wrong: Sequence[str], some_fit: bool) -> str:
    """What to change in a card whose labels do not fit. wrong: values of the table, at most MAX_SHOWN."""
    if not wrong:
        return "name the column of the labels in `columns.label`, or fix these rows"
    ordered = sorted(wrong, key=lambda value: value.zfill(MAX_DIGITS) if value.isdecimal() else value)
    more = ["..."] if len(wrong) == MAX_SHOWN else []
    if some_fit:
        listed = ", ".join([*map(_in_yaml, ordered), *more])
        it = "it" if len(wrong) == 1 else "them"
        return f"add {', '.join([*ordered, *more])} to `labels`, or leave {it} out with `leave_out: [{listed}]`"
    keys = [value if value.isdecimal() else _in_yaml(value) for value in ordered]
    mapping = ", ".join([*(f"{key}: ..." for key in keys), *more])
    return (
        f"write `labels: {{{mapping}}}` in the card (value in the table: its name), or name the column of the labels "
        "in `columns.label`"
    )


def _in_yaml(value: str) -> str:
    """A string as an item of a YAML list."""
    plain = PLAIN.fullmatch(value) and value not in (*yaml_tree.NULLS, *yaml_tree.BOOLS)
    return value if plain else f"'{value}'"


def _reading(card: Card) -> str:
    """A digest of how a card's files are read: it changes the examples, so it must change the identity of the cells.

    Fields that are newer count only where they are given, so that no id of an older card moves.
    """
    columns = {name: value for name, value in vars(card.columns).items() if name != "part" or value is not None}
    names = label_names(card)
    later = {
        "parts": {name: part for name, part in files_of(card).items() if part is not None},
        "values": [*names.items()] if isinstance(card.labels, Mapping) else [],
        "leave_out": card.leave_out,
        "delimiter": card.delimiter,
        "decimal": card.decimal,
    }
    used = {name: value for name, value in later.items() if value}
    labels = tuple(dict.fromkeys(names.values()))
    return ids.digest([card.format, columns, card.kind, labels, card.low, card.high, *([used] if used else [])], 12)


def _note(card: Card) -> str:
    """Notes for users of a card's files."""
    notes = []
    names = names_of(card.file) if not isinstance(card.file, Mapping) else ()
    looks = {part: name for name in names for word in re.split(r"[^a-z]+", name.lower()) if (part := part_named(word))}
    if len(looks) > 1:
        mapping = ", ".join(f"{part}: {looks[part]}" for part in PARTS if part in looks)
        what = "its files look like official parts, but are pooled and split anew"
        notes.append(f"{card.id}: {what}; write `file: {{{mapping}}}` to keep them")
    if card.leave_out:
        notes.append(f"{card.id}: its card leaves out rows labelled {', '.join(card.leave_out)}")
    return "; ".join(notes)


def _obtain(card: Card, folder: Path) -> str:
    names = [*files_of(card)]
    if card.obtain:
        return card.obtain
    if card.hub is None:
        return f"put {', '.join(names)} into DATA/{card.id}/"
    hub = card.hub
    named = f"{hub.name} at {hub.revision}" if hub.revision else hub.name
    splits = [split for _, split in _splits(card, hub)]
    many = "the splits" if len(splits) > 1 else "the split"
    paths = ", ".join(f"DATA/{card.id}/{name}" for name in names)
    saved = f"{many} {', '.join(splits)} of {named} as {paths}, as the hub section of the card says"
    source = _hub_name(hub, folder)
    absent = is_folder(hub.name) and not Path(source).is_dir()
    problem = f"; but the folder {source} is not there: save the dataset there, or name the right folder in hub.name"
    how = "run `empslurm prepare` on a manifest with its card, or `empslurm data fetch`: it saves"
    return f"{how} {saved}{problem if absent else ''}"


def _splits(card: Card, hub: Hub) -> list[tuple[str, str]]:
    """File name and split of everything that a card's hub section saves."""
    splits = {part_named(key): split for key, split in (hub.splits or {}).items()}
    return [(name, splits[part] if part else hub.split) for name, part in files_of(card).items()]


def _hub_name(hub: Hub, folder: Path) -> str:
    """A hub id, or a folder's absolute path; relative paths start at the card's folder."""
    if not is_folder(hub.name):
        return hub.name
    return str((folder / Path(hub.name).expanduser()).resolve())


def _save(card: Card, hub: Hub, folder: Path, data_root: Path) -> Path:
    """Save a card's files from its hub section: the one file, or the folder of several."""
    own, source = data_root / card.id, _hub_name(hub, folder)
    saved = [save(source, hub.config, split, hub.revision, own / name) for name, split in _splits(card, hub)]
    return saved[0] if len(saved) == 1 else own
