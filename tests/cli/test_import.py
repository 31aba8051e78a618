"""`import`: what people and programs are told, exit codes, wrong input; and that submit and gather use the cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from empslurm import api
from empslurm.cells import Cell
from empslurm.cli import main
from empslurm.store.runs import RunsRoot
from tests import schemas
from tests.gather.grids import finish, grid

Captured = pytest.CaptureFixture[str]
TASKS = ("epitome_er", "news_empathy")
MANIFEST = "name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\n"


@pytest.fixture
def there(tmp_path: Path) -> tuple[RunsRoot, list[Cell]]:
    root, cells = RunsRoot(tmp_path / "there"), grid(TASKS, seeds=(1, 2))
    for cell in cells:
        finish(root, cell)
    return root, cells


def words(folder: Path, *more: str) -> list[str]:
    return ["--runs", str(folder / "here"), "import", *more]


def document(given: list[str], capsys: Captured, expect: int = 0) -> Any:
    capsys.readouterr()
    assert main([*given, "--json"]) == expect
    found = json.loads(capsys.readouterr().out)
    schemas.check(given, found)
    return found


def said(given: list[str], capsys: Captured, expect: int = 0) -> str:
    capsys.readouterr()
    assert main(given) == expect
    return " ".join(capsys.readouterr().out.split())


def test_people_are_told_what_was_taken(there: tuple[RunsRoot, list[Cell]], tmp_path: Path, capsys: Captured) -> None:
    root, cells = there
    one = cells[0]
    new = grid(TASKS, seeds=(9,))[0]
    root.cell(new.id).create(new)
    first = said(words(tmp_path, str(root.path), "--dry-run"), capsys)
    assert first.startswith(f"8 cells would be taken into {tmp_path / 'here'}: 8 linked, ")
    assert not (tmp_path / "here").exists()
    done = said(words(tmp_path, str(root.path)), capsys)
    assert done.startswith(f"8 cells were taken into {tmp_path / 'here'}: 8 linked, ")
    assert "1 cell has no result there, and is left." in done
    assert "`empslurm gather` and `empslurm submit` now treat them as their own." in done
    again = said(words(tmp_path, str(root.path)), capsys)
    assert again.startswith("No cell was taken into ")
    assert "8 cells are here already, with the same scores." in again
    assert RunsRoot(tmp_path / "here").cell(one.id).result() is not None


def test_a_changed_cell_ends_with_status_1_and_is_named(
    there: tuple[RunsRoot, list[Cell]], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cells = there
    path = root.cell(cells[0].id).path / "output-0001" / "adapter" / "adapter.safetensors"
    path.write_bytes(b"other")
    finish(RunsRoot(tmp_path / "here"), cells[1], skill=0.2)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words(tmp_path, str(root.path))) == 1
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert "1 cell was refused:" in text
    assert "1 cell differs from the cell here:" in text
    assert "adapter.safetensors must match its checksum in result.json" in text
    assert [line for line in lines if cell_len(line) > 80 and "/" not in line] == []
    found = document(words(tmp_path, str(root.path)), capsys, expect=1)
    assert found["counts"] == {
        **dict.fromkeys(("linked", "copied", "completed", "not compared", "running", "unfinished"), 0),
        "here": 6,
        "differs": 1,
        "refused": 1,
    }
    assert {cell["fate"]: cell["id"] for cell in found["cells"] if cell["why"]} == {
        "refused": cells[0].id,
        "differs": cells[1].id,
    }


def test_wrong_input_is_a_sentence(there: tuple[RunsRoot, list[Cell]], tmp_path: Path, capsys: Captured) -> None:
    for name in ("nothing", str(tmp_path)):
        assert main(words(tmp_path, name)) == 2
        assert "must be a runs root (a folder with cells/) or a bundle" in " ".join(capsys.readouterr().err.split())
    assert main(["--runs", str(there[0].path), "import", str(there[0].path)]) == 2
    assert "must be another one" in capsys.readouterr().err


def test_submit_and_gather_use_imported_cells(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole manifest was run elsewhere: here nothing is left to run, and gather has all of it."""
    monkeypatch.setenv("PATH", "")
    manifest = tmp_path / "small.yaml"
    manifest.write_text(MANIFEST)
    root = RunsRoot(tmp_path / "there")
    for cell in api.planned(manifest, runs=root.path, data=tmp_path / "data").cells:
        finish(root, cell)
    assert document(words(tmp_path, str(root.path)), capsys)["counts"]["linked"] == 4
    common = ["--runs", str(tmp_path / "here"), "--data", str(tmp_path / "data")]
    sent = document([*common, "submit", str(manifest), "--profile", "local"], capsys)
    assert (sent["submitted"], sent["decisions"]) == (0, {"reuse": 4})
    found = document([*common, "gather", str(manifest)], capsys)
    assert (found["n_planned"], found["n_done"], found["missing"]) == (4, 4, [])
