"""The verb `suggest`: the answer first, in any terminal, one document for programs, a sentence for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from empslurm.cli import main
from empslurm.suggestion import answer, reading
from tests.project import ROOT, Project
from tests.suggestion import made
from tests.suggestion.made import FEW, GRID, HELPS, table

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return made.read(tmp_path_factory)


def status(words: list[str]) -> int:
    """The exit status, whoever ends the call."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def words_of(folder: Path, *words: str) -> list[str]:
    return ["--runs", str(folder / "runs"), "--data", str(folder / "data"), "suggest", *words]


def refused(capsys: Captured, folder: Path, *words: str, status_is: int = 2) -> str:
    """What is said of a mistake, in one line."""
    assert status(words_of(folder, *words)) == status_is
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return " ".join(said.err.split())


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    command = line.replace("EMPSLURM", f"{sys.executable} -m empslurm")
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


# ---- own cells -------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_the_answer_is_first_and_what_it_cost_is_last(
    read: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.few(monkeypatch)
    monkeypatch.setenv("COLUMNS", "100")
    before = read.files()
    assert main(words_of(read.path, "hope")) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith(("For hope, try ", "No source is expected to help hope"))
    assert any("expected improvement, in f1_macro" in line for line in lines)
    assert all(any(line.split()[:1] == [source] for line in lines) for source in GRID)
    text = " ".join(said.out.split())
    assert f"4 adapters read {FEW} training texts of hope, and some of 4 finished targets" in text
    assert "Nothing was trained." in text
    assert "Some targets have one seed" in text
    assert str(read.path / "runs" / "suitability") in "".join(lines[-2:])
    assert read.files() == before


@pytest.mark.heavy
def test_programs_get_one_document(read: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    made.few(monkeypatch)
    assert main([*words_of(read.path, "hope", "-k", "2"), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    (ranking,) = document["rankings"]
    assert (document["target"], document["metric"], document["written"]) == ("hope", "f1_macro", None)
    assert (ranking["k"], ranking["setting"], ranking["n_targets"]) == (2, "", 4)
    assert {one["source"] for one in ranking["sources"]} == set(GRID)
    assert document["n_texts"] == dict.fromkeys(("hope", *GRID), FEW)
    assert document["seconds_now"] == 0
    assert {one["way"] for one in ranking["ways"]} >= {"model", "popularity", "log_me"}


@pytest.mark.heavy
def test_a_target_of_the_grid_is_marked_as_tried(
    read: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.few(monkeypatch)
    assert main(words_of(read.path, "condolence")) == 0
    said = capsys.readouterr().out
    assert "*: its transfer to this target has finished; its own runs count." in said
    assert "conv_empathy *" in said


@pytest.mark.heavy
def test_the_next_manifest_is_written_and_its_command_is_said(
    read: Project, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.few(monkeypatch)
    file = tmp_path / "next.yaml"
    assert main([*words_of(read.path, "hope", "-k", "1", "--write", str(file), "--detect", "0.1"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert (written["file"], written["n_cells"], written["n_to_run"]) == (str(file), 9, 8)
    assert written["why"] == "3 seeds, since no finished target has the same metric, so the noise of a run is not known"
    assert written["hours"] > 0
    file.unlink()
    assert main(words_of(read.path, "hope", "-k", "1", "--write", str(file))) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"empslurm submit {file}"
    assert "8 of its 9 cells are left to run" in " ".join(said.split())


@pytest.mark.heavy
def test_another_process_says_the_same(read: Project, tmp_path: Path) -> None:
    """With the samples that users have, on a copy, in a process of its own."""
    project = made.copy(read, tmp_path / "copy")
    file = str(table(tmp_path / "results.csv"))
    document = project.json("suggest", "hope", "--cells", "condolence-s1,conv_empathy-s1", "--from", file)
    own, of_table = ({one["source"] for one in ranking["sources"]} for ranking in document["rankings"])
    assert (own, of_table) == ({"condolence", "conv_empathy"}, set(HELPS))
    assert FEW < document["n_texts"]["hope"] <= reading.MOST_OF_TARGET
    assert document["seconds_now"] > 0


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_of_results_is_enough(tmp_path: Path, capsys: Captured) -> None:
    file = table(tmp_path / "results.csv")
    assert main([*words_of(tmp_path, "seven", "--from", str(file)), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metric"] is None
    (ranking,) = document["rankings"]
    assert [one["source"] for one in ranking["sources"]] == list(HELPS)
    assert ranking["ceiling"]["way"] == "half of the seeds"
    assert [line for line in document["left_out"] if "has no result of seven" in line]
    assert not (tmp_path / "runs").exists()


def test_settings_of_a_table_are_printed_apart(tmp_path: Path, capsys: Captured) -> None:
    reverse = dict(zip(HELPS, reversed(HELPS.values()), strict=True))
    file = table(tmp_path / "results.csv", {"small model": HELPS, "large model": reverse})
    assert main(words_of(tmp_path, "seven", "-k", "1", "--from", str(file))) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("For seven, try ") == 2
    assert "small model For seven, try one first" in said
    assert "large model For seven, try five first" in said


@pytest.mark.parametrize("columns", ["40", "60", "200"])
def test_no_line_is_wider_than_the_terminal(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    file = table(tmp_path / "r.csv")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(tmp_path)
    assert main(words_of(Path(), "seven", "--from", file.name)) == 0
    said = capsys.readouterr().out
    assert max(map(cell_len, said.splitlines())) <= int(columns)
    assert all(source in said for source in HELPS)


@pytest.mark.heavy
def test_in_a_pipe_without_colours(tmp_path: Path) -> None:
    table(tmp_path / "r.csv")
    done = shell(
        "EMPSLURM suggest seven --from r.csv | cat; echo ${PIPESTATUS[0]}", tmp_path, NO_COLOR="1", COLUMNS="60"
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[0].startswith("r")
    assert "For seven, try one, two and three first" in " ".join(done.stdout.split())
    done = shell(
        "EMPSLURM suggest seven --from r.csv 2>/dev/null | head -1 > /dev/null; echo ${PIPESTATUS[0]}", tmp_path
    )
    assert done.stdout == "0\n"


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_a_number_that_is_none_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert "argument -k: must be a whole number of 1 or more, but is '0'; write for example 3" in refused(
        capsys, tmp_path, "hope", "-k", "0"
    )
    assert "argument -k: must be a whole number of 1 or more, but is 'x'" in refused(
        capsys, tmp_path, "hope", "-k", "x"
    )
    for wrong in ("0", "-1", "inf", "nan"):
        said = refused(capsys, tmp_path, "hope", "--write", "n.yaml", f"--detect={wrong}")
        assert f"argument --detect: must be a number above 0, but is {wrong!r}" in said


def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any) -> None:
        raise AssertionError("no work should be done")

    monkeypatch.setattr(answer, "answer", work)
    (tmp_path / "there.yaml").write_text("mine")
    said = refused(capsys, tmp_path, "hope", "--write", str(tmp_path / "there.yaml"))
    assert "must not exist yet, but does; give another name, or delete it" in said
    said = refused(capsys, tmp_path, "hope", "--write", str(tmp_path / "next.json"))
    assert "must end with .yaml to be a manifest, but does not" in said
    said = refused(capsys, tmp_path, "hope", "--detect", "0.1")
    assert "--detect must come with --write, but does not" in said
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_what_is_named_must_be_usable(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "folder").mkdir()
    said = refused(capsys, tmp_path, "hope", "--from", str(tmp_path / "folder"))
    assert "must be a runs root to learn from" in said
    assert "is a search; name a grid" in refused(capsys, tmp_path, "hope", "--from", "search")
    assert "must be a card or a folder of cards" in refused(capsys, tmp_path, "hope", "--card", str(tmp_path / "no"))
    assert "did you mean full_grid" in refused(capsys, tmp_path, "hope", "--from", "full_grit")
    missing = str(tmp_path / "no.csv")
    assert "must be a table of results to learn from" in refused(capsys, tmp_path, "hope", "--from", missing)


def test_without_runs_it_is_said_what_to_do(tmp_path: Path, capsys: Captured) -> None:
    assert "run a grid first, or name one with --from" in refused(capsys, tmp_path, "hope")
    (tmp_path / "runs" / "cells").mkdir(parents=True)
    assert "run a grid first, or name one with --from" in refused(capsys, tmp_path, "hope")


@pytest.mark.heavy
def test_an_unknown_task_of_own_cells_is_refused(read: Project, capsys: Captured) -> None:
    said = refused(capsys, read.path, "hoppe")
    assert "'hoppe' must be a known task, or that of a card that --card names, but is not; did you mean hope?" in said
    assert status([*words_of(read.path, "hoppe"), "--json"]) == 2
    assert "did you mean hope" in json.dumps(json.loads(capsys.readouterr().out)["error"])
