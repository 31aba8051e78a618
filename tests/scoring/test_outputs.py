"""A stopped run resumes where it was, and refuses data that its note does not cover."""

import csv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from empslurm import files
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.scoring.inputs import Row
from empslurm.scoring.outputs import RowDigest, Work
from empslurm.scoring.records import columns
from empslurm.scoring.selection import Chosen

ROWS = [Row(file="", number=place, text=f"text {place}") for place in range(1, 7)]


def append(work: Work, digest: RowDigest, rows: list[Row]) -> None:
    for row in rows:
        digest.add(row)
    work.append([{"row": row.number} for row in rows], digest)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Four rows of six are written, then half a window more that the note does not cover."""
    work = Work(out=tmp_path / "out.jsonl", run="run")
    append(work, work.open(iter(ROWS)), ROWS[:2])
    work.close()
    work = Work(out=tmp_path / "out.jsonl", run="run")
    append(work, work.open(iter(ROWS)), ROWS[2:4])
    work.close()
    with open(work.part, "ab") as stream:
        stream.write(b'{"row": 5}\n{"ro')
    return work.out


def test_a_run_goes_on_after_what_its_note_vouches_for(stopped: Path) -> None:
    work = Work(out=stopped, run="run")
    left: Iterator[Row] = iter(ROWS)
    digest = work.open(left)
    assert [row.number for row in left] == [5, 6]
    append(work, digest, ROWS[4:])
    work.finish(())
    assert [line["row"] for line in files.read_lines(stopped)] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in stopped.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda work: work.part.write_bytes(b'{"row": 9}' + work.part.read_bytes()[10:]),
            DamagedError,
            "match its note",
        ),
        (lambda work: work.part.write_bytes(work.part.read_bytes()[:5]), DamagedError, "match its note"),
        (lambda work: work.part.unlink(), DamagedError, "match its note"),
        (lambda work: work.out.write_text("x"), UsageError, "must not exist"),
        (lambda work: work.note.write_text('{"run": "run"}'), DamagedError, "must be as it was written"),
        (lambda work: work.note.write_text("{"), DamagedError, "must hold JSON"),
    ],
)
def test_what_was_tampered_with_is_not_gone_on_with(stopped: Path, change, error, words: str) -> None:
    work = Work(out=stopped, run="run")
    change(work)
    with pytest.raises(error, match=words), closing(work):
        work.open(iter(ROWS))


def test_two_processes_never_write_one_output(tmp_path: Path) -> None:
    with (
        closing(Work(out=tmp_path / "out.jsonl", run="run")) as first,
        closing(Work(out=first.out, run="run")) as second,
    ):
        first.open(iter(ROWS))
        with pytest.raises(StoreError, match="another one holds it"):
            second.open(iter(ROWS))


@pytest.mark.parametrize(
    ("run", "rows", "words"),
    [
        ("run", [Row(file="", number=1, text="other"), *ROWS[1:]], "same input"),
        ("run", ROWS[:3], "same input"),
        ("other", ROWS, "same adapters"),
    ],
)
def test_another_input_or_other_adapters_are_refused(stopped: Path, run: str, rows: list[Row], words: str) -> None:
    with closing(Work(out=stopped, run=run)) as work, pytest.raises(UsageError, match=words):
        work.open(iter(rows))


def test_every_form_holds_the_same_columns(tmp_path: Path, chosen: Chosen) -> None:
    groups = chosen.groups
    labels = {"label": "1", "probabilities": {"0": 0.2, "1": 0.5, "2": 0.3}, "spread": None, "agreement": None}
    measures = {
        group.name: {
            **(labels if group.measure.kind == "classification" else {"value": 2.5, "spread": 0.1}),
            "flags": ["cut"],
        }
        for group in groups
    }
    found = {}
    for name in ("out.csv", "out.parquet"):
        work = Work(out=tmp_path / name, run="run")
        digest = work.open(iter(ROWS))
        work.append([{"row": 1, "n_tokens": 3, "measures": measures}, {"row": 2, "error": "a sentence"}], digest)
        work.finish(groups)
        if name.endswith("csv"):
            with open(work.out, newline="") as stream:
                found[name] = list(csv.DictReader(stream))
        else:
            found[name] = pq.read_table(work.out).to_pylist()
    for rows in found.values():
        assert list(rows[0]) == list(columns(groups))
        assert (rows[0]["epitome_er"], float(rows[0]["epitome_er:p:1"]), float(rows[0]["news_empathy"])) == (
            "1",
            0.5,
            2.5,
        )
        assert rows[0]["news_empathy:flags"] == "cut"
        assert rows[1]["error"] == "a sentence"
        assert not rows[1]["epitome_er"]


def test_kept_columns_have_one_type_and_lose_no_digit(tmp_path: Path) -> None:
    values: dict[str, list[object]] = {
        "whole": [1, None],
        "long": [2**60, 1],
        "beyond": [2**70, 1],
        "both": [2**60, 0.5],
        "truth": [True, 1],
        "nothing": [None, None],
    }
    work = Work(out=tmp_path / "out.parquet", run="run")
    digest = work.open(iter(ROWS))
    work.append([{"row": at, **{name: two[at] for name, two in values.items()}} for at in range(2)], digest)
    work.finish((), tuple(values))
    table = pq.read_table(work.out)
    assert {name: table[name].to_pylist() for name in values} == {
        "whole": [1, None],
        "long": [2**60, 1],
        "beyond": [str(2**70), "1"],
        "both": [str(2**60), "0.5"],
        "truth": ["true", "1"],
        "nothing": [None, None],
    }
