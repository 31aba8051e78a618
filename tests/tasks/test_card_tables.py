"""Tables of a user's own task: all formats and columns follow one set of rules."""

import csv
import datetime
import decimal
import io
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from empslurm.config import DataUse
from empslurm.errors import DataError, ManifestError
from empslurm.tasks import registry
from empslurm.tasks.prepare import Prepared, prepare, rejects
from empslurm.tasks.schema import Dataset
from empslurm.tasks.stats import cautions, remarks

CARD = """\
id: kite_mood
title: Kite Mood
file: kites.{format}
format: {format}
columns: {{{columns}}}
{kind}
data_source: invented
language_setting: conversation
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
MOODS = "kind: classification\nlabels: [up, down]"
SCALE = "kind: regression\nlow: 1.0\nhigh: 5.0"
ALL = "text: said, context: before, label: mood, id: row, group: thread"
ROLES = {"text": "said", "context": "before", "label": "mood", "id": "row", "group": "thread"}
FORMATS = ("csv", "tsv", "jsonl", "parquet", "arrow")
TYPED = ("jsonl", "parquet", "arrow")

Rows = Sequence[Mapping[str, Any]]


def _delimited(delimiter: str) -> Callable[[Rows], bytes]:
    """As a frame writes it: booleans as True, gaps as empty cells."""

    def make(rows: Rows) -> bytes:
        stream = io.StringIO()
        names = [*dict.fromkeys(name for row in rows for name in row)]
        writer = csv.DictWriter(stream, names, delimiter=delimiter)
        writer.writeheader()
        missing = (None, "")
        writer.writerows(
            {name: "" if value in missing or value != value else value for name, value in row.items()} for row in rows
        )
        return stream.getvalue().encode()

    return make


def _parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    return bytes(sink.getvalue())


def _arrow(rows: Rows) -> bytes:
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


WRITERS: Mapping[str, Callable[[Rows], bytes]] = {
    "csv": _delimited(","),
    "tsv": _delimited("\t"),
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    "parquet": _parquet,
    "arrow": _arrow,
}


def dataset(
    folder: Path, format: str, content: Rows | bytes, columns: str = ALL, kind: str = MOODS, **names: str
) -> Dataset:
    """A card's dataset with its one table."""
    card = folder / "card.yaml"
    card.write_text(CARD.format(format=format, columns=columns, kind=kind) + names.get("more", ""))
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / f"kites.{format}").write_bytes(
        content if isinstance(content, bytes) else WRITERS[format](content)
    )
    return registry((card,)).datasets["kite_mood"]


def read(folder: Path, *args: Any, **kwargs: Any) -> Prepared:
    return prepare(dataset(folder, *args, **kwargs), folder / "data", folder / "cache")


def rows_of(made: Prepared) -> list[dict[str, Any]]:
    found = made.table.to_pylist()
    assert isinstance(found, list)
    return found


def kites(n: int = 40, **changes: Any) -> list[dict[str, Any]]:
    """Good rows; a change is a value for the first row."""
    rows: list[dict[str, Any]] = [
        {"row": f"k{n}", "thread": f"t{n}", "before": f"turn {n}", "said": f"kite {n}", "mood": ("up", "down")[n % 2]}
        for n in range(n)
    ]
    rows[0].update(changes)
    return rows


def changed(column: str, value: Any) -> list[dict[str, Any]]:
    """Good rows but for one value of the first."""
    return kites(**{"n": 40, column: value})


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("missing", [None, float("nan")], ids=["null", "nan"])
def test_card_json_nan(tmp_path: Path, format: str, role: str, missing: Any) -> None:
    """What is missing is missing in every format and every role, and never the word nan."""
    column = ROLES[role]
    rows = kites()
    if missing is not None and format in ("parquet", "arrow"):  # there a column has one type
        rows = [{**row, column: float(n) if column != "mood" else n % 2} for n, row in enumerate(rows)]
    rows[0][column] = missing
    kind = MOODS.replace("[up, down]", "{up: up, down: down, 0: zero, 1: one}")
    made = read(tmp_path, format, rows, kind=kind)
    found = rows_of(made)
    if role == "context":
        assert found[0]["context"] == []
        assert len(found) == 40
        return
    assert len(found) == 39
    assert [(reject.row, reject.reason) for reject in rejects(made)] == [
        (
            1,
            {
                "text": "said must hold a text, but is empty",
                "label": "mood must be one of the card's labels, but is empty",
                "id": "must have an id and a group, but has an empty one (row)",
                "group": "must have an id and a group, but has an empty one (thread)",
            }[role],
        )
    ]
    assert not any("nan" in str(value).lower() for row in found for value in row.values())


@pytest.mark.parametrize("absent", ["said", "before", "mood", "row", "thread"])
def test_card_jsonl_sparse_first(tmp_path: Path, absent: str) -> None:
    rows = kites()
    del rows[0][absent]
    made = read(tmp_path, "jsonl", rows)
    assert len(rows_of(made)) == (40 if absent == "before" else 39)
    for row in rows:
        row.pop(absent, None)
    with pytest.raises(DataError, match=rf"but lacks {absent} .*; rename a column, or give the right file"):
        read(tmp_path, "jsonl", rows)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("column", ROLES.values())
def test_card_duplicate_column(tmp_path: Path, format: str, column: str) -> None:
    names = [*ROLES.values(), column]
    if format in ("csv", "tsv"):
        delimiter = "," if format == "csv" else "\t"
        line = delimiter.join(["one", "up", "up", "up", "up", "down"])
        content = (delimiter.join(names) + "\n" + f"{line}\n" * 3).encode()
    elif format == "jsonl":
        pairs = ", ".join(f'"{name}": "up"' for name in names)
        content = f"{{{pairs}}}\n".encode() * 3
    else:
        table = pa.Table.from_arrays([pa.array(["up", "down"])] * 6, names=names)
        sink = pa.BufferOutputStream()
        if format == "parquet":
            pq.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        content = sink.getvalue().to_pybytes()
    with pytest.raises(DataError, match=rf"{column}(, but has 2| twice)"):
        read(tmp_path, format, content)


@pytest.mark.parametrize("format", FORMATS)
def test_a_doubled_column_that_the_card_does_not_name_is_allowed(tmp_path: Path, format: str) -> None:
    names = [*ROLES.values(), "other", "other"]
    if format == "jsonl":
        line = '{"said": "a", "mood": "up", "row": "1", "thread": "t", "other": 1, "other": {"x": 1, "x": 2}}'
        content = (line + "\n").encode()
    elif format in ("csv", "tsv"):
        delimiter = "," if format == "csv" else "\t"
        content = (delimiter.join(names) + "\n" + delimiter.join(["a", "", "up", "1", "t", "x", "y"]) + "\n").encode()
    else:
        values = ["a", "", "up", "1", "t", "x", "y"]
        table = pa.Table.from_arrays([pa.array([value]) for value in values], names=names)
        sink = pa.BufferOutputStream()
        if format == "parquet":
            pq.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        content = sink.getvalue().to_pybytes()
    columns = ALL.replace("context: before, ", "")
    assert [row["text"] for row in rows_of(read(tmp_path, format, content, columns=columns))] == ["a"]


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_a_quote_that_is_never_closed_names_its_line(tmp_path: Path, format: str) -> None:
    delimiter = "," if format == "csv" else "\t"
    lines = [delimiter.join(ROLES.values()), *(delimiter.join([f"k{n}", "b", "up", str(n), "t"]) for n in range(5))]
    lines[3] = '"' + lines[3]
    with pytest.raises(DataError, match=rf"kites\.{format} must be a delimited table, but is not at line 4: a quote"):
        read(tmp_path, format, ("\n".join(lines) + "\n").encode())


@pytest.mark.parametrize("labels", ["['True', 'False']", "['true', 'false']", "['TRUE', 'FALSE']"])
@pytest.mark.parametrize("format", FORMATS)
def test_card_parquet_bool(tmp_path: Path, format: str, labels: str) -> None:
    """One card fits one table in every format: frames write True, JSON true."""
    rows = [{**row, "mood": n % 2 == 0} for n, row in enumerate(kites())]
    found = rows_of(read(tmp_path, format, rows, kind=f"kind: classification\nlabels: {labels}"))
    assert [row["kite_mood"] for row in found] == [0, 1] * 20


@pytest.mark.parametrize("format", FORMATS)
def test_booleans_have_names_too(tmp_path: Path, format: str) -> None:
    rows = [{**row, "mood": n % 2 == 0} for n, row in enumerate(kites())]
    made = dataset(tmp_path, format, rows, kind="kind: classification\nlabels: {false: down, true: up}")
    assert made.tasks[0].labels == ("down", "up")
    found = rows_of(prepare(made, tmp_path / "data", tmp_path / "cache"))
    assert [row["kite_mood"] for row in found] == [1, 0] * 20


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([True, False], ("true", "false")),
        (["sideways", "around"], ("sideways", "around")),
        ([7, 8], ("7", "8")),
        ([1.5, 2.5], ("1.5", "2.5")),
    ],
)
def test_labels_that_fit_no_row_are_named(tmp_path: Path, format: str, values: list[Any], told: Sequence[str]) -> None:
    rows = [{**row, "mood": values[n % 2]} for n, row in enumerate(kites())]
    with pytest.raises(DataError, match="gives none and 40 bad rows") as caught:
        read(tmp_path, format, rows)
    words, _, fix = str(caught.value).lower().rpartition("; ")
    assert words.count("mood must be one of the card's labels") == 1
    assert f"(40 rows: {', '.join(told)})" in words
    assert re.search("write `labels: {.*: ..., .*: ...}` in the card", fix)
    assert all(value in fix for value in told)


@pytest.mark.parametrize("format", FORMATS)
def test_texts_in_the_label_column_are_never_shown(tmp_path: Path, format: str) -> None:
    rows = [{**row, "mood": f"the {n}th kite was lost in the rain again"} for n, row in enumerate(kites())]
    with pytest.raises(DataError, match="labels, but is not") as caught:
        read(tmp_path, format, rows)
    assert "rain" not in str(caught.value)
    rows = [{**row, "mood": f"word{n}"} for n, row in enumerate(kites())]
    with pytest.raises(DataError, match="labels, but is word0") as caught:
        read(tmp_path, format, rows)
    assert "word5" not in str(caught.value)


@pytest.mark.parametrize("format", TYPED)
def test_whole_numbers_match_however_a_frame_writes_them(tmp_path: Path, format: str) -> None:
    rows = [{**row, "mood": float(n % 2)} for n, row in enumerate(kites())]
    for labels in ("['0', '1']", "['0.0', '1.0']", "{0: no, 1: yes}", "{0.0: no, 1.00: yes}"):
        found = rows_of(read(tmp_path, format, rows, kind=f"kind: classification\nlabels: {labels}"))
        assert [row["kite_mood"] for row in found] == [0, 1] * 20


def test_codes_with_zeros_before_them_are_no_numbers(tmp_path: Path) -> None:
    rows = [{**row, "mood": ("01", "1")[n % 2]} for n, row in enumerate(kites())]
    found = rows_of(read(tmp_path, "csv", rows, kind="kind: classification\nlabels: ['1', '01']"))
    assert [row["kite_mood"] for row in found] == [1, 0] * 20


def decimals(n: int) -> pa.Array:
    return pa.array([decimal.Decimal(f"{1 + k % 4}.50") for k in range(n)], pa.decimal128(5, 2))


RATINGS: Mapping[str, Callable[[int], pa.Array]] = {
    "decimal": decimals,
    "decimal256": lambda n: decimals(n).cast(pa.decimal256(60, 2)),
    "float32": lambda n: pa.array([1.5 + k % 4 for k in range(n)], pa.float32()),
    "half": lambda n: pa.array(np.asarray([1.5 + k % 4 for k in range(n)], np.float16)),
    "text": lambda n: pa.array([f"{1.5 + k % 4}" for k in range(n)], pa.large_string()),
    "dictionary": lambda n: pa.array([f"{1.5 + k % 4}" for k in range(n)]).dictionary_encode(),
    "bytes": lambda n: pa.array([f"{1.5 + k % 4}".encode() for k in range(n)], pa.binary()),
}


@pytest.mark.parametrize("type_", RATINGS)
def test_card_parquet_decimal(tmp_path: Path, type_: str) -> None:
    table = pa.table({"said": [f"kite {n}" for n in range(40)], "mood": RATINGS[type_](40)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    made = read(tmp_path, "parquet", sink.getvalue().to_pybytes(), columns="text: said, label: mood", kind=SCALE)
    assert [row["kite_mood"] for row in rows_of(made)] == [1.5, 2.5, 3.5, 4.5] * 10


CELLS: Mapping[str, tuple[pa.Array, str]] = {
    "date": (pa.array([datetime.date(2026, 1, 2)]), "2026-01-02"),
    "timestamp": (pa.array([1767312000000], pa.timestamp("ms")), "2026-01-02T00:00:00"),
    "nanoseconds": (pa.array([1767312000000000000], pa.timestamp("ns")), "2026-01-02T00:00:00"),
    "time": (pa.array([datetime.time(1, 2)]), "01:02:00"),
    "decimal": (pa.array([decimal.Decimal("7")]), "7"),
    "bytes": (pa.array([b"kite"]), "kite"),
    "large_binary": (pa.array([b"kite"], pa.large_binary()), "kite"),
    "dictionary": (pa.array(["kite"]).dictionary_encode(), "kite"),
    "uint64": (pa.array([2**63 + 1], pa.uint64()), "9223372036854775809"),
    "int8": (pa.array([-3], pa.int8()), "-3"),
    "half": (pa.array(np.asarray([1.5], np.float16)), "1.5"),
    "large_string": (pa.array([" kite "], pa.large_string()), "kite"),
    "string_view": (pa.array(["kite"], pa.string_view()), "kite"),
    "bool": (pa.array([True]), "true"),
    "uuid": (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000001"),
}


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("type_", CELLS)
def test_a_value_of_any_type_in_any_role(tmp_path: Path, format: str, role: str, type_: str) -> None:
    column, text = CELLS[type_]
    cells = {name: pa.array(["up"]) for name in ROLES.values()} | {ROLES[role]: column}
    table, sink = pa.table(cells), pa.BufferOutputStream()
    if format == "parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    labels = [text, "other"] if role == "label" else ["up", "other"]
    made = dataset(
        tmp_path,
        format,
        sink.getvalue().to_pybytes(),
        kind=f"kind: classification\nlabels: {json.dumps(labels)}",
    )
    (row,) = rows_of(prepare(made, tmp_path / "data", tmp_path / "cache"))
    expected = {"text": "up", "context": ["up"], "kite_mood": 0, "id": "up", "group": "up"}
    changed: dict[str, Any] = {"context": [text]} if role == "context" else {} if role == "label" else {role: text}
    assert {name: row[name] for name in expected} == {**expected, **changed}


@pytest.mark.parametrize("format", TYPED)
@pytest.mark.parametrize("role", ["text", "label", "id", "group"])
def test_lists_are_for_contexts_only(tmp_path: Path, format: str, role: str) -> None:
    rows = [{**row, ROLES[role]: ["kite", "kites"]} for row in kites()]
    with pytest.raises(DataError, match=f"{ROLES[role]} must hold one value, but holds a list"):
        read(tmp_path, format, rows)


@pytest.mark.parametrize("format", TYPED)
def test_turns_of_any_type_and_gaps_among_them(tmp_path: Path, format: str) -> None:
    rows = kites(before=["one", None, " ", "two"])
    for row in rows[1:]:
        row["before"] = None if row["row"] == "k1" else [row["said"]]
    found = rows_of(read(tmp_path, format, rows))
    assert [row["context"] for row in found[:3]] == [["one", "two"], [], ["kite 2"]]
    rows = [{**row, "before": [{"role": "user", "content": "kite"}]} for row in rows]
    with pytest.raises(DataError, match="before must hold a text or a list of texts, but holds an object"):
        read(tmp_path, format, rows)


def test_dates_that_no_calendar_has_are_a_sentence(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"said": pa.array([10**9], pa.date32()), "mood": ["up"]}), sink)
    with pytest.raises(DataError, match=r"kites\.parquet must be a table in the parquet format"):
        read(tmp_path, "parquet", sink.getvalue().to_pybytes(), columns="text: said, label: mood")


def test_row_numbers_and_default_ids_stay(tmp_path: Path) -> None:
    """Blank lines of CSV are counted, those of JSON are not: groups, and so splits, hang on the ids."""
    columns = "text: said, label: mood"
    text = b'\xef\xbb\xbfsaid,mood\r\na,up\r\n\r\n ,\r\nb,down\r\n"c\nc",up\r\n'
    assert [row["id"] for row in rows_of(read(tmp_path, "csv", text, columns=columns))] == [
        "kites.csv-1",
        "kites.csv-4",
        "kites.csv-5",
    ]
    lines = b'{"said": "a", "mood": "up"}\n\n  \n{"said": "b", "mood": "up"}\n'
    assert [row["id"] for row in rows_of(read(tmp_path, "jsonl", lines, columns=columns))] == [
        "kites.jsonl-1",
        "kites.jsonl-2",
    ]


@pytest.mark.parametrize("mark", [";", "\t", "|", ",", ":"])
@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_a_delimiter_of_the_cards_own(tmp_path: Path, format: str, mark: str) -> None:
    rows = kites(said='a "kite", one; two | three\tfour: five')
    written = "tab" if mark == "\t" else mark
    more = f"delimiter: {json.dumps(mark)}\n"
    found = rows_of(read(tmp_path, format, _delimited(mark)(rows), more=more))
    assert (len(found), found[0]["text"]) == (40, rows[0]["said"]), written


@pytest.mark.parametrize(
    ("format", "mark", "words"),
    [
        ("csv", ";", "its columns seem to be separated by semicolons: add `delimiter: ';'`"),
        ("csv", "\t", 'its columns seem to be separated by tabs: add `delimiter: "\\t"`'),
        ("tsv", ",", "its columns seem to be separated by commas: add `delimiter: ','`"),
        ("tsv", "|", "its columns seem to be separated by bars: add `delimiter: '|'`"),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_header_that_fits_another_delimiter_says_so(
    tmp_path: Path, format: str, mark: str, words: str, quoted: bool
) -> None:
    names = [f'"{name}"' if quoted else name for name in (*ROLES.values(), "a, b; c" if not quoted else "more")]
    names = names[:5] if not quoted else names
    content = (mark.join(names) + "\n" + mark.join(["x"] * len(names)) + "\n").encode()
    with pytest.raises(DataError) as caught:
        read(tmp_path, format, content)
    assert words in str(caught.value)
    assert f"(its first line names {', '.join(ROLES.values())}" in str(caught.value)


def test_a_decimal_comma(tmp_path: Path) -> None:
    rows = [{"said": f"kite {n}", "mood": ("1,5", "4", "4,25", "2,0")[n % 4]} for n in range(40)]
    columns = "text: said, label: mood"
    content = _delimited(";")(rows)
    more = "delimiter: ';'\ndecimal: ','\n"
    found = rows_of(read(tmp_path, "csv", content, columns=columns, kind=SCALE, more=more))
    assert [row["kite_mood"] for row in found] == [1.5, 4.0, 4.25, 2.0] * 10
    with pytest.raises(DataError, match=r"scale, but is 1,5; add `decimal: ','`"):
        read(tmp_path, "csv", content, columns=columns, kind=SCALE, more="delimiter: ';'\n")
    with pytest.raises(DataError, match=r"scale, but is 1\.5"):  # 1.500 may be one thousand five hundred
        read(tmp_path, "csv", content.replace(b",", b"."), columns=columns, kind=SCALE, more=more)
    rows = [{"said": f"kite {n}", "mood": ("1,0", "0,0")[n % 2]} for n in range(40)]
    kind = "kind: classification\nlabels: ['0', '1']"
    found = rows_of(read(tmp_path, "csv", _delimited(";")(rows), columns=columns, kind=kind, more=more))
    assert [row["kite_mood"] for row in found] == [1, 0] * 20


@pytest.mark.parametrize("format", FORMATS)
def test_card_leave_out_label(tmp_path: Path, format: str) -> None:
    """Left out on purpose, counted apart from rejects, and never towards the share of bad rows."""
    rows = [{**row, "mood": ("up", "down", "Other", "unclear")[n % 4]} for n, row in enumerate(kites())]
    with pytest.raises(DataError, match=r"at most 5% bad rows, but has 20 beside 20 good ones"):
        read(tmp_path, format, rows)
    made = read(tmp_path, format, rows, more="leave_out: [Other, unclear]\n")
    assert (len(rows_of(made)), rejects(made)) == (20, [])
    assert made.meta.left_out == {"Other": 10, "unclear": 10}
    assert made.dataset.tasks[0].labels == ("up", "down")
    assert made.dataset.forms[0].note == "kite_mood: its card leaves out rows labelled Other, unclear"
    rows = [{**row, "mood": "Other"} for row in rows]
    with pytest.raises(DataError, match="gives none and 0 bad rows and 40 left out by their label"):
        read(tmp_path, format, rows, more="leave_out: [Other, unclear]\n")


@pytest.mark.parametrize("format", FORMATS)
def test_a_code_for_no_answer_is_left_out(tmp_path: Path, format: str) -> None:
    rows = [{**row, "mood": (1.5, 99.0)[n % 2]} for n, row in enumerate(kites())]
    made = read(tmp_path, format, rows, kind=SCALE, more="leave_out: ['99']\n")
    assert (len(rows_of(made)), made.meta.left_out) == (20, {"99": 20})


@pytest.mark.parametrize("format", FORMATS)
def test_label_names(tmp_path: Path, format: str) -> None:
    """Values of the table have names; the order written is the index order, and two values may share a name."""
    rows = [{**row, "mood": n % 3} for n, row in enumerate(kites())]
    made = dataset(tmp_path, format, rows, kind="kind: classification\nlabels: {2: happy, 0: neutral, 1: neutral}")
    assert made.tasks[0].labels == ("happy", "neutral")
    found = rows_of(prepare(made, tmp_path / "data", tmp_path / "cache"))
    assert [row["kite_mood"] for row in found[:6]] == [1, 1, 0, 1, 1, 0]


CODES = [("99", ["99.", "099", "+99", "9.9e1", "99.00"], ""), ("9,9", ["9,9", "9,90", "+9,9"], ",")]


@pytest.mark.parametrize(("code", "written", "decimal"), CODES)
def test_codes_beside_ratings_are_compared_as_numbers(
    tmp_path: Path, code: str, written: list[str], decimal: str
) -> None:
    rows = [{"said": f"kite {n}", "mood": "1"} for n in range(40)] + [{"said": "x", "mood": one} for one in written]
    more = f"leave_out: ['{code}']\n" + (f"decimal: '{decimal}'\n" if decimal else "")
    made = read(
        tmp_path, "csv", _delimited(",")(rows), columns="text: said, label: mood", kind="kind: regression", more=more
    )
    assert (len(rows_of(made)), made.meta.left_out, rejects(made)) == (40, {code: len(written)}, [])


@pytest.mark.parametrize("type_", [pa.float32(), pa.float64()])
def test_single_precision_is_what_text_has(tmp_path: Path, type_: pa.DataType) -> None:
    def table(values: Sequence[float]) -> bytes:
        sink = pa.BufferOutputStream()
        cells = {"said": [f"kite {n}" for n in range(40)], "mood": pa.array([*values] * 20, type_)}
        pq.write_table(pa.table(cells), sink)
        return bytes(sink.getvalue())

    columns, kind = "text: said, label: mood", "kind: classification\nlabels: ['0.1', '0.7']"
    found = rows_of(read(tmp_path, "parquet", table([0.1, 0.7]), columns=columns, kind=kind))
    assert [row["kite_mood"] for row in found] == [0, 1] * 20
    kind, more = "kind: regression\nlow: 0.1", "leave_out: ['-9.9']\n"
    made = read(tmp_path, "parquet", table([0.1, -9.9]), columns=columns, kind=kind, more=more)
    assert ({row["kite_mood"] for row in rows_of(made)}, made.meta.left_out) == ({0.1}, {"-9.9": 20})


def test_labels_with_a_decimal_comma_may_end_in_zeros(tmp_path: Path) -> None:
    rows = [{"said": f"kite {n}", "mood": ("1,50", "2,5")[n % 2]} for n in range(40)]
    kind, more = "kind: classification\nlabels: ['1,5', '2,50']", "decimal: ','\n"
    found = rows_of(
        read(tmp_path, "csv", _delimited(",")(rows), columns="text: said, label: mood", kind=kind, more=more)
    )
    assert [row["kite_mood"] for row in found] == [0, 1] * 20


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("word", ["NaN", "nan", "NaT", "<NA>", "NA", "null", "None"])
def test_words_for_missing_values_are_missing_in_delimited_text(tmp_path: Path, format: str, word: str) -> None:
    """What `to_csv(na_rep=...)` writes; NA, null and None may be names, and typed formats have gaps of their own."""
    missing = format in ("csv", "tsv") and word in ("NaN", "nan", "NaT", "<NA>")
    made = read(tmp_path, format, kites(before=word))
    assert rows_of(made)[0]["context"] == ([] if missing else [word])
    reasons = {
        "thread": "must have an id and a group, but has an empty one (thread)",
        "row": "must have an id and a group, but has an empty one (row)",
        "said": f"said must hold a text, but is {word}, which means a missing value",
    }
    for column, reason in reasons.items():
        made = read(tmp_path, format, changed(column, word))
        assert [reject.reason for reject in rejects(made)] == ([reason] if missing else [])
    told = "empty" if missing else "not" if word == "<NA>" else word
    (reject,) = rejects(read(tmp_path, format, kites(mood=word)))
    assert reject.reason == f"mood must be one of the card's labels, but is {told}"
    made = read(tmp_path, format, kites(mood=word), kind=f"kind: classification\nlabels: [up, down, '{word}']")
    assert rows_of(made)[0]["kite_mood"] == 2
    assert read(tmp_path, format, kites(mood=word), more=f"leave_out: ['{word}']\n").meta.left_out == {word: 1}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("listed", [False, True])
def test_half_a_character_in_json_is_one_bad_row(tmp_path: Path, role: str, listed: bool) -> None:
    half = "hey \ud83d"
    made = read(tmp_path, "jsonl", changed(ROLES[role], [half] if listed and role == "context" else half))
    assert len(rows_of(made)) == 39
    assert [(reject.row, reject.reason) for reject in rejects(made)] == [
        (1, f"{ROLES[role]} must hold whole characters, but holds half of one (such as \\ud83d)")
    ]


def test_a_pair_of_quotes_around_whole_rows_is_refused(tmp_path: Path) -> None:
    lines = ["said,mood", "one,up", '"so sad,down', "three,up", 'never again",down', *["kite,up"] * 40]
    with pytest.raises(DataError, match=r"kites\.csv must have no quotes around whole rows, .* line 3, .* line 5"):
        read(tmp_path, "csv", "\n".join(lines).encode(), columns="text: said, label: mood")


def test_advice_about_labels_follows_errors_of_labels_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"add unclear to `labels`, or leave it out with `leave_out: \[unclear\]`$"):
        read(tmp_path, "csv", [{**row, "mood": "unclear"} if n < 9 else row for n, row in enumerate(kites())])
    with pytest.raises(DataError, match=r"give the right file, or fix these rows$"):
        read(tmp_path, "csv", [{**row, "said": ""} if n < 9 else row for n, row in enumerate(kites())])


def test_numbers_without_names_are_answered_with_a_mapping(tmp_path: Path) -> None:
    rows = [{**row, "mood": n % 3} for n, row in enumerate(kites())]
    with pytest.raises(DataError, match=r"write `labels: \{0: \.\.\., 1: \.\.\., 2: \.\.\.\}` in the card"):
        read(tmp_path, "csv", rows, kind="kind: classification\nlabels: [unfriendly, mixed, friendly]")


def test_a_value_that_a_mapping_lacks_is_to_be_added_or_left_out(tmp_path: Path) -> None:
    rows = [{**row, "mood": n % 4} for n, row in enumerate(kites())]
    kind = "kind: classification\nlabels: {0: a, 1: b, 3: c}"
    with pytest.raises(DataError, match=r"add 2 to `labels`, or leave it out with `leave_out: \['2'\]`$"):
        read(tmp_path, "csv", rows, kind=kind)
    made = read(tmp_path, "csv", rows, kind=kind, more="leave_out: ['2']\n")  # the fix as it is written
    assert len(rows_of(made)) == 30


def test_each_reason_is_given_once_with_its_first_row_and_count(tmp_path: Path) -> None:
    rows = [{**row, "mood": ("up", "", "7", "8")[n % 4]} for n, row in enumerate(kites())]
    with pytest.raises(DataError) as caught:
        read(tmp_path, "csv", rows)
    must = "mood must be one of the card's labels, but is"
    told = f"kites.csv row 2: {must} empty (10 rows); kites.csv row 3: {must} 7 (20 rows: 7, 8); "
    assert told in str(caught.value)


def test_labels_in_a_file_are_to_be_written_into_the_card(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"labels must be a list or a mapping.*; write the names here") as caught:
        dataset(tmp_path, "csv", kites(), kind="kind: classification\nlabels: letters_labels.txt")
    assert "[letters_labels.txt]" not in str(caught.value)


def test_leave_out_names_the_value_in_the_table_not_its_label(tmp_path: Path) -> None:
    rows = [{**row, "mood": n % 3} for n, row in enumerate(kites())]
    kind, more = "kind: classification\nlabels: {0: '1', 1: '2'}", "leave_out: ['2']\n"
    made = read(tmp_path, "csv", rows, kind=kind, more=more)
    assert (len(rows_of(made)), made.meta.left_out) == (27, {"2": 13})


def test_a_label_to_leave_out_that_no_row_has_is_reported(tmp_path: Path) -> None:
    note = "kite_mood: its card leaves out typo, but no row has that label; write it as in the table, or remove it"
    made = read(tmp_path, "csv", kites(mood="Other"), more="leave_out: [Other, typo]\n")
    assert any(each.startswith(note) for each in remarks(made))
    assert "kite_mood: 1 rows are left out on purpose by their label: Other (1)" in remarks(made)
    made = read(tmp_path, "csv", kites(mood="typo"), more="leave_out: [typo]\n")
    assert not any("no row has" in note for note in remarks(made))


def test_bad_rows_are_reported(tmp_path: Path) -> None:
    made = read(tmp_path, "csv", kites(mood="Other"))
    reason = "kites.csv row 1: mood must be one of the card's labels, but is Other"
    told = f"kite_mood: 1 of 40 rows are bad and give no example, such as {reason}"
    assert told in remarks(made)
    assert told in cautions(made, DataUse())


def test_more_bad_rows_in_one_file_than_a_file_may_have(tmp_path: Path) -> None:
    text = CARD.format(format="csv", columns="text: said, label: mood", kind=MOODS).replace(
        "file: kites.csv", "file: [one.csv, two.csv]"
    )
    (tmp_path / "card.yaml").write_text(text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.csv").write_text("said,mood\n" + "kite,up\n" * 1000)
    (tmp_path / "data" / "two.csv").write_text("said,mood\n" + "kite,sideways\n" * 40)
    made = registry((tmp_path / "card.yaml",)).datasets["kite_mood"]
    with pytest.raises(DataError, match=r"at most 5% bad rows in two\.csv, but has 40 beside 0 good ones"):
        prepare(made, tmp_path / "data", tmp_path / "cache")
