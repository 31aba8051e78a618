"""The one reader of tables: rows are read back as written, or refused with their place."""

import csv
import datetime
import decimal
import io
import json
import math
import re
import tempfile
import uuid
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from empslurm.errors import DataError
from empslurm.validation.table_file import (
    Row,
    arrow_rows,
    delimited,
    delimited_rows,
    json_rows,
    lines_of,
    read_text,
    text_of,
)

RESERVED = ("NA", "null", "None", "nan", "007", "1.0", "1e5", "true", "False", "inf", "-Infinity", "=1+1")
MARKED = ("#1", "a # b", 'say "up"', "'", '"', '""', "a,b", "a;b", "a|b", "a\tb", "one\ntwo", "one\r\ntwo", "\\")
OTHERS = ("热气球", "🪁 kite", "  x ")
LETTERS = st.characters(exclude_categories=("Cs", "Cc"))
NAMES = st.one_of(st.sampled_from(RESERVED + MARKED + OTHERS), st.text(LETTERS, max_size=12))
HEADERS = ("source", "value", "NA", "007", "true", "some name", "风")
SHAPES = st.tuples(
    st.sampled_from((",", ";", "\t", "|", "jsonl", "parquet")),
    st.permutations(HEADERS).map(lambda names: [*names[:3], "source", "value"]).map(dict.fromkeys).map(list),
    st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
    st.booleans(),  # a byte order mark
    st.sampled_from(("\n", "\r\n")),
)
TABLES = st.lists(st.tuples(NAMES, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=6)
Quoting = Literal[0, 1, 2]


def delimited_text(rows: list[dict[str, Any]], names: list[str], mark: str, quoting: Quoting, newline: str) -> str:
    """As csv writes it. It leaves a lone line break unquoted, so such tables are quoted everywhere."""
    broken = any("\n" in str(value) or "\r" in str(value) for row in rows for value in row.values())
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(
        stream, names, delimiter=mark, quoting=csv.QUOTE_ALL if broken else quoting, lineterminator=newline
    )
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def read_back(path: Path, mark: str) -> list[Row]:
    wanted = ("source", "value")
    if mark == "parquet":
        return list(arrow_rows(path, "parquet", wanted))
    if mark == "jsonl":
        return list(json_rows(read_text(path).split("\n"), path.name, wanted))
    return list(delimited_rows(lines_of(read_text(path)), path.name, wanted, delimiter=mark))


@settings(max_examples=200, deadline=None)
@given(shape=SHAPES, table=TABLES)
@example(shape=(";", ["value", "NA", "source"], csv.QUOTE_MINIMAL, True, "\r\n"), table=[("one\r\ntwo", 0.1)])
def test_any_table_is_read_back_or_refused_with_its_place(
    shape: tuple[str, list[str], Quoting, bool, str], table: list[tuple[str, float]]
) -> None:
    mark, names, quoting, marked, newline = shape
    rows = [{**dict.fromkeys(names, "x"), "source": name, "value": number} for name, number in table]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.txt"
        if mark == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            lines = "".join(json.dumps(row, ensure_ascii=marked) + newline for row in rows)
            text = lines if mark == "jsonl" else delimited_text(rows, names, mark, quoting, newline)
            path.write_bytes(text.encode("utf-8-sig" if marked else "utf-8"))
        try:
            found = read_back(path, mark)
        except DataError as error:
            assert re.search(r"table\.txt must .* line \d", str(error))  # noqa: PT017
            return
    assert [row.number for row in found] == list(range(1, len(rows) + 1))
    for row, (name, number) in zip(found, table, strict=True):
        assert row.flaw == ""
        assert text_of(row.cells["source"]) == name.replace("\x00", "").strip()
        assert float(text_of(row.cells["value"])) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (pd.NaT, ""),
        (pd.NA, ""),
        (decimal.Decimal("NaN"), ""),
        (decimal.Decimal("sNaN"), ""),
        (10**400, "1" + "0" * 400),
        (True, "true"),
        (1.0, "1.0"),
        (decimal.Decimal("1.50"), "1.50"),
        (b" kite ", "kite"),
        (" ki\x00te ", "kite"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_as_text(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "told"),
    [([1], "a list"), ({"a": 1}, "an object"), (b"\xff", "bytes that are not UTF-8"), (1j, "a value of type complex")],
)
def test_a_value_that_is_not_single_is_refused(value: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        text_of(value)


def test_a_key_of_json_is_doubled_only_where_it_is_wanted_and_outermost() -> None:
    lines = ['{"a": 1, "b": {"a": 1, "a": 2}, "c": 1, "c": 2}', '{"a": 1, "b": 2, "a": 3}', "[1]", "{", ""]
    found = list(json_rows(lines, "x.jsonl", ["a"], ["b"]))
    assert [(row.number, row.flaw) for row in found] == [
        (1, ""),
        (2, "must have every key once, but has a twice"),
        (3, "must be a JSON object, but is not"),
        (4, "must be a JSON object, but is not"),
    ]


def test_only_a_key_that_no_line_has_is_a_wrong_column() -> None:
    lines = ['{"a": 1}', '{"b": NaN}', '{"a": null}']
    assert [dict(row.cells) for row in json_rows(lines, "x.jsonl", ["a", "b"])] == [
        {"a": 1, "b": None},
        {"a": None, "b": None},
        {"a": None, "b": None},
    ]
    with pytest.raises(DataError, match=r"x\.jsonl must have the columns a, c, but lacks c \(it has a, b\)"):
        list(json_rows(lines, "x.jsonl", ["a", "c"]))


@pytest.mark.parametrize(
    ("header", "mark", "hint"),
    [
        ("a;b;c", ",", "its columns seem to be separated by semicolons: set ';'"),
        ('"a";"b"', ",", "its columns seem to be separated by semicolons: set ';'"),
        ("x,y;a;b", ",", "its columns seem to be separated by semicolons: set ';'"),
        ("a\tb", ",", 'its columns seem to be separated by tabs: set "\\t"'),
        ("a,b", "\t", "its columns seem to be separated by commas: set ','"),
        ("p|q", ",", "its columns seem to be separated by bars: set '|'"),
        ("p,q", ",", ""),
    ],
)
def test_a_header_that_fits_another_delimiter(header: str, mark: str, hint: str) -> None:
    lines = [f"{header}\n", "1\n"]
    with pytest.raises(DataError, match="must have the columns a, b") as caught:
        list(delimited_rows(lines, "x.csv", ["a", "b"], delimiter=mark, advice="set {}"))
    assert str(caught.value).endswith(f"; {hint or 'rename a column, or give the right file'}")
    with pytest.raises(DataError) as caught:
        list(delimited_rows(lines, "x.csv", ["a", "b"], delimiter=mark))
    assert ("with another delimiter" in str(caught.value)) == bool(hint)


def test_a_header_with_an_open_quote_is_still_refused_for_it() -> None:
    with pytest.raises(DataError, match="not at line 1: a quote opens there that is never closed"):
        list(delimited_rows(['a,"b\n', "1,2\n"], "x.csv", ["a"], delimiter=","))


@pytest.mark.parametrize("form", ["stream", "file"])
def test_both_forms_of_arrow(tmp_path: Path, form: str) -> None:
    table, path = pa.table({"a": ["kite", None]}), tmp_path / "kites.arrow"
    opened = {"stream": pa.ipc.new_stream, "file": pa.ipc.new_file}[form]
    with pa.OSFile(str(path), "wb") as sink, opened(sink, table.schema) as writer:
        writer.write_table(table)
    assert [dict(row.cells) for row in arrow_rows(path, "arrow", ["a"])] == [{"a": "kite"}, {"a": None}]
    path.write_bytes(path.read_bytes()[:-20] if form == "file" else path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"kites\.arrow must be a table in the arrow format"):
        list(arrow_rows(path, "arrow", ["a"]))


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ('"two,2\nthree,3\nfour",4\n', True),
        ('1,"two\n3,three"\n', True),
        ('"Dear Ann,\nthanks",4\n', False),  # a text's own commas
        ('"so, as I said\nbye",4\n', False),
        ('"two\nlines",4\n', False),
        ('"a ""b"",2\nc",4\n', False),  # doubled quotes show that the writer quotes on purpose
        ('"a","b\nc,d"\n', False),
    ],
)
def test_quotes_around_lines_that_are_rows_are_refused(body: str, refused: bool) -> None:
    lines = list(lines_of("a,b\none,1\n" + body + "five,5\n"))
    if not refused:
        assert len(list(delimited_rows(lines, "x.csv", ["a"], delimiter=","))) == 3
        return
    with pytest.raises(DataError, match=r"x\.csv must have no quotes around whole rows, .* line 3"):
        list(delimited_rows(lines, "x.csv", ["a"], delimiter=","))
    assert len(list(delimited(lines, "x.csv", delimiter=","))) == 4  # as distributed datasets are read
