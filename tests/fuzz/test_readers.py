"""Raw data that are hostile, cut off or changed by a spreadsheet give examples and rejects, or one sentence."""

import functools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empslurm.errors import DataError
from empslurm.tasks import registry
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.datasets.empdial import AUTHORS
from empslurm.tasks.datasets.eqt import FRAME, TEST_SET
from empslurm.tasks.sample import write_sample
from empslurm.tasks.schema import Dataset, Example, Form, Reject, Task
from tests import hostile
from tests.tasks.datasets.test_empdial import AUTHORS_HEAD
from tests.tasks.datasets.test_eqt import frame, turns_frame
from tests.tasks.test_cards import CARD, REGRESSION

N_ROWS = 8  # of each sample file: many cuts then hit something that matters

FRAME_ROWS = [("hit:1_conv:2-2-0", ["my kite is gone.", "Where to?"], "Irony", "Motivate")]
TEST_SET_ROWS: list[tuple[str, ...]] = [
    ("hit:1_conv:2-2-0", "my kite is gone \n Where to?", "Request information", "Express interest")
]
DIALOGUE = "hit:0_conv:1,1,proud,p,1,I won,5|5,\nhit:0_conv:1,2,proud,p,2,Great!,5|5,\nhit:0_conv:1,3,proud,p,1,Yes,,\n"


@functools.cache
def sample() -> dict[str, bytes]:
    """Name of a sample's file -> its first rows. A dataset may have no sample."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        written = write_sample(root, seed=1)
        cut = {path: b"".join(path.read_bytes().splitlines(keepends=True)[:N_ROWS]) for path in written}
    made = {path.relative_to(root).as_posix().partition("/")[2]: data for path, data in cut.items()}
    made |= {AUTHORS[0]: (AUTHORS_HEAD + DIALOGUE).encode()}
    made |= dict.fromkeys(AUTHORS[1:], AUTHORS_HEAD.encode())
    return made | {TEST_SET: frame(TEST_SET_ROWS * 3), FRAME: turns_frame(FRAME_ROWS * 3)}


def write(form: Form, folder: Path, good: dict[str, bytes]) -> dict[str, Path]:
    """A form's files as they should be."""
    paths = {file.name: folder / file.name for file in form.files}
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good.get(name, b""))
    return paths


def read_hostile(dataset: Dataset, form: Form, paths: dict[str, Path], name: str, data: bytes) -> None:
    """Read a form whose one file holds `data`; what comes out must be sound, or one sentence."""
    tasks = {task.id: task for task in dataset.tasks}
    good = paths[name].read_bytes()
    paths[name].write_bytes(data)
    try:
        with hostile.bounded():
            items = list(form.read(paths))
    except DataError as error:
        assert_sentence(str(error))
        return
    finally:
        paths[name].write_bytes(good)
    for item in items:
        if isinstance(item, Reject):
            assert item.file in paths or item.file in {Path(file).name for file in paths}
            assert_sentence(item.reason)
        else:
            assert isinstance(item, Example)
            assert_sound(item, tasks)


def assert_sentence(text: str) -> None:
    assert "\n" not in text
    assert 3 < len(text) < 2_000
    text.encode()


def assert_sound(example: Example, tasks: dict[str, Task]) -> None:
    assert example.id
    assert example.group
    assert example.text.strip()
    assert "\x00" not in example.text
    "".join((example.id, example.group, example.text, *example.context)).encode()
    for task, label in example.labels.items():
        if tasks[task].kind == "classification":
            assert label in tasks[task].labels
        else:
            assert isinstance(label, float)
            assert math.isfinite(label)
            low, high = tasks[task].low, tasks[task].high
            assert low is None or label >= low
            assert high is None or label <= high


def forms() -> list[tuple[Dataset, Form]]:
    return [(dataset, form) for dataset in DATASETS for form in dataset.forms]


@pytest.mark.parametrize(("dataset", "form"), forms(), ids=lambda item: getattr(item, "name", getattr(item, "id", "")))
def test_any_bytes_in_a_raw_file(dataset: Dataset, form: Form, tmp_path: Path) -> None:
    names = [file.name for file in form.files]
    # Of 32 files of one format, two stand for all; a hostile file's name is drawn too where they differ.
    names = names if len(names) <= 3 else names[:2]
    good = sample()
    paths = write(form, tmp_path, good)

    @hostile.examples(share=0.4)
    @given(st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), hostile.spoiled(good.get(name, CSV)))))
    def any_bytes(drawn: tuple[str, bytes]) -> None:
        name, data = drawn
        read_hostile(dataset, form, paths, name, data)

    any_bytes()


JSONL = b'{"row": 1, "thread": "t1", "before": ["a", "b"], "said": "one", "mood": "up"}\n' * 3
CSV = b"row,thread,before,said,mood\n1,t1,,one,up\n2,t1,one,two,down\n3,t2,,three,up\n"


def table(format: str) -> bytes:
    """A small sound table of a card's format."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    if format in ("csv", "tsv"):
        return CSV.replace(b",", b"\t") if format == "tsv" else CSV
    if format == "jsonl":
        return JSONL
    made, sink = pyarrow.csv.read_csv(pa.BufferReader(CSV)), pa.BufferOutputStream()
    if format == "parquet":
        pq.write_table(made, sink)
    else:
        with pa.ipc.new_stream(sink, made.schema) as stream:
            stream.write_table(made)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize("text", [CARD, REGRESSION], ids=["classification", "regression"])
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet", "arrow"])
def test_any_bytes_in_the_table_of_a_card(format: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(text.replace("format: csv", f"format: {format}").replace("up, down", "up, '5'"))
    dataset = registry((tmp_path / "card.yaml",)).datasets["kite_mood"]
    form, good = dataset.forms[0], table(format)
    paths = write(form, tmp_path, {"kites.csv": good})

    @hostile.examples(share=0.25)
    @given(hostile.spoiled(good))
    def any_bytes(data: bytes) -> None:
        read_hostile(dataset, form, paths, "kites.csv", data)

    any_bytes()
