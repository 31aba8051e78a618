"""Every input format, its bad rows, and bounded windows."""

import csv
import datetime
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empslurm.errors import DataError, UsageError
from empslurm.scoring import inputs
from empslurm.scoring.inputs import Columns, Row, read, windows
from empslurm.validation.table_file import MISSING_WORDS


def rows(path: Path | None, columns: Columns | None = None, format: inputs.Format | None = None) -> list[Row]:
    return list(read(path, columns or Columns(), format))


def test_a_text_file_has_one_text_per_line_whatever_its_endings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\ntwo \xff\nlast")
    found = rows(path)
    assert [row.text for row in found] == ["one", "", "", "last"]
    assert [row.number for row in found] == [1, 2, 3, 4]
    assert [bool(row.error) for row in found] == [False, True, True, False]
    assert "empty" in found[1].error
    assert "UTF-8" in found[2].error


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_a_table_gives_named_columns_and_its_bad_rows_harm_no_other(tmp_path: Path, name: str, mark: str) -> None:
    path = tmp_path / name
    lines = ["id,body,before,first", '1,"quoted, \nover lines",near,far', "2,short", "3,,a,b", "", "4,fine,,far"]
    path.write_text("\n".join(line.replace(",", mark) if '"' not in line else line for line in lines))
    if mark == "\t":
        path.write_text("\n".join(lines).replace(", \n", "##").replace(",", "\t").replace("##", ", \n"))
    found = rows(path, Columns(text="body", context=("first", "before")))
    assert [row.number for row in found] == [1, 2, 3, 4]
    assert (found[0].text, found[0].context) == ("quoted, \nover lines", ("far", "near"))
    assert "4 columns, but has 2" in found[1].error
    assert "empty" in found[2].error
    assert (found[3].text, found[3].context) == ("fine", ("far",))


def test_json_lines_may_hold_lists_of_turns_and_a_bad_line_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    values = [
        {"text": "one", "turns": ["far", "", "near"]},
        {"text": "two", "turns": "only"},
        {"text": 3},
        {"turns": []},
    ]
    path.write_text("\n".join([*map(json.dumps, values), "{broken", "[" * 100_000, '"word"']))
    found = rows(path, Columns(context=("turns",)))
    assert [row.context for row in found[:2]] == [("far", "near"), ("only",)]
    assert [row.error != "" for row in found] == [False, False, True, True, True, True, True]
    assert "int" in found[2].error
    assert "missing" in found[3].error


def test_parquet_is_read_in_pieces_and_a_missing_text_is_a_row(tmp_path: Path) -> None:
    n_rows = inputs.PARQUET_ROWS + 10
    texts = [f"text {place}" for place in range(n_rows)]
    texts[7] = None  # type: ignore[call-overload]
    pq.write_table(pa.table({"text": texts, "turns": [["a", "b"]] * n_rows}), tmp_path / "a.parquet")
    found = rows(tmp_path / "a.parquet", Columns(context=("turns",)))
    assert [row.number for row in found] == list(range(1, n_rows + 1))
    assert [row.number for row in found if row.error] == [8]
    assert (found[-1].text, found[-1].context) == (f"text {n_rows - 1}", ("a", "b"))


def test_a_folder_is_its_files_in_order_each_read_as_alone(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "b.txt").write_text("two\nthree\n")
    (tmp_path / "a.csv").write_text("text\none\n")
    (tmp_path / "below" / "c.jsonl").write_text('{"text": "four"}\n')
    (tmp_path / "ignored.pdf").write_bytes(b"%PDF")
    found = [(row.file, row.number, row.text) for row in rows(tmp_path)]
    assert found == [("a.csv", 1, "one"), ("b.txt", 1, "two"), ("b.txt", 2, "three"), ("below/c.jsonl", 1, "four")]


def test_standard_input_is_text_unless_a_format_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[bytes, Any, list[str]]] = [
        (b"one\ntwo\n", None, ["one", "two"]),
        (b"text,x\none,1\n", "csv", ["one"]),
    ]
    for data, format, expected in cases:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert [row.text for row in rows(None, format=format)] == expected
    with pytest.raises(UsageError, match="parquet"):
        rows(None, format="parquet")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_missing_column_is_one_error_that_names_what_is_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"body": ["x"]}), path)
    else:
        path.write_text("body\nx\n" if name.endswith("csv") else '{"body": "x"}\n')
    with pytest.raises(DataError, match=r"text.*body"):
        rows(path)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_without_the_text_column_lists_its_columns_and_names_the_option(tmp_path: Path, mark: str) -> None:
    (tmp_path / "two.csv").write_text(f"id{mark}message\n1{mark}a kite\n")
    with pytest.raises(DataError, match=r"lacks text \(it has id, message\); .*`--text COLUMN`$"):
        rows(tmp_path / "two.csv")


def test_a_table_with_another_delimiter_than_scoring_reads_says_which(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("id|text\n1|a kite\n")
    with pytest.raises(DataError, match=r"lacks text \(its first line names id, text\); .*separated by bars"):
        rows(tmp_path / "two.csv")


def test_what_cannot_be_an_input_is_wrong_use_or_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("x")
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(UsageError, match="--format"):
        rows(tmp_path / "a.doc")
    with pytest.raises(UsageError, match="does not exist"):
        rows(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="Parquet"):
        rows(tmp_path / "a.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds none"):
        rows(tmp_path / "empty")


def test_an_endless_line_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_CHARS", 100)
    (tmp_path / "a.txt").write_text("short\n" + "x" * 5_000 + "\nnext\n")
    found = rows(tmp_path / "a.txt")
    assert [(row.number, row.text, bool(row.error)) for row in found] == [
        (1, "short", False),
        (2, "", True),
        (3, "next", False),
    ]


def test_windows_are_cut_by_rows_and_by_characters() -> None:
    made = [Row(file="", number=place, text="x" * 10) for place in range(7)]
    assert [len(window) for window in windows(made, 3, 10**6)] == [3, 3, 1]
    assert [len(window) for window in windows(made, 100, 20)] == [2, 2, 2, 1]


def test_score_blank_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "one"}\n\n  \n{"text": "two"}\n')
    assert [(row.number, row.text, row.error) for row in rows(path)] == [(1, "one", ""), (4, "two", "")]


def test_a_json_line_may_leave_a_column_out_and_must_not_give_it_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"id": 1}', '{"id": 2, "text": "two", "post": "p"}', '{"text": "a", "text": "b"}', '{"text": NaN}']
    path.write_text("\n".join(lines))
    found = rows(path, Columns(context=("post",)))
    assert [(row.text, row.context) for row in found] == [("", ()), ("two", ("p",)), ("", ()), ("", ())]
    assert ["missing" in row.error for row in found] == [True, False, False, True]
    assert "text twice" in found[2].error
    with pytest.raises(DataError, match="lacks other"):
        rows(path, Columns(context=("other",)))


OPEN_QUOTE = ["id,text", '1,"one"', '2,"two is never closed', "3,three", "4,four", "5,five"]


def test_score_open_quote(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("\n".join(OPEN_QUOTE) + "\n")
    with pytest.raises(DataError, match=r"line 3: a quote opens there that is never closed; close it"):
        rows(tmp_path / "texts.csv")
    (tmp_path / "texts.tsv").write_text("\n".join(OPEN_QUOTE).replace(",", "\t") + "\n")
    assert [row.text for row in rows(tmp_path / "texts.tsv")] == [
        "one",
        '"two is never closed',
        "three",
        "four",
        "five",
    ]


@pytest.mark.parametrize("format", ["csv", "tsv", "parquet"])
def test_a_doubled_column_is_refused_where_it_is_meant(tmp_path: Path, format: inputs.Format) -> None:
    path = tmp_path / "a"
    if format == "parquet":
        arrays = [pa.array(["x"]), pa.array(["y"]), pa.array(["z"])]
        pq.write_table(pa.Table.from_arrays(arrays, names=["text", "text", "id"]), path)
    else:
        path.write_text("text,text,id\nx,y,z\n".replace(",", "," if format == "csv" else "\t"))
    with pytest.raises(DataError, match="one column text, but has 2"):
        rows(path, format=format)
    assert [row.text for row in rows(path, Columns(text="id"), format)] == ["z"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_csv_may_have_semicolons_or_tabs_where_its_header_says_so(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(mark.join(["id", '"text"']) + "\r\n" + mark.join(["1", '"one, two; three\tfour"']) + "\r\n")
    assert [(row.number, row.text) for row in rows(path)] == [(1, "one, two; three\tfour")]
    with pytest.raises(DataError, match="lacks body"):
        rows(path, Columns(text="body"))


def test_lines_of_a_table_may_end_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,id\rone,1\rtwo,2\r\n"a\rb",3\n')
    assert [row.text for row in rows(path)] == ["one", "two", "a\rb"]


def test_a_line_that_is_too_long_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_CHARS", 100)
    path = tmp_path / "a.csv"
    path.write_text("text,id\n" + "x" * 5_000 + ",1\nnext,2\n")
    assert [(row.number, row.text, bool(row.error)) for row in rows(path)] == [(1, "", True), (2, "next", False)]
    path.write_text('text,id\n"' + "x" * 5_000 + '",1\nnext,2\n')
    with pytest.raises(DataError, match="line 2 is longer"):
        rows(path)


def test_kept_columns_go_with_their_row_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    columns = Columns(keep=("id", "text"))
    (tmp_path / "a.csv").write_text("id,text\n007,one\n8,\n9\n")
    assert [dict(row.kept) for row in rows(tmp_path / "a.csv", columns)] == [
        {"id": "007", "text": "one"},
        {"id": "8", "text": ""},
        {"id": None, "text": None},
    ]
    (tmp_path / "a.jsonl").write_text('{"id": 7, "text": "one"}\n{"id": [1], "text": 2}\n{"text": "\\ud800"}\n[]\n')
    assert [dict(row.kept) for row in rows(tmp_path / "a.jsonl", columns)] == [
        {"id": 7, "text": "one"},
        {"id": "[1]", "text": 2},
        {"id": None, "text": "\ufffd"},
        {"id": None, "text": None},
    ]
    day = datetime.date(2026, 1, 2)
    pq.write_table(pa.table({"id": [day, None], "text": ["one", None]}), tmp_path / "a.parquet")
    assert [row.kept["id"] for row in rows(tmp_path / "a.parquet", columns)] == ["2026-01-02", None]
    late = pa.array([10**9], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"id": late, "text": ["one"]}), tmp_path / "late.parquet")
    assert rows(tmp_path / "late.parquet", columns)[0].text == "one"
    (tmp_path / "a.txt").write_text("one\n")
    assert rows(tmp_path / "a.txt", Columns(keep=("text",)))[0].kept == {"text": "one"}
    for name in ("a.csv", "a.jsonl", "a.parquet", "a.txt"):
        with pytest.raises(DataError, match=r"lacks absent"):
            rows(tmp_path / name, Columns(keep=("absent",)))


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6).filter(
    lambda cell: cell.strip() not in MISSING_WORDS  # only delimited text has words for what is missing
) | st.sampled_from(['"', '"a', 'a"b', "a\nb", "a,b;c", "NA", "null", " a ", ""])


def write(path: Path, format: str, table: list[tuple[str, ...]], names: tuple[str, ...]) -> None:
    """A table in a format, as the usual libraries write it."""
    if format == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in table))
    elif format == "parquet":
        pq.write_table(pa.table({name: [row[at] for row in table] for at, name in enumerate(names)}), path)
    else:
        with open(path, "w", newline="") as stream:
            csv.writer(stream, delimiter="," if format == "csv" else "\t").writerows([names, *table])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5))
def test_a_table_gives_the_same_rows_in_every_format(tmp_path: Path, table: list[tuple[str, ...]]) -> None:
    columns = Columns(context=("post",), keep=("id",))
    found: dict[str, Any] = {}
    for format in ("csv", "tsv", "jsonl", "parquet"):
        path = tmp_path / f"a.{format}"
        write(path, format, table, ("id", "text", "post"))
        found[format] = rows(path, columns)
    assert found["csv"] == found["tsv"] == found["jsonl"] == found["parquet"]
    assert [row.kept["id"] for row in found["csv"]] == [row[0] for row in table]


def test_words_for_missing_values_in_delimited_text(tmp_path: Path) -> None:
    columns = Columns(context=("post",), keep=("id",))
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        path = tmp_path / name
        path.write_text("id,text,post\nNaN,one,<NA>\n2,NaN,x\n3,NA,null\n".replace(",", mark))
        found = rows(path, columns)
        assert [(row.text, row.context, row.kept["id"]) for row in found] == [
            ("one", (), "NaN"),
            ("", (), "2"),
            ("NA", ("null",), "3"),
        ]
        assert found[1].error == "the text must be there, but is missing"


def test_quotes_around_whole_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,id\none,1\n"two,2\nthree,3\nfour",4\nfive,5\n')
    with pytest.raises(DataError, match=r"no quotes around whole rows, .* line 3"):
        rows(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.bool_(True), True),
        (np.int64(7), 7),
        (np.float32(0.1), 0.1),
        (np.float64(0.25), 0.25),
        (np.str_("kite"), "kite"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("2026-01-02T03:04:05", "ns"), "2026-01-02T03:04:05.000000000"),
        (np.datetime64("NaT"), None),
        (np.array([1, 2]), "[1, 2]"),
        (pd.NA, None),
        (pd.NaT, None),
        (float("nan"), None),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
    ],
)
def test_kept_values_of_frames(value: Any, kept: Any) -> None:
    found = inputs.kept_value(value)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize("missing", [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT])
def test_a_gap_is_missing_whatever_it_is_called(missing: Any) -> None:
    assert inputs.row_of("", 1, missing).error == "the text must be there, but is missing"
    assert inputs.row_of("", 1, "one", [missing, "", "turn"]).context == ("turn",)
