"""`gather --results` with several inputs: what people and programs are told, exit codes, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from empslurm.cli import main
from empslurm.store.runs import RunsRoot
from tests import schemas
from tests.gather import lab_tables
from tests.gather.grids import finish, grid
from tests.gather.lab_tables import HEAD, rows, write

Captured = pytest.CaptureFixture[str]
TASKS = ("epitome_er", "news_empathy")


def gathered(folder: Path, paths: list[Path], *more: str) -> list[str]:
    words = ["--runs", str(folder / "runs"), "--data", str(folder / "nothing"), "gather", "--results"]
    return [*words, *map(str, paths), *more]


def document(words: list[str], capsys: Captured, expect: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == expect
    found = json.loads(capsys.readouterr().out)
    schemas.check(words, found)
    return found


def refused(words: list[str], capsys: Captured, expect: int = 2) -> str:
    capsys.readouterr()
    assert main(words) == expect
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labs, the last one biased, gathered once."""
    folder = tmp_path_factory.mktemp("four")
    lab_tables.four(folder, shift=0.03)
    return folder


def paths(folder: Path) -> list[Path]:
    return [folder / f"{lab}.csv" for lab in lab_tables.FOUR]


def test_people_read_the_pooled_answer_first(four: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(gathered(four, paths(four))) == 0
    lines = capsys.readouterr().out.splitlines()
    said = " ".join(" ".join(lines).split())
    assert lines[0].startswith("Pooled over 4 labs, of 9 pairs, ")
    assert "Beware: west departs from the other labs" in said
    assert "Runs that count: east 24, north 24, south 24, west 24." in said
    assert [line for line in lines if cell_len(line) > 80 and "/" not in line] == []
    folder = four / "runs" / "gathered" / "east+north+south+west-results"
    assert lines[-1] == str(folder / "report.html")
    assert (folder / "forests" / "good--t1.svg").is_file()


def test_programs_read_the_labs_and_the_pairs(four: Path, capsys: Captured) -> None:
    found = document(gathered(four, paths(four)), capsys)
    assert [lab["departs"] for lab in found["labs"]] == [False, False, False, True]
    assert {pair["reason"] for pair in found["pooled"]} == {""}
    assert all(pair["low"] < pair["pooled"] < pair["high"] for pair in found["pooled"])
    assert found["disagreements"] == []
    assert {"pooled", "pooled-labs", "labs"} <= {table["name"] for table in found["tables"]}


def test_the_tables_are_printed_where_they_are_asked_for(four: Path, capsys: Captured) -> None:
    assert main(gathered(four, paths(four), "--tables")) == 0
    said = capsys.readouterr().out
    assert "Pooled over labs: does the source help?" in said
    assert "Who contributed what" in said


def test_one_input_has_no_word_about_labs(four: Path, capsys: Captured) -> None:
    found = document(gathered(four, paths(four)[:1]), capsys)
    assert not {"labs", "pooled", "disagreements"} & found.keys()


def test_labs_that_disagree_end_with_status_1(tmp_path: Path, capsys: Captured) -> None:
    first = [f"run-{at},{line}" for at, line in enumerate(rows((1, 2)))]
    changed = [line if not line.startswith("run-3,") else line.rsplit(",", 1)[0] + ",0.9" for line in first]
    files = [write(tmp_path, name, lines, f"id,{HEAD}") for name, lines in (("a", first), ("b", changed))]
    found = document(gathered(tmp_path, files), capsys, expect=1)
    assert {told["id"] for told in found["disagreements"]} == {"run-3"}
    assert {cell["id"]: cell["state"] for cell in found["missing"]} == {"run-3": "disagrees"}
    assert main(gathered(tmp_path, files)) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("Labs have different numbers under the same id for 1 run, which is left out of everything")
    assert (tmp_path / "runs" / "gathered" / "a+b-results" / "disagreements.csv").is_file()


def test_two_runs_roots_are_two_labs(tmp_path: Path, capsys: Captured) -> None:
    for name, seeds in (("north", (1, 2)), ("south", (3, 4))):
        root = RunsRoot(tmp_path / name / "runs")
        for cell in grid(TASKS, seeds=seeds):
            finish(root, cell, skill=0.9 if cell.source_task else 0.5)
    found = document(gathered(tmp_path, [tmp_path / "north" / "runs", tmp_path / "south" / "runs"]), capsys)
    assert [(lab["lab"], lab["kind"], lab["n_counted"]) for lab in found["labs"]] == [
        ("north", "runs root", 8),
        ("south", "runs root", 8),
    ]
    assert len(found["pooled"]) == 2
    assert all(pair["pooled"] is not None for pair in found["pooled"])
    assert found["n_done"] == 16


def test_wrong_input_is_a_sentence(four: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").mkdir()
    tables = paths(four)
    assert "is a folder without cells/" in refused(gathered(tmp_path, [tables[0], tmp_path / "empty"]), capsys)
    assert "must name different inputs" in refused(gathered(tmp_path, [tables[0], tables[0]]), capsys)
    for absent in ("nothing.csv", "nothing.zip"):
        assert f"{absent} must be" in (said := refused(gathered(tmp_path, [tables[0], tmp_path / absent]), capsys))
        assert "is not there; check the path" in said
    one_folder = ["--predictions", str(tmp_path / "empty")]
    assert "must name one folder per table" in refused(gathered(tmp_path, tables[:2], *one_folder), capsys)
    assert "must be a folder" in refused(gathered(tmp_path, tables[:1], "--predictions", "none"), capsys)
    assert "must have one input" in refused([*gathered(tmp_path, tables), "--published"], capsys)
    assert "must come with --results" in refused(["gather", *one_folder], capsys)
