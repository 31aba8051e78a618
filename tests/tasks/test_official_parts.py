"""Official parts as files, as a column and as splits of a saved dataset; and shares of a drawn split."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.config import DataUse
from empslurm.errors import DataError, ManifestError
from empslurm.tasks import registry
from empslurm.tasks.card_rows import READING
from empslurm.tasks.leakage import audit
from empslurm.tasks.overlap import flag, verdicts
from empslurm.tasks.prepare import TaskTable, load_task, prepare
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Dataset
from empslurm.tasks.splits import part_of, split_name
from empslurm.tasks.stats import cautions, dataset_stats, remarks

CARD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, label: mood}
kind: classification
labels: [up, down]
data_source: invented
language_setting: conversation
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
FILES = CARD.replace("file: kites.csv", "file: {train: train.csv, validation: dev.csv, test: test.csv}")
COLUMN = CARD.replace("label: mood", "label: mood, part: split")
HUB = CARD.replace("kites.csv", "kites.parquet").replace("format: csv", "format: parquet")
SIZES = {"train": 90, "dev": 20, "test": 30}


def card(folder: Path, text: str) -> Dataset:
    path = folder / "cards" / "card.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return registry((path,)).datasets["kite_mood"]


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        card(folder, text)
    return caught.value.problems


def write(folder: Path, name: str, rows: Sequence[Sequence[object]]) -> None:
    path = folder / "data" / "kite_mood" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def lines(part: str, n: int) -> list[list[object]]:
    """Row number within the part, thread, text and label."""
    return [[k, f"t{k // 2}", f"kite {k} of {part}", ("up", "down")[k % 2]] for k in range(n)]


def write_parts(folder: Path, sizes: dict[str, int] | None = None) -> None:
    for name, n in (sizes or SIZES).items():
        write(folder, f"{name}.csv", [["row", "thread", "said", "mood"], *lines(name, n)])


def table(folder: Path, dataset: Dataset, rule: Any = "family") -> TaskTable:
    made = prepare(dataset, folder / "data", folder / "cache")
    return load_task(made, dataset.tasks[0], DataUse(splits=rule), "all")


def sizes(found: TaskTable) -> dict[str, int]:
    return dict(Counter(found.parts.tolist()))


@pytest.mark.parametrize("rule", ["family", "paper"])
@pytest.mark.parametrize(
    "names",
    [
        ("train", "validation", "test"),
        ("Training", "dev", "TEST"),
        ("train", "val", "testing"),
        ("training", "valid", "test"),
        ("train", "development", "test"),
    ],
)
def test_card_own_splits_as_files(tmp_path: Path, names: Sequence[str], rule: str) -> None:
    write_parts(tmp_path)
    mapping = ", ".join(f"{name}: {file}.csv" for name, file in zip(names, SIZES, strict=True))
    dataset = card(tmp_path, CARD.replace("file: kites.csv", f"file: {{{mapping}}}"))
    found = table(tmp_path, dataset, rule)
    assert sizes(found) == {"train": 90, "validation": 20, "test": 30}
    assert all(
        text.endswith("dev") == (part == "validation") for text, part in zip(found.texts, found.parts, strict=True)
    )
    assert split_name(dataset, "family") == "official-1-0" != split_name(card(tmp_path, CARD), "family")


def test_several_files_of_one_part(tmp_path: Path) -> None:
    write_parts(tmp_path, {"one": 10, "two": 12, "test": 9, "dev": 5})
    text = CARD.replace("file: kites.csv", "file: {train: [one.csv, two.csv], dev: dev.csv, test: test.csv}")
    assert sizes(table(tmp_path, card(tmp_path, text))) == {"train": 22, "validation": 5, "test": 9}


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("TRAIN", "Dev", "Testing")])
def test_card_own_splits_as_a_column(tmp_path: Path, names: Sequence[str]) -> None:
    rows = [["row", "thread", "said", "mood", "split"]]
    rows += [[*row, name] for name, n in zip(names, SIZES.values(), strict=True) for row in lines(name, n)]  # type: ignore[list-item]
    write(tmp_path, "kites.csv", rows)
    dataset = card(tmp_path, COLUMN)
    found = table(tmp_path, dataset)
    assert sizes(found) == {"train": 90, "validation": 20, "test": 30}
    assert split_name(dataset, "family") == "official-1-0"
    assert found.ids[0] == "kites.csv-1"


def test_rows_of_an_unknown_part_are_an_error_that_lists_them(tmp_path: Path) -> None:
    parts = ["train", "test", "holdout", "", "train", "fold 2", "the kite was lost in the rain, so they said"]
    write(tmp_path, "kites.csv", [["said", "mood", "split"], *([f"k{n}", "up", f'"{p}"'] for n, p in enumerate(parts))])
    with pytest.raises(DataError, match="4 rows hold others: holdout, an empty cell, fold 2; write") as caught:
        table(tmp_path, card(tmp_path, COLUMN))
    assert "split must hold a part in every row (train, training, dev" in str(caught.value)
    assert "lost" not in str(caught.value)


@pytest.mark.heavy  # the `datasets` library imports torch
@pytest.mark.parametrize("form", ["save_to_disk", "parquet"])
@pytest.mark.parametrize("file", ["kites.parquet", "{train: a.parquet, dev: b.parquet, test: c.parquet}"])
def test_card_own_splits_of_a_datasets_folder(tmp_path: Path, form: str, file: str) -> None:
    import datasets

    folder = tmp_path / "cards" / "kites"
    splits = {
        name: datasets.Dataset.from_dict(
            {"said": [f"kite {n} of {name}" for n in range(size)], "mood": ["up", "down"] * (size // 2)}
        )
        for name, size in SIZES.items()
    }
    if form == "save_to_disk":
        datasets.DatasetDict(splits).save_to_disk(folder)
    else:
        folder.mkdir(parents=True)
        for name, rows in splits.items():
            rows.to_parquet(folder / f"{name}-00000-of-00001.parquet")
    named = {"save_to_disk": "dev", "parquet": "validation"}[form]  # the library calls dev-*.parquet validation
    hub = f"hub: {{name: ./kites, splits: {{train: train, validation: {named}, test: test}}}}\n"
    dataset = card(tmp_path, HUB.replace("kites.parquet", file) + hub)
    missing = locate(dataset, tmp_path / "data", tmp_path / "cache")
    assert missing.state == "missing"
    how = "run `empslurm prepare` on a manifest with its card, or `empslurm data fetch`: it saves"
    assert f"{how} the splits train, {named}, test of ./kites" in missing.problem
    assert "not there" not in missing.problem
    assert dataset.obtain_by is not None
    assert dataset.obtain_by(tmp_path / "data") == tmp_path / "data" / "kite_mood"
    assert len([*(tmp_path / "data" / "kite_mood").iterdir()]) == 3
    assert sizes(table(tmp_path, dataset)) == {"train": 90, "validation": 20, "test": 30}


def test_a_folder_that_is_not_there_is_named_before_prepare(tmp_path: Path) -> None:
    dataset = card(tmp_path, HUB + "hub: {name: ./kites}\n")
    problem = locate(dataset, tmp_path / "data", tmp_path / "cache").problem
    assert f"it saves the split train of ./kites as {tmp_path / 'data'}/kite_mood/kites.parquet" in problem
    assert f"but the folder {tmp_path / 'cards' / 'kites'} is not there" in problem
    (tmp_path / "cards" / "kites").mkdir()
    again = card(tmp_path, HUB + "hub: {name: ./kites}\n")
    assert "is not there" not in locate(again, tmp_path / "data", tmp_path / "cache").problem


@pytest.mark.parametrize("grouped", [False, True])
def test_without_a_validation_part_a_ninth_of_train_is_drawn(tmp_path: Path, grouped: bool) -> None:
    write_parts(tmp_path, {"train": 900, "test": 30})
    text = CARD.replace("file: kites.csv", "file: {train: train.csv, test: test.csv}")
    text = text.replace("label: mood", "label: mood, group: thread") if grouped else text
    found = table(tmp_path, card(tmp_path, text))
    assert sizes(found)["test"] == 30
    assert sizes(found)["validation"] == pytest.approx(100, abs=30)
    drawn = {group for group, part in zip(found.groups, found.parts, strict=True) if part == "validation"}
    kept = {group for group, part in zip(found.groups, found.parts, strict=True) if part == "train"}
    assert not drawn & kept  # whole groups
    assert {part_of(group, 0, (8 / 9, 1.0)) for group in drawn} == {"validation"}


def test_ids_that_start_again_in_every_part_become_distinct(tmp_path: Path) -> None:
    write_parts(tmp_path)
    text = FILES.replace("label: mood", "label: mood, id: row, group: thread")
    found = table(tmp_path, card(tmp_path, text))
    assert len(set(found.ids)) == len(found.ids) == 140
    assert {"train-0", "validation-0", "test-0"} <= set(found.ids)
    assert Counter(found.groups)["t0"] == 6  # a group may cross the publisher's parts


@pytest.mark.parametrize("empty", ["train", "dev", "test"])
def test_a_part_without_examples_is_an_error(tmp_path: Path, empty: str) -> None:
    write_parts(tmp_path, {**SIZES, empty: 0})
    part = {"dev": "validation"}.get(empty, empty)
    with pytest.raises(DataError, match=rf"in each official part \(train, validation, test\), but {part} has none"):
        table(tmp_path, card(tmp_path, FILES))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (FILES.replace("validation:", "held_out:"), "held_out is not one; rename it; known: train, training, dev, "),
        (FILES.replace("train:", "dev:").replace("validation:", "test2:"), "has dev, test2, test: test2 is not one"),
        (FILES.replace("test: test.csv", "val: test.csv"), "name each part once, but validation and val are the same"),
        (CARD.replace("file: kites.csv", "file: {train: a.csv, dev: b.csv}"), "train and test, but has train, dev"),
        (CARD.replace("file: kites.csv", "file: {train: a.csv, test: a.csv}"), "a.csv is in several"),
        (FILES.replace("label: mood", "label: mood, part: split"), "but file gives them too"),
        (FILES + "shares: {test: 0.2}\n", "shares must be for a drawn split only, but file gives the parts"),
        (COLUMN + "shares: {test: 0.2}\n", "columns.part gives the parts"),
        (CARD + "shares: {test: 0.5, validation: 0.4}\n", "leave a fifth for train, but validation and test are 0.9"),
        (CARD + "shares: {test: 0}\n", "at least 0.01"),
        (CARD + "shares: {test: 0.2}\nfamily: dialogue\n", "be given without family, but family is dialogue"),
        (HUB + "hub: {name: ./a, splits: {train: x, tset: y}}\n", "hub.splits must name parts, but has train, tset"),
        (HUB + "hub: {name: ./a, split: b, splits: {train: x, test: y}}\n", "have split or splits, but has both"),
        (
            HUB.replace("kites.parquet", "{train: a, test: b}") + "hub: {name: ./a}\n",
            "say which split is which part, but has no splits; add `splits",
        ),
        (
            HUB.replace("kites.parquet", "{train: a, test: b}")
            + "hub: {name: ./a, splits: {train: x, dev: y, test: z}}\n",
            "name one file for each part of hub.splits",
        ),
        (CARD + "leave_out: [up]\n", "not be one of the labels, but up is; remove it from leave_out or from labels"),
        (CARD.replace("[up, down]", "{1: up, 0: down}") + "leave_out: ['0']\n", "but 0 is; remove"),
        (CARD + "leave_out: [sideways, UP]\nlabels: {true: up, false: down}\n", "labels must be given once"),
        (CARD.replace("[up, down]", "['True', 'False']") + "leave_out: ['true']\n", "but true is; remove"),
        (CARD.replace("[up, down]", "{1: up, 0: up}"), "labels must give at least 2 names"),
        (CARD + "delimiter: ab\n", "must be one character such as ; or |, or a tab"),
        (CARD + "delimiter: '\"'\n", "must be one character such as ; or |, or a tab"),
        (CARD.replace("[up, down]", "['1', '1.0', '2']"), "but 1 and 1.0 mean one value"),
        (CARD.replace("[up, down]", "{1: up, 1.0: down}"), "but 1 and 1.0 mean one value"),
        (CARD.replace("[up, down]", "['True', 'true', 'no']"), "but True and true mean one value"),
        (CARD.replace("[up, down]", "['1,5', '1,50']") + "decimal: ','\n", "but 1,5 and 1,50 mean one value"),
        (CARD + "delimiter: ';'\ndecimal: ';'\n", "decimal must be one of ., ,"),
        (HUB + "delimiter: ';'\n", "delimiter must be for csv or tsv only, but format is parquet; remove it"),
        (HUB + "decimal: ','\n", "decimal must be for csv or tsv only, but format is parquet; remove it"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, word: str) -> None:
    assert any(word in problem for problem in problems(tmp_path, text)), problems(tmp_path, text)


def test_a_list_of_files_that_look_like_parts_is_pooled_and_says_so(tmp_path: Path) -> None:
    write_parts(tmp_path)
    listed = card(tmp_path, CARD.replace("kites.csv", "[train.csv, dev.csv, test.csv]"))
    assert split_name(listed, "family") == "family-1-0"
    found = table(tmp_path, listed)
    assert found.ids[0] == "train.csv-1"
    assert list(found.parts) == [part_of(id, 0) for id in found.ids]
    note = listed.forms[0].note
    assert "look like official parts, but are pooled" in note
    assert "`file: {train: train.csv, validation: dev.csv, test: test.csv}` to keep them" in note
    assert locate(listed, tmp_path / "data", tmp_path / "cache").problem == note
    assert note in dataset_stats(listed, tmp_path / "data", tmp_path / "cache")["notes"]
    assert card(tmp_path, CARD.replace("kites.csv", "[kites_train.csv, protest.csv]")).forms[0].note == ""


def test_the_audit_says_what_leaks_between_official_parts(tmp_path: Path) -> None:
    long = "my red kite went over the garden gate and down into the old river again"
    header = ["row", "thread", "said", "mood"]
    train = [*lines("train", 40), [40, "t90", "Equal in both!", "up"], [41, "t91", long, "up"]]
    dev = [*lines("dev", 4), [4, "t92", "equal in both", "down"]]
    test = [[n, f"u{n}", f"nothing like it {n * 7919}", "up"] for n in range(7)]
    test += [[7, "t90", "quite another", "up"], [8, "u8", "equal, in both", "up"], [9, "u9", long + "s", "down"]]
    for name, rows in (("train", train), ("dev", dev), ("test", test)):
        write(tmp_path, f"{name}.csv", [header, *([*row[:2], f'"{row[2]}"', row[3]] for row in rows)])
    dataset = card(tmp_path, FILES.replace("label: mood", "label: mood, id: row, group: thread"))
    made = prepare(dataset, tmp_path / "data", tmp_path / "cache")
    found, _ = audit([made], tmp_path / "cache")
    own = {(row.earlier, row.later): row for row in found.between}
    assert set(own) == {("train", "validation"), ("train", "test"), ("validation", "test")}
    row = own["train", "test"]
    assert (row.n_later, row.in_shared_groups, row.exact, row.near) == (10, 1, 1, 2)
    assert (own["train", "validation"].in_shared_groups, own["train", "validation"].exact) == (4, 1)
    assert own["validation", "test"].exact == 1
    (overlap,) = [one for one in found.overlaps if one.splits == "family"]
    assert flag(overlap).startswith(
        "kite_mood -> kite_mood (official parts) leaks: of 10 test examples 1 are in groups"
    )
    again, _ = audit([made], tmp_path / "cache")  # as it is stored
    assert again == found
    raw = {"kite_mood": made.meta.raw_digest}
    told = verdicts(tmp_path / "cache", {"kite_mood": dataset}, raw, {"kite_mood": DataUse()})
    assert set(told.flags()) == {("kite_mood", "kite_mood")}
    newer = {"kite_mood": replace(dataset, forms=(replace(dataset.forms[0], reading=READING + 1),))}
    assert verdicts(tmp_path / "cache", newer, raw, {"kite_mood": DataUse()}).unknown == ("kite_mood",)
    drawn = {"kite_mood": card(tmp_path, CARD)}
    assert verdicts(tmp_path / "cache", drawn, raw, {"kite_mood": DataUse()}).unknown == ("kite_mood",)


@pytest.mark.parametrize("rule", ["family", "paper"])
def test_shares_of_a_drawn_split(tmp_path: Path, rule: Any) -> None:
    write(tmp_path, "kites.csv", [["said", "mood"], *([f"kite {n}", ("up", "down")[n % 2]] for n in range(2000))])
    wide = card(tmp_path, CARD + "shares: {validation: 0.05, test: 0.3}\n")
    found = sizes(table(tmp_path, wide, rule))
    assert found == {
        "train": pytest.approx(1300, abs=80),
        "validation": pytest.approx(100, abs=40),
        "test": pytest.approx(600, abs=80),
    }
    assert split_name(wide, rule) == f"{rule}-1-0-0.05-0.3"
    assert split_name(card(tmp_path, CARD), rule) == f"{rule}-1-0"
    data, cache = tmp_path / "data", tmp_path / "cache"
    assert prepare(wide, data, cache).folder != prepare(card(tmp_path, CARD), data, cache).folder
    assert locate(wide, data, cache).raw_digest == locate(card(tmp_path, CARD), data, cache).raw_digest


@pytest.mark.parametrize("n_bad", [2, 3])
def test_bad_rows_count_within_each_part(tmp_path: Path, n_bad: int) -> None:
    rows: list[list[Any]] = [["said", "mood", "split"]]
    rows += [["kite", "up", "train"]] * 1000
    rows += [["kite", "up", "dev"] for _ in range(40)]
    rows += [["kite", "sideways" if n < n_bad else "down", "test"] for n in range(40)]
    write(tmp_path, "kites.csv", rows)
    if n_bad == 2:
        assert sizes(table(tmp_path, card(tmp_path, COLUMN)))["test"] == 38
        return
    with pytest.raises(DataError, match="at most 5% bad rows in the test part, but has 3 beside 37 good ones"):
        table(tmp_path, card(tmp_path, COLUMN))


@pytest.mark.parametrize(("group", "lacking"), [("t9", "validation"), ("t8", "train")])
def test_a_validation_part_drawn_from_few_groups_is_no_part(tmp_path: Path, group: str, lacking: str) -> None:
    header = ["row", "thread", "said", "mood"]
    write(tmp_path, "train.csv", [header, *([n, group, f"kite {n}", ("up", "down")[n % 2]] for n in range(90))])
    write(tmp_path, "test.csv", [header, *lines("test", 30)])
    text = CARD.replace("file: kites.csv", "file: {train: train.csv, test: test.csv}")
    text = text.replace("label: mood", "label: mood, group: thread")
    assert part_of(group, 0, (8 / 9, 1.0)) != lacking
    must = f"but {lacking} has none: .* the 1 groups of train is drawn; name a validation file or part, or finer groups"
    with pytest.raises(DataError, match=must):
        table(tmp_path, card(tmp_path, text))


@pytest.mark.parametrize("part", ["dev", "test"])
def test_a_label_that_train_has_and_another_part_lacks_is_reported(tmp_path: Path, part: str) -> None:
    write_parts(tmp_path)
    write(tmp_path, f"{part}.csv", [["said", "mood"], *([f"kite {n}", "up"] for n in range(30))])
    told = f"kite_mood: its {'validation' if part == 'dev' else part} part has no example labelled down, but train has"
    dataset = card(tmp_path, FILES)
    made = prepare(dataset, tmp_path / "data", tmp_path / "cache")
    notes = dataset_stats(dataset, tmp_path / "data", tmp_path / "cache")["notes"]
    for found in (remarks(made), cautions(made, DataUse()), notes):
        assert sum(note.startswith(told) for note in found) == 1


@pytest.mark.parametrize("text", [CARD + "family: dialogue\n", FILES])
def test_shares_are_no_advice_where_they_have_no_say(tmp_path: Path, text: str) -> None:
    write_parts(tmp_path)
    write(tmp_path, "kites.csv", [["said", "mood"], *([f"kite {n}", ("up", "down")[n % 2]] for n in range(60))])
    for one, expected in ((text, False), (CARD, True)):
        made = prepare(card(tmp_path, one), tmp_path / "data", tmp_path / "cache")
        (note,) = cautions(made, DataUse())
        assert ("shares" in note) == expected


def test_few_test_examples_of_a_regression_are_reported_with_a_correlation(tmp_path: Path) -> None:
    write(tmp_path, "kites.csv", [["said", "mood"], *([f"kite {n}", n] for n in range(200))])
    text = CARD.replace("kind: classification\nlabels: [up, down]", "kind: regression")
    (note,) = cautions(prepare(card(tmp_path, text), tmp_path / "data", tmp_path / "cache"), DataUse())
    assert re.search(r"only large effects: a correlation is uncertain by about ±0\.[34]\d", note)


def test_a_drawn_split_with_an_empty_part_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "kites.csv", [["said", "mood", "thread"], *([f"k{n}", "up", f"t{n % 2}"] for n in range(60))])
    text = CARD.replace("label: mood", "label: mood, group: thread")
    (note,) = cautions(prepare(card(tmp_path, text), tmp_path / "data", tmp_path / "cache"), DataUse())
    assert "kite_mood must have examples in train, validation and test to be trained, but" in note
    assert "finer groups in columns.group" in note


def test_few_test_examples_are_reported(tmp_path: Path) -> None:
    write_parts(tmp_path)
    notes = dataset_stats(card(tmp_path, FILES), tmp_path / "data", tmp_path / "cache")["notes"]
    (note,) = notes
    assert note.startswith(
        "kite_mood: 30 test examples can show only large effects: an accuracy is uncertain by about ±18"
    )
    write_parts(tmp_path, {**SIZES, "test": 100})
    assert dataset_stats(card(tmp_path, FILES), tmp_path / "data", tmp_path / "cache")["notes"] == []
