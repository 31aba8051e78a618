"""`explain` of cells that ran, of planned cells, and of two manifests."""

import json
from pathlib import Path
from typing import Any

import pytest

from empslurm.store.runs import RunsRoot
from tests.cli.test_errors import call, problems
from tests.gather.grids import baseline, finish

MANIFEST = "name: {name}\ntasks: [epitome_er, {other}]\nseeds: {seeds}\nbackbone: tiny\ntraining: {{lr: {lr}}}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three manifests: `wide` has a seed more than `small`, `other` another task and learning rate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("EMPSLURM_RUNS", raising=False)
    (tmp_path / "manifests").mkdir()
    for name, other, seeds, lr in (
        ("small", "news_empathy", [1], 1e-3),
        ("wide", "news_empathy", [1, 2], 1e-3),
        ("other", "news_distress", [1], 2e-3),
    ):
        text = MANIFEST.format(name=name, other=other, seeds=seeds, lr=f"{lr:.1e}")
        (tmp_path / "manifests" / f"{name}.yaml").write_text(text)
    return tmp_path


def document(*words: str) -> dict[str, Any]:
    status, out, err = call("explain", *words, "--json")
    assert (status, err) == (0, "")
    value: dict[str, Any] = json.loads(out)
    return value


def test_planned_cells_need_not_have_run(here: Path) -> None:
    value = document("epitome_er-s1", "epitome_er-s2", "--manifest", "wide")
    assert [cell.rpartition("-")[0] for cell in value["cells"]] == ["epitome_er-s1", "epitome_er-s2"]
    assert value["differences"] == [{"field": "seed", "first": 1, "second": 2}]
    (sentence,) = problems("explain", "epitome_er-s1", "epitome_er-s2", expect=2)
    assert "--manifest" in sentence
    (sentence,) = problems("explain", "epitome_er-s1", "epitome_er-s3", "--manifest", "wide", expect=2)
    assert "no cell of wide" in sentence


def test_a_cell_that_ran_is_compared_with_one_that_is_planned(here: Path) -> None:
    """Why a finished cell is not reused: what its manifest asks for now."""
    root = RunsRoot(here / "runs")
    cell = baseline("epitome_er")
    finish(root, cell)
    value = document(cell.id, "epitome_er-s2", "--manifest", "wide")
    assert value["cells"][0] == cell.id
    assert {"field": "seed", "first": cell.seed, "second": 2} in value["differences"]


def test_manifests_share_cells(here: Path) -> None:
    value = document("small", "wide")
    assert len(value["shared"]) == 4
    assert (value["pairs"], value["differences"], value["first_only"]) == ([], [], [])
    assert len(value["second_only"]) == 4
    status, out, _ = call("explain", "small", "wide")
    assert status == 0
    assert "4 cells are the same in small and wide" in out
    assert "4 cells are only in wide (2 baseline, 2 transfer)" in out


def test_manifests_differ_by_fields_once_for_all_cells(here: Path) -> None:
    value = document("small", "manifests/other.yaml")
    assert value["manifests"] == ["small", "other"]
    assert value["shared"] == []
    assert len(value["pairs"]) == 1
    (change,) = value["differences"]
    assert (change["field"], change["first"], change["second"]) == ("training.lr", 1e-3, 2e-3)
    assert change["pairs"] == value["pairs"]
    assert len(value["first_only"]) == len(value["second_only"]) == 3
    status, out, _ = call("explain", "small", "other")
    assert status == 0
    assert "training.lr" in out


def test_a_changed_source_is_no_difference_of_its_own(here: Path) -> None:
    """Of transfers the parent's id follows from what changed in the source."""
    text = (here / "manifests" / "small.yaml").read_text().replace("1.0e-03", "3.0e-03")
    (here / "later.yaml").write_text(text)
    value = document("small", "later.yaml")
    assert value["manifests"] == ["small", "later.yaml"]
    assert [change["field"] for change in value["differences"]] == ["training.lr"]
    assert len(value["pairs"]) == 4


def test_a_manifest_is_not_compared_with_a_cell(here: Path) -> None:
    (sentence,) = problems("explain", "small", "epitome_er-s1", expect=2)
    assert "two cells or two manifests" in sentence
    assert "'epitome_er-s1'" in sentence
