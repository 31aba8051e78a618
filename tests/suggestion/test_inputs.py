"""What a suggestion is made from, and what is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

import empslurm
from empslurm.errors import ManifestError, UsageError
from empslurm.scoring import export, selection
from empslurm.scoring.quality import with_evidence
from empslurm.store.runs import RunsRoot
from tests.project import Project
from tests.suggestion.made import CARD, GRID, asked, table

CARDLESS = "name: nothing\ntasks: [kite_mood, hope]\npairs: [kite_mood -> hope]\nseeds: [1]\nbackbone: tiny\n"


@pytest.mark.heavy
def test_by_default_all_of_the_runs_root_counts(trained: Project) -> None:
    question = asked(trained, "hope")
    (grid,) = question.grids
    assert (grid.plan, grid.root.path) == (None, trained.path / "runs")
    assert sorted(member.measure.task for member in question.members) == sorted(GRID)
    assert (question.tables, question.problems) == ((), ())
    assert "hope" in question.registry.tasks


@pytest.mark.heavy
def test_the_manifest_whose_cells_are_named_is_the_grid_too(trained: Project) -> None:
    manifest = str(trained.path / "manifests" / "small.yaml")
    question = asked(trained, "hope", cells=[manifest])
    assert [grid.plan is not None for grid in question.grids] == [True]
    assert sorted(member.measure.task for member in question.members) == sorted(GRID)
    by_grid = asked(trained, "hope", grids=[manifest])
    assert [member.measure.cell for member in by_grid.members] == [member.measure.cell for member in question.members]


@pytest.mark.heavy
def test_cells_are_named_by_the_start_of_an_id(trained: Project, tmp_path: Path) -> None:
    question = asked(trained, "hope", cells=["condolence-s1", "conv_empathy-s1"], grids=[table(tmp_path / "t.csv")])
    assert [member.measure.task for member in question.members] == ["condolence", "conv_empathy"]
    assert question.grids == ()
    assert len(question.tables) == 1
    with pytest.raises(UsageError, match="no_such_cell"):
        asked(trained, "hope", cells=["no_such_cell"])


@pytest.mark.heavy
def test_exported_adapters_are_sources(trained: Project, tmp_path: Path) -> None:
    root = RunsRoot(trained.path / "runs")
    chosen = selection.of_cells([cell for cell in root.cells() if "--" not in cell.id], root)
    export.export(chosen, with_evidence(chosen), tmp_path / "exported")
    question = asked(trained, "hope", cells=[tmp_path / "exported"])
    assert sorted(member.measure.task for member in question.members) == sorted(GRID)
    assert all(member.result is None for member in question.members)


def test_without_runs_there_is_nothing(empty: Project) -> None:
    question = asked(empty, "hope")
    assert (question.grids, question.tables, question.members) == ((), (), ())


def test_a_card_is_read_once_and_its_task_is_known(empty: Project, tmp_path: Path) -> None:
    card = tmp_path / "kites.yaml"
    card.write_text(CARD)
    question = asked(empty, "kite_mood", cards=[card, card])
    assert question.registry.tasks["kite_mood"].title == "Kite Mood"
    assert question.cards == (card,)


@pytest.mark.parametrize("k", [0, -1])
def test_at_least_one_source_is_suggested(empty: Project, k: int) -> None:
    with pytest.raises(UsageError, match=f"k must be 1 or more, but is {k}"):
        asked(empty, "hope", k=k)
    with pytest.raises(UsageError, match="k must be 1 or more"):
        empslurm.suggest("hope", k=k, runs=empty.path, data=empty.path)


def test_a_folder_that_is_no_runs_root_is_refused(empty: Project, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="other must be a runs root to learn from, but has no folder `cells`"):
        asked(empty, "hope", grids=[tmp_path / "other"])


def test_a_search_is_no_grid(empty: Project) -> None:
    with pytest.raises(UsageError, match="must be a grid to learn from, but is a search; name a grid"):
        asked(empty, "hope", grids=["search"])
    with pytest.raises(UsageError, match="is a search"):
        asked(empty, "hope", cells=["search"])


def test_what_is_named_must_be_there(empty: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"card\.yaml must be a card or a folder of cards, but does not exist"):
        asked(empty, "hope", cards=[tmp_path / "card.yaml"])
    with pytest.raises(UsageError, match="did you mean full_grid"):
        asked(empty, "hope", grids=["full_grit"])
    with pytest.raises(UsageError, match=r"next\.yaml"):
        asked(empty, "hope", grids=[tmp_path / "next.yaml"])
    with pytest.raises(UsageError, match=r"nothing\.csv must be a table of results to learn from, but does not exist"):
        asked(empty, "hope", grids=[tmp_path / "nothing.csv"])
    (tmp_path / "cardless.yaml").write_text(CARDLESS)
    with pytest.raises(ManifestError, match="must be a known task"):
        asked(empty, "hope", grids=[tmp_path / "cardless.yaml"])
