"""The audit on small invented tables whose leaks are known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from empslurm.config import DataUse
from empslurm.errors import DataError
from empslurm.tasks.leakage import audit, audit_path
from empslurm.tasks.overlap import FLAG_SHARE, Overlap, flag, verdicts
from empslurm.tasks.prepare import Prepared, prepare
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Task
from empslurm.tasks.splits import part_of

Row = tuple[str, str, str, str]  # group, context, text, label


def groups(part: str, n_groups: int = 5) -> list[str]:
    """Names that the family's split puts into a part."""
    return [name for name in (f"g{n}" for n in range(2_000)) if part_of(name, 0) == part][:n_groups]


TRAIN, VALIDATION, TEST = groups("train", 40), groups("validation"), groups("test", 10)


def dataset(
    name: str, rows: Sequence[Row], folder: Path, *, family: str = "kites", kind: str = "classification"
) -> Dataset:
    task = Task(
        id=name,
        title=name,
        dataset=name,
        kind=kind,  # type: ignore[arg-type]
        labels=("a", "b", "c") if kind == "classification" else (),
        data_source="x",
        language_setting="y",
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows))

    def read(paths: Mapping[str, Path]) -> Any:
        for number, (group, context, text, label) in enumerate(json.loads(paths[f"{name}.json"].read_text())):
            labels: dict[str, str | float] = {name: label if kind == "classification" else float(label)}
            yield Example(
                id=f"{name}-{number}", group=group, context=(context,) if context else (), text=text, labels=labels
            )

    form = Form(name="own", files=(RawFile(name=f"{name}.json"),), read=read)
    return Dataset(
        id=name, title=name, family=family, tasks=(task,), forms=(form,), citation="", licence="", obtain="invent it"
    )


def made(tmp_path: Path, *datasets: Dataset) -> list[Prepared]:
    return [prepare(one, tmp_path / "data", tmp_path / "cache") for one in datasets]


def overlap(rows: Sequence[Overlap], source: str, target: str, splits: str = "family") -> Overlap:
    return next(row for row in rows if (row.source, row.target, row.splits) == (source, target, splits))


FILLER = [(group, "", f"nothing much happened to the {word} of {group}", "a") for group in TRAIN for word in ("kite",)]
LONG = "my red kite went over the garden gate and down into the old river again"


def test_chance_duplicates_are_counted_with_and_without_their_context(tmp_path: Path) -> None:
    rows: list[Row] = [
        *FILLER,
        (TRAIN[0], "I won the race.", "That's great!", "a"),
        (TRAIN[1], "It was late.", LONG, "b"),
        (TEST[0], "I won the race!", "thats great", "b"),  # equal, with its context
        (TEST[1], "I found a hat.", "That's great", "a"),  # equal by chance, without
        (TEST[2], "It was late", LONG + "s", "b"),  # near, with its context
        (TEST[3], "", "entirely on its own, this one", "c"),
        (VALIDATION[0], "", "nor is this one like another", "b"),
    ]
    found, _ = audit(made(tmp_path, dataset("one", rows, tmp_path / "data")), tmp_path / "cache")
    row = overlap(found.overlaps, "one", "one")
    assert (row.n_test, row.shared_groups, row.in_shared_groups) == (4, 0, 0)
    assert (row.exact, row.exact_context, row.exact_same_group, row.exact_by_chance) == (2, 1, 0, 2)
    assert (row.near, row.near_context) == (3, 2)
    assert row.share == 0.5
    own = [(one.test_id, one.train_id, one.kind) for one in found.duplicates if one.splits == "family"]
    ids = {kind: (test, train) for test, train, kind in own}
    assert set(ids) == {"exact", "exact+context", "near+context"}
    assert ids["near+context"] == ("one-44", "one-41")


def test_a_source_that_trains_on_another_tasks_test_groups_is_flagged(tmp_path: Path) -> None:
    """Under one family no group is shared; equal group names of two families do not count as shared."""
    first: list[Row] = [*FILLER, (TEST[0], "", LONG, "b")]
    second: list[Row] = [*FILLER, (TEST[0], "", LONG, "b")]
    datasets = [
        dataset("one", first, tmp_path / "data"),
        dataset("two", second, tmp_path / "data"),
        dataset("other", second, tmp_path / "data", family="others"),
    ]
    found, _ = audit(made(tmp_path, *datasets), tmp_path / "cache")
    assert overlap(found.overlaps, "one", "two").in_shared_groups == 0
    assert overlap(found.overlaps, "one", "two").share == 0
    leak = overlap(found.overlaps, "one", "two", "paper")
    assert leak.in_shared_groups > 0
    assert leak.exact_same_group == leak.exact > 0
    apart = overlap(found.overlaps, "one", "other", "paper")
    assert apart.in_shared_groups == 0
    assert apart.exact_by_chance == apart.exact > 0
    assert "one -> two (paper splits) leaks" in flag(leak)
    assert flag(overlap(found.overlaps, "one", "two")) == ""


def test_contradicting_and_unseen_labels_and_imbalance(tmp_path: Path) -> None:
    rows: list[Row] = [
        *FILLER,
        (TRAIN[0], "x", "same words", "a"),
        (TRAIN[1], "x", "Same words.", "b"),  # contradicts with its context
        (TRAIN[2], "y", "other words", "a"),
        (TRAIN[3], "z", "other words", "b"),  # contradicts without
        (TEST[0], "", "the only one of its label", "c"),
    ]
    ratings: list[Row] = [(group, "", text, "1.5" if label == "a" else "2") for group, _, text, label in rows]
    datasets = (
        dataset("one", rows, tmp_path / "data"),
        dataset("two", ratings, tmp_path / "data", kind="regression"),
    )
    found, _ = audit(made(tmp_path, *datasets), tmp_path / "cache")
    one, two = found.tasks
    assert (one.equal_texts, one.conflicting_texts, one.conflicting_with_context) == (2, 2, 1)
    assert one.unseen_labels["family"] == ("c",)
    assert (one.smallest_count, one.empty_labels) == (1, ())
    assert one.largest_share == pytest.approx(42 / 45)
    assert 0 < one.balance < 0.5
    assert (two.conflicting_texts, two.unseen_labels) == (2, {})
    assert one.truncated_share is None


def test_truncated_share_counts_the_whole_context_and_special_tokens(tmp_path: Path) -> None:
    rows: list[Row] = [*FILLER, (TEST[0], "one two three", "four five", "b"), (TEST[1], "", "one two three", "b")]
    length = {"backbone": "words", "max_length": 7, "specials_pair": 3, "specials": 2}
    prepared = made(tmp_path, dataset("one", rows, tmp_path / "data"))
    found, path = audit(
        prepared, tmp_path / "cache", count_tokens=lambda texts: [len(text.split()) for text in texts], length=length
    )
    # 40 fillers of 8 words, and 3 + 2 + 3 special tokens; 3 + 2 fit
    assert found.tasks[0].truncated_share == pytest.approx(41 / 42)
    assert path != audit_path(tmp_path / "cache", prepared, {**length, "max_length": 8})


def test_an_audit_is_made_once_and_read_by_plans(tmp_path: Path) -> None:
    rows: list[Row] = [
        *FILLER,
        *[(TEST[place], "", f"{text}", "b") for place, (_, _, text, _) in enumerate(FILLER[:9])],
    ]
    own = dataset("one", rows, tmp_path / "data")
    prepared = made(tmp_path, own)
    first, path = audit(prepared, tmp_path / "cache")
    stamp = path.stat().st_mtime_ns
    again, _ = audit(prepared, tmp_path / "cache")
    assert (again, path.stat().st_mtime_ns) == (first, stamp)
    raw = prepared[0].meta.raw_digest

    def ask(digest: str | None, use: DataUse) -> Any:
        return verdicts(tmp_path / "cache", {"one": own}, {"one": digest}, {"one": use})

    found = ask(raw, DataUse())
    assert found.unknown == ()
    assert found.overlaps["one", "one"] == overlap(first.overlaps, "one", "one")
    assert list(found.flags(0.5)) == [("one", "one")]
    assert ask(raw, DataUse(splits="paper")).overlaps["one", "one"].splits == "paper"
    assert ask("another", DataUse()).unknown == ("one",)
    assert ask(None, DataUse()).overlaps == {}
    path.write_text("{")
    assert ask(raw, DataUse()).unknown == ("one",)


def test_texts_are_in_no_file_of_an_audit(tmp_path: Path) -> None:
    rows: list[Row] = [*FILLER, (TEST[0], "", FILLER[0][2], "b")]
    _, path = audit(made(tmp_path, dataset("one", rows, tmp_path / "data")), tmp_path / "cache")
    assert "happened" not in path.read_text()


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have a task with examples"):
        audit([], tmp_path)


def test_the_threshold_is_of_test_examples() -> None:
    row = Overlap(
        splits="family",
        source="s",
        target="t",
        n_train=1,
        n_test=100,
        shared_groups=0,
        in_shared_groups=0,
        exact=50,
        exact_context=5,
        exact_same_group=0,
        near=60,
        near_context=6,
        near_same_group=0,
    )
    assert row.share == 0.06 > FLAG_SHARE
    assert flag(row)
    assert not flag(row, 0.06)
