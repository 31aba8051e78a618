import csv
import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import pytest

from empslurm.errors import DataError
from empslurm.tasks.datasets.eqt import ANNOTATED, DATASET, FRAME, LISTS, TEST_SET
from tests.tasks.helpers import bad, good, read

COLUMNS = ("id", "utterance_truncated", "type", "intent")


class Call:
    """`name` called with `arguments` and given `state`, as a pickle says it."""

    def __init__(self, name: str, *arguments: Any, state: Any = None) -> None:
        self.name, self.arguments, self.state = name, arguments, state


class Name(str):
    """A class or function by its module and name."""


def say(value: Any) -> bytes:
    """Opcodes that push a value."""
    if isinstance(value, Name):
        module, _, name = value.rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if isinstance(value, Call):
        state = say(value.state) + b"b" if value.state is not None else b""
        return say(Name(value.name)) + b"(" + b"".join(map(say, value.arguments)) + b"tR" + state
    if isinstance(value, dict):
        return b"(" + b"".join(say(key) + say(item) for key, item in value.items()) + b"d"
    if isinstance(value, list | tuple):
        return b"(" + b"".join(map(say, value)) + (b"l" if isinstance(value, list) else b"t")
    plain = pickle.dumps(value, protocol=0)
    return pickletools.optimize(plain)[:-1]


def array(shape: tuple[int, ...], cells: list[Any]) -> Call:
    """An object array as numpy pickles it."""
    empty = (Name("numpy.ndarray"), (0,), "b")
    kind = Call("numpy.dtype", "O8", 0, 1, state=(3, "|", None, None, None, -1, -1, 63))
    return Call("numpy.core.multiarray._reconstruct", *empty, state=(1, shape, kind, False, cells))


def index(cells: list[Any]) -> Call:
    data = {"data": array((len(cells),), cells), "name": None}
    return Call("pandas.core.indexes.base._new_Index", Name("pandas.core.indexes.base.Index"), data)


def frame(rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> bytes:
    """A frame of texts as an old pandas pickles it."""
    axes = [index(list(columns)), index([str(place) for place in range(len(rows))])]
    values = array((len(columns), len(rows)), [row[place] for place in range(len(columns)) for row in rows])
    block = {"values": values, "mgr_locs": Call("builtins.slice", 0, len(columns), 1)}
    layout = {"0.14.1": {"axes": axes, "blocks": [block]}}
    manager = Call("pandas.core.internals.managers.BlockManager", state=(axes, [values], [axes[0]], layout))
    return say(Call("pandas.core.frame.DataFrame", state={"_mgr": manager, "_typ": "dataframe"})) + b"."


def test_the_test_set(tmp_path: Path) -> None:
    rows: list[tuple[str, ...]] = [
        ("hit:1_conv:2-2-0", "my kite is gone \n Where to?", "Request information", "Express interest"),
        ("hit:1_conv:2-4-1", "- my kite is gone\nOh.\n\nYes. Why?", "Irony", "Motivate"),
        ("hit:1_conv:2-4-1", "again\nAgain?", "Irony", "Motivate"),
        ("no dialogue", "one\nTwo?", "Irony", "Motivate"),
        ("hit:1_conv:3-2-0", "one\n ", "Irony", "Motivate"),
        ("hit:1_conv:3-2-1", "one\nTwo?", "Sing", "Motivate"),
    ]
    items = read(DATASET, tmp_path, {TEST_SET: frame(rows)}, form=2)
    first, second = good(items)
    assert (first.id, first.group, first.context, first.text) == (
        rows[0][0],
        "hit:1_conv:2",
        ("my kite is gone",),
        "Where to?",
    )
    assert (second.context, second.text) == (("my kite is gone", "Oh."), "Yes. Why?")
    assert first.labels == {"empdial_qact": "Request information", "empdial_qint": "Express interest"}
    assert bad(items) == [(TEST_SET, row) for row in (3, 4, 5, 6)]


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made by the pickle"
    for name in ("os.system", "posix.system", "builtins.eval", "subprocess.Popen", "pandas.read_pickle"):
        attack = say(Call(name, f"touch '{target}'")) + b"."
        with pytest.raises(DataError, match="a table of texts does not need"):
            read(DATASET, tmp_path, {TEST_SET: attack}, form=2)
    admitted = say(Call("numpy.ndarray", (10**15,), state={"__class__": Name("builtins.slice")})) + b"."
    with pytest.raises(DataError, match="cannot be read"):
        read(DATASET, tmp_path, {TEST_SET: admitted}, form=2)
    assert not target.exists()


def test_damaged_pickles_and_other_tables(tmp_path: Path) -> None:
    whole = frame([("hit:1_conv:2-2-0", "a\nb?", "Irony", "Motivate")])
    for damaged in (
        b"",
        b"\x80",
        b"P",  # Python reports it in two lines
        whole[:-20],
        b"r\xff\xff\xff\xff.",
        pickle.dumps([1, 2]),
        whole.replace(b"0.14.1", b"0.15.1"),
    ):
        with pytest.raises(DataError, match=r"must be a pickled table of texts.*; get the file again$"):
            read(DATASET, tmp_path, {TEST_SET: damaged}, form=2)
    with pytest.raises(
        DataError, match=r"must have the columns id, utterance_truncated, type, intent, but lacks .* \(it has id, turns"
    ):
        read(DATASET, tmp_path, {TEST_SET: frame([("a", "b", "c", "d")], ("id", "turns", "type", "intent"))}, form=2)


def annotated(*rows: tuple[object, ...]) -> dict[str, str]:
    stream = io.StringIO()
    csv.writer(stream).writerows([("conv_id", "utterance_idx", "context", "utterance", *LISTS), *rows])
    return {ANNOTATED: stream.getvalue()}


def test_annotated_questions_have_their_turn_up_to_them_and_their_labels_sources(tmp_path: Path) -> None:
    split = ["Oh_comma_ no.", "Where?", "Why?"]
    items = read(
        DATASET,
        tmp_path,
        annotated(
            ("c1", 1, "sad", "my kite_comma_ it is gone", ["my kite_comma_ it is gone"], "", "", "", "", ""),
            (
                "c1",
                2,
                "sad",
                "Oh. Where? Why?",
                split,
                [1, 2],
                ["Irony", ""],
                ["Support"] * 2,
                ["QBERT", ""],
                ["mturk"] * 2,
            ),
            ("c2", 2, "sad", "What?", ["What?"], "[]", "", "", "", ""),
        ),
    )
    first, second = good(items)
    assert (first.id, first.group, first.context) == ("c1-2-1", "c1", ("my kite, it is gone",))
    assert (first.text, second.text) == ("Oh, no. Where?", "Oh, no. Where? Why?")
    assert first.labels == {"empdial_qact": "Irony", "empdial_qint": "Support"}
    assert first.automatic == {"empdial_qact"}
    assert (second.labels, second.automatic) == ({"empdial_qint": "Support"}, frozenset())
    assert bad(items) == []


@pytest.mark.parametrize(
    ("place", "cell"),
    [
        (5, "[7]"),
        (5, "[-1]"),
        (5, "[0, 1]"),
        (4, "no list"),
        (6, ["Sing"]),
        (7, ["Sing"]),
        (8, "[" * 5000),
        (0, ""),
        (1, "x"),
    ],
)
def test_bad_annotations(tmp_path: Path, place: int, cell: object) -> None:
    row: list[object] = ["c1", 2, "sad", "Why?", ["Why?"], [0], ["Irony"], ["Support"], ["manual"], ["manual"]]
    assert len(good(read(DATASET, tmp_path, annotated(tuple(row))))) == 1
    row[place] = cell
    assert bad(read(DATASET, tmp_path, annotated(tuple(row)))) == [(ANNOTATED, 1)]


def turns_frame(rows: list[tuple[Any, ...]]) -> bytes:
    """The training frame: its texts and lists stand in two blocks, a number in a third."""
    axes = [index([*COLUMNS, "similarity"]), index([str(place) for place in range(len(rows))])]

    def block(places: Any, cells: list[Any], n_columns: int) -> dict[str, Any]:
        return {"values": array((n_columns, len(rows)), cells), "mgr_locs": places}

    kind = Call("numpy.dtype", "i8", 0, 1, state=(3, "<", None, None, None, -1, -1, 0))
    empty = (Name("numpy.ndarray"), (0,), "b")
    located = struct.pack("<3q", 0, 2, 3).decode("latin-1")
    places = Call("numpy.core.multiarray._reconstruct", *empty, state=(1, (3,), kind, False, located))
    texts = [row[column] for column in (0, 2, 3) for row in rows]
    floats = Call("numpy.core.multiarray._reconstruct", *empty, state=(1, (1, len(rows)), kind, False, "bytes"))
    blocks = [
        {"values": floats, "mgr_locs": Call("builtins.slice", 4, 5, 1)},
        block(places, texts, 3),
        block(Call("builtins.slice", 1, 2, 1), [row[1] for row in rows], 1),
    ]
    layout = {"0.14.1": {"axes": axes, "blocks": blocks}}
    manager = Call("pandas.core.internals.managers.BlockManager", state=(axes, [], [], layout))
    return say(Call("pandas.core.frame.DataFrame", state={"_mgr": manager, "_typ": "dataframe"})) + b"."


def test_the_training_frame_has_a_row_per_turn_and_lists_of_sentences(tmp_path: Path) -> None:
    one, two, three, four = "hit:1_conv:2-2-0", "hit:1_conv:2-4-1", "hit:1_conv:3-2-0", "nothing"
    rows = [
        (one, ["my kite_comma_ gone", "So."], "Irony", "Motivate"),
        (one, ["Oh.", "Why?"], "Irony", "Motivate"),
        (two, ["my kite"], "", "Support"),
        (two, ["Where\nto?"], "", "Support"),
        (three, ["not labelled yet?"], "", ""),
        (four, ["What?"], "Irony", "Motivate"),
    ]
    items = read(DATASET, tmp_path, {FRAME: turns_frame(rows)}, form=1)
    first, second = good(items)
    assert (first.id, first.group, first.context, first.text) == (
        one,
        "hit:1_conv:2",
        ("my kite, gone So.",),
        "Oh. Why?",
    )
    assert first.automatic == {"empdial_qact", "empdial_qint"}
    assert (second.text, second.labels) == ("Where to?", {"empdial_qint": "Support"})
    assert bad(items) == [(FRAME, 6)]


@pytest.mark.parametrize("cell", [7, ["a", 7], {"a": 1}])
def test_cells_that_are_no_texts(tmp_path: Path, cell: Any) -> None:
    with pytest.raises(DataError, match="must be a pickled table of texts"):
        read(DATASET, tmp_path, {FRAME: turns_frame([("hit:1_conv:2-2-0", cell, "Irony", "Motivate")])}, form=1)
