import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from empslurm import files, ids
from empslurm.config import DataUse
from empslurm.errors import DataError, StoreError
from empslurm.tasks import prepare as module
from empslurm.tasks.prepare import Prepared, load_task, prepare, rejects
from empslurm.tasks.schema import Dataset, Example, Form, LeftOut, RawFile, Reject, Task
from empslurm.tasks.splits import part_of

MOOD = Task(
    id="mood",
    title="Mood",
    dataset="kites",
    kind="classification",
    labels=("up", "down"),
    data_source="",
    language_setting="",
)
WIND = replace(MOOD, id="wind", kind="regression", labels=(), low=0.0, high=9.0)
TEXT = "kites of invention"


def rows(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Fifty rows of ten threads; every fifth mood is a classifier's, every tenth wind is not known."""
    for path in paths.values():
        path.read_text()
    for row in range(50):
        labels: dict[str, str | float] = {"mood": ("up", "down")[row % 3 == 0], "wind": row / 10}
        if row % 10 == 9:
            del labels["wind"]
        automatic = frozenset({"mood"}) if row % 5 == 0 else frozenset[str]()
        turns = tuple(f"turn {turn}" for turn in range(row % 4))
        yield Example(
            id=f"e{row}", group=f"g{row // 5}", context=turns, text=f"kite {row}", labels=labels, automatic=automatic
        )
    yield Reject(file="kites.csv", row=51, reason="has an empty text")


FORM = Form(
    name="flown", files=(RawFile(name="kites.csv", sha256=files.sha256_bytes(TEXT.encode())),), read=rows, n_examples=50
)
KITES = Dataset(
    id="kites", title="", family="kites", tasks=(MOOD, WIND), forms=(FORM,), citation="", licence="", obtain="fly one"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kites.csv").write_text(TEXT)
    return tmp_path / "data"


def with_form(**changes: object) -> Dataset:
    return replace(KITES, forms=(replace(FORM, **changes),))  # type: ignore[arg-type]


def test_a_second_call_reads_no_raw_file(tmp_path: Path, data: Path) -> None:
    seen: list[tuple[str, int]] = []
    first = prepare(KITES, data, tmp_path / "cache", lambda dataset, n_rows: seen.append((dataset, n_rows)))
    assert seen[-1] == ("kites", 51)

    def refuse(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
        raise AssertionError("read again")

    assert prepare(with_form(read=refuse), data, tmp_path / "cache").folder == first.folder
    assert {path.name for path in first.folder.iterdir()} == {
        "examples.parquet",
        "rejects.jsonl",
        "split.json",
        "meta.json",
    }
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")] == []
    assert (first.meta.n_examples, first.meta.n_rejects) == (50, 1)
    assert rejects(first) == [Reject(file="kites.csv", row=51, reason="has an empty text")]
    assert first.folder.name == f"kites-{ids.digest([2, first.meta.raw_digest, 1, 0], 12)}"  # moves with no card
    split = json.loads((first.folder / "split.json").read_text())
    assert split == {f"g{group}": part_of(f"g{group}", 0) for group in range(10)}


def test_a_task_table(tmp_path: Path, data: Path) -> None:
    made = prepare(KITES, data, tmp_path / "cache")
    table = load_task(made, WIND, DataUse(), "all")
    assert len(table.ids) == len(table.texts) == len(table.groups) == len(table.contexts) == len(table.parts) == 45
    assert table.targets.dtype == np.float64
    assert table.targets[7] == 0.7
    assert table.contexts[7] == ("turn 0", "turn 1", "turn 2")
    assert list(table.parts) == [part_of(group, 0) for group in table.groups]
    short = load_task(made, WIND, DataUse(context="previous"), "all")
    assert (short.contexts[7], short.contexts[0]) == (("turn 2",), ())
    assert short.digest != table.digest
    mood = load_task(made, MOOD, DataUse(), "all")
    assert mood.targets.dtype == np.int64
    assert mood.targets[:4].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("splits", ["family", "paper"])
def test_manual_labels_keep_every_row_in_its_part(tmp_path: Path, data: Path, splits: str) -> None:
    made = prepare(KITES, data, tmp_path / "cache")
    use = DataUse(splits=splits)  # type: ignore[arg-type]
    everything, manual = (load_task(made, MOOD, use, labels) for labels in ("all", "manual"))
    parts = dict(zip(everything.ids, everything.parts, strict=True))
    assert len(manual.ids) == 40
    assert all(parts[id] == part for id, part in zip(manual.ids, manual.parts, strict=True))
    assert manual.digest != everything.digest


def test_no_labels_at_all(tmp_path: Path, data: Path) -> None:
    def automatic(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
        for item in rows(paths):
            yield replace(item, automatic=frozenset({"mood"})) if isinstance(item, Example) else item

    made = prepare(with_form(read=automatic), data, tmp_path / "cache")
    with pytest.raises(DataError, match="must have labelled examples"):
        load_task(made, MOOD, DataUse(), "manual")


def test_drift_is_an_error(tmp_path: Path, data: Path) -> None:
    right = {"mood": (33.0, 17.0), "wind": (2.4, 1.438)}
    prepare(with_form(recorded=right), data, tmp_path / "right")
    for changes, word in (
        ({"n_examples": 51}, "must give 51 examples"),
        ({"recorded": {"mood": (34, 16)}}, r"must give \(34, 16\)"),
        ({"recorded": {"wind": (2.4, 1.5)}}, "mean and deviation"),
    ):
        with pytest.raises(DataError, match=word):
            prepare(with_form(**changes), data, tmp_path / "cache")
    (data / "kites.csv").write_text("altered")
    prepare(with_form(n_examples=51), data, tmp_path / "cache")  # other files may give other counts


@pytest.mark.parametrize(("n_bad", "partial", "fails"), [(2, False, False), (3, False, True), (49, True, False)])
def test_too_many_bad_rows(tmp_path: Path, data: Path, n_bad: int, partial: bool, fails: bool) -> None:
    def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
        yield from (item for item in rows(paths) if isinstance(item, Example))
        yield from (Reject(file="kites.csv", row=row, reason="is bad") for row in range(n_bad))

    dataset = with_form(read=read, partial=partial)
    if fails:
        with pytest.raises(DataError, match="at most 5% bad rows, but has 3 beside 50 good ones"):
            prepare(dataset, data, tmp_path / "cache")
    else:
        assert prepare(dataset, data, tmp_path / "cache").meta.n_rejects == n_bad


def test_each_reason_of_bad_rows_is_reported_once(tmp_path: Path, data: Path) -> None:
    def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
        yield from (Reject(file="kites.csv", row=row, reason=f"is bad {row % 7}") for row in range(1, 50))

    with pytest.raises(DataError, match=r"row 1: is bad 1 \(7 rows\); kites\.csv row 2: is bad 2") as caught:
        prepare(with_form(read=read), data, tmp_path / "cache")
    assert "row 5: is bad 5 (7 rows); give the right file" in str(caught.value)


def test_rows_left_out_are_no_bad_rows(tmp_path: Path, data: Path) -> None:
    def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject | LeftOut]:
        yield from rows(paths)
        yield from (LeftOut(file="kites.csv", row=row, label="Other") for row in range(500))

    meta = prepare(with_form(read=read), data, tmp_path / "cache").meta
    assert (meta.n_examples, meta.n_rejects, meta.left_out) == (50, 1, {"Other": 500})


def test_no_examples_and_repeated_ids(tmp_path: Path, data: Path) -> None:
    only_bad = with_form(read=lambda paths: iter([Reject(file="kites.csv", row=1, reason="is bad")]))
    with pytest.raises(DataError, match=r"gives none and 1 bad rows, such as kites\.csv row 1: is bad"):
        prepare(only_bad, data, tmp_path / "cache")
    with pytest.raises(DataError, match="a different id, but two have e0"):
        prepare(with_form(read=lambda paths: iter([*rows(paths), *rows(paths)])), data, tmp_path / "cache")
    with pytest.raises(DataError, match="fly one"):
        prepare(KITES, tmp_path / "nothing", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["checksums.json"]


@pytest.mark.parametrize("damage", ["cut", "lost", "unlisted"])
def test_damaged_preparations_are_made_again(tmp_path: Path, data: Path, damage: str) -> None:
    made = prepare(KITES, data, tmp_path / "cache")
    parquet, meta = made.folder / "examples.parquet", made.folder / "meta.json"
    whole = parquet.read_bytes()
    if damage == "cut":
        parquet.write_bytes(whole[:-9])
    elif damage == "lost":
        parquet.unlink()
    else:
        meta.write_text("{}")
    again = prepare(KITES, data, tmp_path / "cache")
    assert again.folder == made.folder
    assert parquet.read_bytes() == whole
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "examples.parquet",
        "meta.json",
        "rejects.jsonl",
        "split.json",
    ]


def test_two_at_once_leave_one_folder(tmp_path: Path, data: Path) -> None:
    barrier = threading.Barrier(4)

    def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
        barrier.wait(timeout=20)
        yield from rows(paths)

    made: list[Prepared] = []
    dataset = with_form(read=read)
    threads = [
        threading.Thread(target=lambda: made.append(prepare(dataset, data, tmp_path / "cache"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({prepared.folder for prepared in made}) == 1
    assert len(made) == 4
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["checksums.json", made[0].folder.name]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StoreError, match="No space left on device"):
        prepare(KITES, data, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["checksums.json"]


def test_the_data_may_be_gone_once_it_is_loaded(tmp_path: Path, data: Path) -> None:
    made = prepare(KITES, data, tmp_path / "cache")
    before = load_task(made, MOOD, DataUse(), "all")
    shutil.rmtree(data)
    assert load_task(made, MOOD, DataUse(), "all").texts == before.texts
