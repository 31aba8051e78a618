"""Every reader on files with odd byte order marks, encodings, columns, labels and texts.

The outcome is a good example, a reject with its row, or one sentence that names file and cause; never a traceback.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from empslurm.errors import DataError
from empslurm.tasks.datasets import condolence, conv, empdial, empdial_ei, epitome, eqt, hope, mi, news
from empslurm.tasks.datasets.dialogues import EMOTIONS
from empslurm.tasks.schema import Dataset
from tests.tasks.helpers import Item, bad, good, read

LONG = "kite " * 20_000  # 100,000 characters


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One file of a form with one good row; the other files of the form have what that row needs."""

    dataset: Dataset
    form: int = 0
    file: str
    columns: tuple[str, ...]
    row: tuple[str, ...]
    text: str  # the column with the text
    label: str  # a column whose value is checked against a set or a range
    n_good: int = 1  # examples of a file with this row once
    delimiter: str = ","
    quoted: bool = True
    others: Mapping[str, str]

    def table(self, *rows: tuple[str, ...], columns: tuple[str, ...] | None = None) -> str:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, delimiter=self.delimiter, quoting=quoting, lineterminator="\n")
        writer.writerows([columns or self.columns, *rows])
        return stream.getvalue()

    def changed(self, **cells: str) -> tuple[str, ...]:
        return tuple(cells.get(name, cell) for name, cell in zip(self.columns, self.row, strict=True))

    def read(self, folder: Path, content: str | bytes) -> list[Item]:
        return list(read(self.dataset, folder, {**self.others, self.file: content}, self.form))


def dialogue_files(folder: str, columns: tuple[str, ...]) -> dict[str, str]:
    return {f"{folder}/{emotion}.csv": ",".join(columns) + "\n" for emotion in EMOTIONS}


EI = ("Dialog_ID", "Type", "Actor", "Text", "Label")
EPITOME = ("sp_id", "rp_id", "seeker_post", "response_post", "level")
POSTS = ("1", "2", "my kite fell", "poor kite", "1")
ONE_POST = ",".join(EPITOME) + "\n" + ",".join(POSTS) + "\n"
CONV = (*conv.TEXT, *conv.LABELS)
NEWS = (*news.TEXT, *news.LABELS)
AUTHORS = (*empdial.COLUMNS, "tags")

READERS = {
    "condolence": Reader(
        dataset=condolence.DATASET,
        file=condolence.FILE,
        columns=("id", "group", "context", "text", "empathy"),
        row=("1", "g", "before", "a kite", "2.5"),
        text="text",
        label="empathy",
        delimiter="\t",
        others={},
    ),
    "conv": Reader(
        dataset=conv.DATASET,
        file=conv.TRAIN,
        columns=CONV,
        row=("1", "0", "a kite", "7", "1.0", "2.0", "3.0"),
        text="text",
        label="Empathy",
        delimiter="\t",
        quoted=False,
        others={conv.DEV: "\t".join(conv.TEXT) + "\n", conv.GOLD: ""},
    ),
    "news": Reader(
        dataset=news.DATASET,
        file=news.TRAIN,
        columns=NEWS,
        row=("1", "7", "a kite", "4.5", "1.0", "Hope/Joy"),
        text="essay",
        label="emotion",
        delimiter="\t",
        quoted=False,
        others={news.DEV: "\t".join(news.TEXT) + "\n", news.GOLD: ""},
    ),
    "empdial_ei": Reader(
        dataset=empdial_ei.DATASET,
        file="empatheticdialogues_annotated/proud.csv",
        columns=EI,
        row=("d1", "utterance", "listener", "a kite", "agreeing"),
        text="Text",
        label="Label",
        others=dialogue_files("empatheticdialogues_annotated", EI),
    ),
    "empdial": Reader(
        dataset=empdial.DATASET,
        form=1,
        file=empdial.AUTHORS[0],
        columns=AUTHORS,
        row=("d1", "2", "proud", "a kite", ""),
        text="utterance",
        label="context",
        quoted=False,
        others=dict.fromkeys(empdial.AUTHORS, ",".join(AUTHORS) + "\n"),
    ),
    "epitome": Reader(
        dataset=epitome.DATASET,
        file=epitome.FILES["epitome_er"],
        columns=EPITOME,
        row=POSTS,
        text="response_post",
        label="level",
        others=dict.fromkeys(epitome.FILES.values(), ONE_POST.replace("1,2,", "8,9,")),
        n_good=2,
    ),
    "eqt": Reader(
        dataset=eqt.DATASET,
        file=eqt.ANNOTATED,
        columns=("conv_id", "utterance_idx", "utterance", *eqt.LISTS),
        row=("c", "2", "Why?", "['Why?']", "[0]", "['Irony']", "['Support']", "['manual']", "['manual']"),
        text="utterance_split",
        label="act_list",
        others={},
    ),
    "hope": Reader(
        dataset=hope.DATASET,
        file=hope.LABEL_FILE,
        columns=("tweet_id", "gold_label"),
        row=("1", "1"),
        text="tweet_id",
        label="gold_label",
        others={hope.TEXT_FILE: "tweet_id,text\n1,a kite\n"},
    ),
    "mi": Reader(
        dataset=mi.DATASET,
        file=mi.FILE,
        columns=mi.COLUMNS,
        row=("1", "listener", "a kite", "Affirm"),
        text="text",
        label="final agreed label",
        others={},
    ),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    made = READERS[request.param]
    assert isinstance(made, Reader)
    return made


def test_marks_of_other_systems_change_nothing(reader: Reader, tmp_path: Path) -> None:
    plain = reader.table(reader.row)
    expected = reader.read(tmp_path, plain)
    assert len(good(expected)) == reader.n_good
    assert bad(expected) == []
    for marked in (
        b"\xef\xbb\xbf" + plain.encode(),
        plain.replace("\n", "\r\n").encode(),
        plain.encode().replace(b"\n", b"\x00\n"),
        (plain + "\n\n").encode(),
    ):
        assert reader.read(tmp_path, marked) == expected


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_another_encoding_is_named(reader: Reader, tmp_path: Path, encoding: str) -> None:
    content = reader.table(reader.changed(**{reader.text: "café"})).encode(encoding)
    with pytest.raises(DataError, match=r"must be UTF-8, but is not at byte [\d,]+; convert it, as `iconv"):
        reader.read(tmp_path, content)


@pytest.mark.parametrize("name", ["text", "label"])
def test_a_column_that_is_not_there_is_named(reader: Reader, tmp_path: Path, name: str) -> None:
    gone = getattr(reader, name)
    columns = tuple("other" if column == gone else column for column in reader.columns)
    with pytest.raises(
        DataError, match=f"must have the columns .* but lacks {gone} .*; rename a column, or give the right file"
    ) as caught:
        reader.read(tmp_path, reader.table(reader.row, columns=columns))
    assert Path(reader.file).name in str(caught.value)


def test_an_empty_file_and_one_that_is_no_table(reader: Reader, tmp_path: Path) -> None:
    for content in (b"", b"<!DOCTYPE html><html><body>Not found</body></html>\n"):
        with pytest.raises(DataError, match="must have the columns"):
            reader.read(tmp_path, content)


def test_a_label_outside_the_set_and_an_empty_text_are_rejects(reader: Reader, tmp_path: Path) -> None:
    for cells in ({reader.label: "['Sing']" if reader.dataset.id == "eqt" else "sing"}, {reader.text: ""}):
        items = reader.read(tmp_path, reader.table(reader.changed(**cells)))
        lost = [row for file, row in bad(items) if Path(file).name == Path(reader.file).name]
        assert lost == [1]


def test_rows_too_short_and_too_long(reader: Reader, tmp_path: Path) -> None:
    items = reader.read(tmp_path, reader.table(reader.row[:1], reader.row))
    assert [row for _, row in bad(items)] == [1]
    assert len(good(items)) == reader.n_good


def test_numbers_as_text(tmp_path: Path) -> None:
    """Frames write 1.0, spreadsheets 2,5 and scientists 1e0; nan, inf and a hex number are no ratings."""
    for name, field, accepted, refused in (
        ("condolence", "empathy", ("1", "2.50", " 3 ", "5e0"), ("2,5", "nan", "inf", "0x2", "six", "0.99", "5.01")),
        ("conv", "Empathy", ("0", "0.3333333", "5"), ("-0.1", "5.1", "nan", "-", "1,0")),
        ("news", "empathy", ("1", "7.0"), ("0", "7.001", "NaN", "unknown")),
        ("hope", "gold_label", ("0", "1", "0.0", "1.0"), ("2", "true", "01", "-1")),
        ("epitome", "level", ("0", "1", "2"), ("3", "1.0", "one")),
    ):
        reader = READERS[name]
        for value in accepted:
            assert bad(reader.read(tmp_path, reader.table(reader.changed(**{field: value})))) == [], (name, value)
        for value in refused:
            items = reader.read(tmp_path, reader.table(reader.changed(**{field: value})))
            assert [row for _, row in bad(items)] == [1], (name, value)


def test_a_text_of_100_000_characters_is_kept_whole(reader: Reader, tmp_path: Path) -> None:
    if reader.dataset.id == "hope":
        texts = {hope.TEXT_FILE: f"tweet_id,text\n1,{LONG}\n"}
        items = read(reader.dataset, tmp_path, {**texts, hope.LABEL_FILE: reader.table(reader.row)})
    elif reader.dataset.id == "eqt":
        items = reader.read(tmp_path, reader.table(reader.changed(utterance_split=repr([LONG[:99_000]]))))
        assert len(good(items)[0].text) > 98_000
        return
    else:
        items = reader.read(tmp_path, reader.table(reader.changed(**{reader.text: LONG})))
    assert max(len(example.text) for example in good(items)) == len(LONG.strip())


def test_a_quote_that_is_never_closed_is_an_error_where_quotes_count(reader: Reader, tmp_path: Path) -> None:
    content = reader.table(reader.row) + '"' + reader.delimiter.join(reader.row) + "\n"
    if reader.quoted:
        with pytest.raises(DataError, match=r"must be a delimited table, but is not at line 3"):
            reader.read(tmp_path, content)
    else:
        assert good(reader.read(tmp_path, content))
