import json
import struct
from pathlib import Path

import pytest

from empslurm import ids
from empslurm.config import DataUse
from empslurm.errors import DataError, ManifestError
from empslurm.tasks import registry
from empslurm.tasks.card_rows import READING
from empslurm.tasks.card_schema import card_json_schema
from empslurm.tasks.prepare import load_task, prepare, rejects
from empslurm.tasks.raw import forms_digest, locate
from empslurm.tasks.splits import split_name

BUILT_IN = tuple(registry().tasks)
SCHEMA = Path(__file__).parents[2] / "manifests" / "card.schema.json"
WRITE_SCHEMA = (
    "manifests/card.schema.json must be what card_json_schema() gives; write it again: python -c 'import json, "
    'pathlib, empslurm.tasks.card_schema as c; pathlib.Path("manifests/card.schema.json").write_text('
    'json.dumps(c.card_json_schema(), indent=1) + "\\n")\''
)

CARD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, context: before, label: mood, id: row, group: thread}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
REGRESSION = CARD.replace("kind: classification\nlabels: [up, down]", "kind: regression\nlow: 1.0\nhigh: 5.0")


def write(folder: Path, text: str, name: str = "card.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def problems(path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        registry((write(path, text),))
    return caught.value.problems


def test_schema_file_is_up_to_date() -> None:
    assert json.loads(SCHEMA.read_text()) == card_json_schema(), WRITE_SCHEMA


def test_a_card_is_a_full_citizen(tmp_path: Path) -> None:
    card = write(tmp_path, CARD + "ratings: {definition: 4, link: 2.5}\nmetric: accuracy\n")
    known = registry((card,))
    assert tuple(known.tasks) == (*BUILT_IN, "kite_mood")
    task, dataset = known.tasks["kite_mood"], known.dataset_of("kite_mood")
    assert (task.metric, task.labels, task.ratings) == ("accuracy", ("up", "down"), {"definition": 4.0, "link": 2.5})
    data = tmp_path / "data"
    assert f"put kites.csv into {data}/kite_mood/" in locate(dataset, data, tmp_path / "cache").problem
    rows = "row,thread,before,said,mood\n1,t1,,one,up\n2,t1,one,two,down\n2,t2,,again,up\n3,t2,,three,sideways\n"
    write(tmp_path / "data" / "anywhere", rows + "".join(f"{n},t{n},,kite,up\n" for n in range(10, 60)), "kites.csv")
    made = prepare(dataset, tmp_path / "data", tmp_path / "cache")
    table = load_task(made, task, DataUse(), "all")
    assert (table.ids[:2], table.groups[:2], table.contexts[:2]) == (("1", "2"), ("t1", "t1"), ((), ("one",)))
    assert table.targets[:3].tolist() == [0, 1, 0]
    assert [(reject.file, reject.row) for reject in rejects(made)] == [("kites.csv", 3), ("kites.csv", 4)]


def test_how_a_table_is_read_is_part_of_its_identity(tmp_path: Path) -> None:
    write(tmp_path / "data", "row,thread,before,said,mood\n1,t,x,y,up\n", "kites.csv")
    digests = set()
    for text in (CARD, CARD.replace("context: before, ", ""), CARD.replace("[up, down]", "[down, up]")):
        dataset = registry((write(tmp_path, text),)).datasets["kite_mood"]
        digests.add(locate(dataset, tmp_path / "data", tmp_path / "cache").raw_digest)
    titled = registry((write(tmp_path, CARD.replace("Kite Mood", "Mood")),)).datasets["kite_mood"]
    assert len(digests) == 3
    assert locate(titled, tmp_path / "data", tmp_path / "cache").raw_digest in digests


def test_regression_without_ids_and_groups_over_two_files(tmp_path: Path) -> None:
    text = REGRESSION.replace(", id: row, group: thread", "").replace("file: kites.csv", "file: [one.tsv, two.tsv]")
    dataset = registry((write(tmp_path, text.replace("format: csv", "format: tsv")),)).datasets["kite_mood"]
    assert not dataset.grouped
    for name in ("one.tsv", "two.tsv"):
        write(tmp_path / "data" / "kite_mood", "said\tbefore\tmood\nhello\t\t2.5\n", name)
    made = prepare(dataset, tmp_path / "data", tmp_path / "cache")
    table = load_task(made, dataset.tasks[0], DataUse(), "all")
    assert (table.ids, table.targets.tolist()) == (("one.tsv-1", "two.tsv-1"), [2.5, 2.5])
    assert dataset.tasks[0].metric == "pearson"


def test_jsonl_with_lists_numbers_and_broken_lines(tmp_path: Path) -> None:
    text = CARD.replace("format: csv", "format: jsonl").replace("[up, down]", "['1', '0']").replace(", id: row", "")
    dataset = registry((write(tmp_path, text.replace("kites.csv", "kites.jsonl")),)).datasets["kite_mood"]
    good = '{"said": "a", "before": ["x", "", "y"], "mood": 1, "thread": 7}\n\n'
    good += '{"said": "b", "before": null, "mood": 0.0, "thread": 8}\n'
    lines = good * 40 + '{"said": \n[1]\n' + '{"said": {}, "mood": 1, "thread": 9}\n'
    write(tmp_path / "data", lines, "kites.jsonl")
    made = prepare(dataset, tmp_path / "data", tmp_path / "cache")
    table = load_task(made, dataset.tasks[0], DataUse(), "all")
    assert (table.contexts[:2], table.groups[:2], table.targets[:2].tolist()) == ((("x", "y"), ()), ("7", "8"), [0, 1])
    assert [reject.row for reject in rejects(made)] == [81, 82, 83]
    write(tmp_path / "data", '{"text": "a"}\n', "kites.jsonl")
    with pytest.raises(
        DataError, match=r"must have the columns said, mood, thread, before, but lacks .* \(it has text"
    ):
        prepare(dataset, tmp_path / "data", tmp_path / "cache")


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_columnar_files_as_the_datasets_library_saves_them(tmp_path: Path, format: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"kites.{format}"
    text = CARD.replace("format: csv", f"format: {format}").replace("kites.csv", name)
    dataset = registry((write(tmp_path, text),)).datasets["kite_mood"]
    table = pa.table(
        {"said": ["a", "b"], "before": [["x"], []], "mood": ["up", "down"], "row": [1, 2], "thread": ["s", "t"]}
    )
    (tmp_path / "data").mkdir()
    if format == "parquet":
        pq.write_table(table, tmp_path / "data" / name)
    else:
        with pa.OSFile(str(tmp_path / "data" / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    made = load_task(prepare(dataset, tmp_path / "data", tmp_path / "cache"), dataset.tasks[0], DataUse(), "all")
    assert (made.ids, made.contexts, made.texts) == (("1", "2"), (("x",), ()), ("a", "b"))
    (tmp_path / "data" / name).write_bytes(b"no table")
    with pytest.raises(DataError, match=f"must be a table in the {format} format"):
        prepare(dataset, tmp_path / "data", tmp_path / "cache")


HUB = CARD.replace("format: csv", "format: parquet").replace("kites.csv", "kites.parquet")


def test_an_arrow_table_with_offsets_beyond_its_texts(tmp_path: Path) -> None:
    import pyarrow as pa

    said = ["kite", "kites are up", "kit"]
    table = pa.table({"row": ["1", "2", "3"], "thread": ["a", "b", "c"], "before": [""] * 3, "said": said})
    table = table.append_column("mood", pa.array(["up", "down", "up"]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    offsets = struct.pack("<4i", 0, 4, 16, 19)
    whole = sink.getvalue().to_pybytes()
    assert whole.count(offsets) == 1
    path = tmp_path / "data" / "kites.arrow"
    path.parent.mkdir()
    path.write_bytes(whole.replace(offsets, struct.pack("<4i", 0, 4, 16, 2**30)))  # read as it is, it ends the process
    card = CARD.replace("kites.csv", "kites.arrow").replace("format: csv", "format: arrow")
    dataset = registry((write(tmp_path, card),)).datasets["kite_mood"]
    with pytest.raises(DataError, match="must be a table in the arrow format"):
        prepare(dataset, tmp_path / "data", tmp_path / "cache")


def test_a_file_that_is_missing_is_answered_with_those_that_are_there(tmp_path: Path) -> None:
    dataset = registry((write(tmp_path, CARD),)).datasets["kite_mood"]
    own = tmp_path / "data" / "kite_mood"
    write(own, "said,mood\n", "kits.csv")
    write(own, "a table\n", "notes.txt")
    problem = locate(dataset, tmp_path / "data", tmp_path / "cache").problem
    assert problem.endswith(f"into {own}/ ({own} has kits.csv, notes.txt: did you mean kits.csv?)")


def test_a_hub_dataset_says_what_saves_it(tmp_path: Path) -> None:
    hub = "hub: {name: nobody/kites, revision: abc123, config: small}\n"
    obtain = registry((write(tmp_path, HUB + hub),)).datasets["kite_mood"].obtain
    assert "saves the split train of nobody/kites at abc123 as DATA/kite_mood/kites.parquet" in obtain
    (found,) = problems(tmp_path, CARD + hub)
    assert "hub must be saved as parquet, but format is csv" in found


@pytest.mark.parametrize(
    ("hub", "word"),
    [
        ("{name: nobody/kites}", "must have the revision of a hub id, but nobody/kites has none; add `revision:"),
        (
            "{name: ./kites, revision: abc}",
            "must have no revision for a folder, but ./kites has one; remove hub.revision",
        ),
    ],
)
def test_a_hub_id_is_pinned_and_a_folder_is_not(tmp_path: Path, hub: str, word: str) -> None:
    (found,) = problems(tmp_path, HUB + f"hub: {hub}\n")
    assert word in found


@pytest.mark.heavy  # that library imports torch
@pytest.mark.parametrize("form", ["save_to_disk", "save_to_disk of splits", "parquet"])
def test_a_folder_of_the_datasets_library(tmp_path: Path, form: str) -> None:
    import datasets

    rows = {"said": ["a", "b"], "before": ["x", ""], "mood": ["up", "down"], "row": [1, 2], "thread": ["s", "t"]}
    table = datasets.Dataset.from_dict(rows)
    folder = tmp_path / "cards" / "kites"
    if form == "parquet":
        folder.mkdir(parents=True)
        table.to_parquet(folder / "train-00000-of-00001.parquet")
    else:
        (datasets.DatasetDict({"train": table}) if "splits" in form else table).save_to_disk(folder)
    dataset = registry((write(tmp_path / "cards", HUB + "hub: {name: ./kites}\n"),)).datasets["kite_mood"]
    assert locate(dataset, tmp_path / "data", tmp_path / "cache").state == "missing"
    assert dataset.obtain_by is not None
    saved = dataset.obtain_by(tmp_path / "data")
    assert saved == tmp_path / "data" / "kite_mood" / "kites.parquet"
    assert [path.name for path in saved.parent.iterdir()] == ["kites.parquet"]
    made = load_task(prepare(dataset, tmp_path / "data", tmp_path / "cache"), dataset.tasks[0], DataUse(), "all")
    assert (made.ids, made.texts, made.groups) == (("1", "2"), ("a", "b"), ("s", "t"))
    assert made.contexts == (("x",), ())


@pytest.mark.heavy
def test_a_folder_without_the_split_or_none_at_all(tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_dict({"said": ["a"]})
    datasets.DatasetDict({"test": table}).save_to_disk(tmp_path / "kites")
    for name, word in (("./kites", "must have the split train, but has test"), ("./none", "must be a folder")):
        dataset = registry((write(tmp_path, HUB + f"hub: {{name: {name}}}\n"),)).datasets["kite_mood"]
        assert dataset.obtain_by is not None
        with pytest.raises(DataError, match=word):
            dataset.obtain_by(tmp_path / "data")
        assert not (tmp_path / "data" / "kite_mood" / "kites.parquet").exists()


def test_every_problem_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = CARD.replace("id: kite_mood", "id: News").replace("format: csv", "format: xls").replace("licence", "license")
    found = problems(tmp_path, text)
    assert [problem.rsplit(":", 1)[1] for problem in found] == ["1)", "1)", "4)", "11)"]
    assert "format must be one of csv, tsv, jsonl, parquet, arrow, but is the string 'xls'" in found[2]
    assert "did you mean licence?" in found[3]


@pytest.mark.parametrize(
    ("old", "new", "word", "line"),
    [
        ("id: kite_mood", "id: news", "news exists already", 1),
        ("id: kite_mood", "id: news_empathy", "news_empathy exists already", 1),
        ("file: kites.csv", "file: ../kites.csv", "a relative path below the data root", 3),
        ("file: kites.csv", "file: /etc/passwd", "a relative path below the data root", 3),
        ("file: kites.csv", "file: a/../../b", "a relative path below the data root", 3),
        ("labels: [up, down]", "", "come with `labels`", 6),
        ("labels: [up, down]", "labels: [up]", "at least 2", 7),
        ("labels: [up, down]", "labels: [up, down]\nlow: 1.0", "be for a regression only", 8),
        ("labels: [up, down]", "labels: [up, down]\nmetric: pearson", "must be one of f1_macro", 8),
        ("labels: [up, down]", "labels: [up, down]\nratings: {link: 6}", "at most 5", 8),
        ("labels: [up, down]", "labels: [up, down]\nratings: {warmth: 1}", "warmth", 8),
        ("labels: [up, down]", "labels: [up, down]\nfamily: dialog", "did you mean dialogue?", 8),
        ("kind: classification", "kind: regression", "be for a classification only", 7),
    ],
)
def test_what_a_card_may_not_say(tmp_path: Path, old: str, new: str, word: str, line: int) -> None:
    (found,) = problems(tmp_path, CARD.replace(old, new))
    assert word in found
    assert found.endswith(f"card.yaml:{line})")


def test_a_scale_upside_down(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, REGRESSION.replace("low: 1.0", "low: 6.0"))
    assert "low must be below high" in found


def test_an_error_chooses_no_epoch(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, REGRESSION.replace("low: 1.0", "metric: mae\nlow: 1.0"))
    assert "metric must be one of pearson, spearman for a regression, but is mae" in found


def test_a_folder_of_cards_and_two_with_one_id(tmp_path: Path) -> None:
    write(tmp_path, CARD, "a.yaml")
    write(tmp_path, CARD.replace("kite_mood", "kite_wind"), "b.yaml")
    assert set(registry((tmp_path,)).tasks) == {*BUILT_IN, "kite_mood", "kite_wind"}
    write(tmp_path, CARD, "c.yaml")
    with pytest.raises(ManifestError, match=r"kite_mood exists already.*c\.yaml:1"):
        registry((tmp_path,))


def test_a_card_of_a_known_family_inherits_its_split(tmp_path: Path) -> None:
    known = registry((write(tmp_path, CARD + "family: dialogue\n"),)).datasets
    assert split_name(known["kite_mood"], "family") == split_name(known["empdial"], "family")


@pytest.mark.parametrize(
    ("text", "name", "digest"),
    [
        (CARD, "card-1ef7ff40e7f3", "bbf26475403db73a8eacd554b37fa22139d6795a2b8ddba1fe422506448f70f9"),
        (
            REGRESSION.replace("context: before, ", "context: [before, earlier], ").replace("csv", "jsonl"),
            "card-c91f5538f380",
            "7bf443b62e073af81d857ea17b55761c73361960e0009be8e4b6c1193d75113c",
        ),
        (
            CARD.replace("csv", "parquet").replace(", id: row, group: thread", "") + "hub: {name: ./kites}\n",
            "card-77e040e02035",
            "182504581d78444502d17670417f307698dafc978f17c295eefee3d11d30bee4",
        ),
    ],
)
def test_no_id_of_an_older_card_moves(tmp_path: Path, text: str, name: str, digest: str) -> None:
    """Golden: computed before cards knew parts, names of labels, what is left out, delimiters and shares."""
    dataset = registry((write(tmp_path, text),)).datasets["kite_mood"]
    form = dataset.forms[0]
    assert form.name == name
    assert forms_digest(form, {file.name: "0" * 64 for file in form.files}) == digest
    assert split_name(dataset, "family") == "family-1-0"


@pytest.mark.parametrize(
    "changed",
    [
        CARD.replace("labels: [up, down]", "labels: {up: up, down: down}"),
        CARD.replace("labels: [up, down]", "labels: {down: up, up: down}"),
        CARD.replace("group: thread", "group: thread, part: split"),
        CARD.replace("file: kites.csv", "file: {train: kites.csv, test: others.csv}"),
        CARD.replace("file: kites.csv", "file: {test: kites.csv, train: others.csv}"),
        CARD + "leave_out: [sideways]\n",
        CARD + "delimiter: ';'\n",
        CARD + "delimiter: ';'\ndecimal: ','\n",
    ],
)
def test_what_is_given_beyond_an_older_card_moves_its_id(tmp_path: Path, changed: str) -> None:
    names = {registry((write(tmp_path, text),)).datasets["kite_mood"].forms[0].name for text in (CARD, changed)}
    assert len(names) == 2


def test_the_order_of_named_labels_is_their_index_and_part_of_the_id(tmp_path: Path) -> None:
    digests = {}
    for labels in ("{0: up, 1: down}", "{1: down, 0: up}"):
        dataset = registry((write(tmp_path, CARD.replace("[up, down]", labels)),)).datasets["kite_mood"]
        digests[dataset.tasks[0].labels] = dataset.forms[0].name
    assert set(digests) == {("up", "down"), ("down", "up")}
    assert len(set(digests.values())) == 2


def test_what_an_older_reader_prepared_is_not_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same table may be read differently now; no id moves."""
    write(tmp_path / "data", "row,thread,before,said,mood\n1,t,x,y,up\n", "kites.csv")
    folders, digests = set(), set()
    for reading in (READING, READING + 1):
        monkeypatch.setattr("empslurm.tasks.cards.READING", reading)
        dataset = registry((write(tmp_path, CARD),)).datasets["kite_mood"]
        folders.add(prepare(dataset, tmp_path / "data", tmp_path / "cache").folder)
        digests.add(locate(dataset, tmp_path / "data", tmp_path / "cache").raw_digest)
    (digest,) = digests
    assert len(folders) == 2
    older = ids.digest([2, digest, 1, 0], 12)  # the key as it was before readers of cards had a version
    assert f"kite_mood-{older}" not in {folder.name for folder in folders}
