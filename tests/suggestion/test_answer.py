"""From finished grids and trained adapters to a ranking, with nothing trained on the way."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

import empslurm
from empslurm.analysis.transferability import ESTIMATORS
from empslurm.errors import UsageError
from empslurm.report.source_choice import FEATURES
from empslurm.suggestion.words import cautions
from tests.project import Project
from tests.suggestion.made import CARD, GRID, HELPS, copy, suggested, table

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("few_texts")]
COLUMNS = ["setting", "source", "unit", "expected", "low", "high", "best", "reasons", "tried", "seconds", "popularity"]


def test_every_source_of_a_new_target_is_ranked_and_nothing_is_trained(read: Project) -> None:
    before = read.files()
    found = suggested(read, "hope", k=2)
    (ranking,) = found.rankings
    assert {one.source for one in ranking.candidates} == set(GRID)
    for one in ranking.candidates:
        assert one.low < one.expected < one.high
        assert 0 <= one.best <= 1
        assert not one.tried
        assert math.isfinite(one.popularity)
        assert all(math.isfinite(one.values[name]) for name in ESTIMATORS)
        assert one.seconds > 0
    assert [one.expected for one in ranking.candidates] == sorted(one.expected for one in ranking.candidates)[::-1]
    assert sum(one.best for one in ranking.candidates) == pytest.approx(2)
    assert (found.metric, ranking.k, ranking.n_targets, ranking.calibrated) == ("f1_macro", 2, 4, True)
    assert read.files() == before
    assert found.problems == ()


def test_a_target_of_the_grid_learns_from_the_others_and_from_its_own_runs(read: Project) -> None:
    (ranking,) = suggested(read, "news_empathy").rankings
    assert {one.source for one in ranking.candidates} == set(GRID) - {"news_empathy"}
    assert all(one.tried for one in ranking.candidates)
    assert ranking.n_targets == 3
    assert any(reason.feature == "own_runs" for reason in ranking.candidates[0].reasons)


def test_the_function_returns_the_frame_that_it_describes(read: Project) -> None:
    frame = empslurm.suggest("hope", runs=read.path / "runs", data=read.path / "data")
    assert list(frame.columns) == [*COLUMNS, *FEATURES]
    assert (frame[["setting", "source", "unit", "reasons"]].dtypes == "string").all()
    assert frame["tried"].dtype == bool
    numbers = ["expected", "low", "high", "best", "seconds", "popularity", *FEATURES]
    assert all(pd.api.types.is_float_dtype(frame[name]) for name in numbers)
    assert frame["expected"].is_monotonic_decreasing
    assert len(frame) == len(GRID)


def test_a_table_beside_the_cells_is_a_ranking_of_its_own(read: Project, tmp_path: Path) -> None:
    alone = empslurm.suggest("hope", runs=read.path / "runs", data=read.path / "data")
    both = empslurm.suggest(
        "hope", grids=[read.path / "runs", table(tmp_path / "t.csv")], runs=read.path / "runs", data=read.path / "data"
    )
    own = both[both["setting"] == ""].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone)
    assert set(both["source"][len(own) :]) == set(HELPS)


def test_a_grid_that_is_named_twice_counts_once(read: Project) -> None:
    manifest = read.path / "manifests" / "small.yaml"
    once, twice = (suggested(read, "hope", grids=grids) for grids in ([manifest], [manifest, read.path / "runs"]))
    assert once.rankings[0].n_targets == twice.rankings[0].n_targets == 4
    assert once.frame()["expected"].tolist() == pytest.approx(twice.frame()["expected"].tolist())


def test_without_the_targets_data_popularity_is_still_said(read: Project, tmp_path: Path) -> None:
    project = copy(read, tmp_path / "copy")
    shutil.rmtree(project.path / "data" / "hope")
    shutil.rmtree(project.path / "runs" / "suitability")
    shutil.rmtree(project.path / "runs" / "prepared")
    found = suggested(project, "hope")
    (problem,) = [one for one in found.problems if one.startswith("the training texts of hope were not read: ")]
    assert "hope" in problem
    for one in found.rankings[0].candidates:
        assert math.isfinite(one.popularity)
        assert math.isnan(one.values["log_me"])
        assert math.isnan(one.seconds)


def test_a_task_of_a_card_whose_rows_are_too_few_to_train_on_is_ranked_by_popularity(
    read: Project, tmp_path: Path
) -> None:
    project = copy(read, tmp_path / "copy")
    card = tmp_path / "kites.yaml"
    card.write_text(CARD)
    (project.path / "data" / "kite_mood").mkdir()
    (project.path / "data" / "kite_mood" / "kites.csv").write_text("said,mood\n")
    found = suggested(project, "kite_mood", cards=[card])
    assert any("the training texts of kite_mood were not read" in one for one in found.problems)
    assert all(math.isfinite(one.popularity) for one in found.rankings[0].candidates)


def test_a_transfer_that_is_named_is_no_source(read: Project) -> None:
    runs = read.path / "runs" / "cells"
    (transfer,) = (folder.name for folder in runs.glob("condolence--conv_emoint-*"))
    (alone,) = (folder.name for folder in runs.glob("conv_empathy-s1-*"))
    found = suggested(read, "hope", cells=[transfer, alone])
    assert set(found.sources.members) == {"conv_empathy"}
    (problem,) = found.problems
    assert problem.startswith("a source must be a task's own adapter")
    assert transfer in problem


def test_without_any_finished_transfer_features_alone_count(read: Project, tmp_path: Path) -> None:
    project = copy(read, tmp_path / "copy")
    for transfer in (project.path / "runs" / "cells").glob("*--*"):
        shutil.rmtree(transfer)
    found = suggested(project, "hope")
    (ranking,) = found.rankings
    assert {one.source for one in ranking.candidates} == set(ranking.strangers) == set(GRID)
    assert (ranking.n_targets, ranking.calibrated, ranking.choice, found.readings.now) == (0, False, None, 0)
    assert all(math.isnan(one.popularity) and one.low < one.expected < one.high for one in ranking.candidates)
    assert len({one.expected for one in ranking.candidates}) == len(GRID)
    assert any(text.startswith("No other target has a usable result") for text in cautions(ranking))


def test_a_source_that_no_transfer_was_tried_with_is_a_stranger(read: Project, tmp_path: Path) -> None:
    project = copy(read, tmp_path / "copy")
    for transfer in (project.path / "runs" / "cells").glob("condolence--*"):
        shutil.rmtree(transfer)
    (ranking,) = suggested(project, "hope").rankings
    assert ranking.strangers == ("condolence",)
    assert {one.source for one in ranking.candidates} == set(GRID)
    assert cautions(ranking)[-1] == "No other target has a result with condolence, whose popularity is unknown."


def test_an_unknown_target_of_own_cells_is_refused_with_the_nearest_name(read: Project) -> None:
    with pytest.raises(UsageError, match=r"'hoppe' must be a known task.*did you mean hope") as caught:
        suggested(read, "hoppe")
    assert ",," not in str(caught.value)


def test_where_nothing_can_be_a_source_it_is_said_what_to_do(empty: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there must be a source to suggest for hope.*run a grid first"):
        suggested(empty, "hope")
    (tmp_path / "runs" / "cells").mkdir(parents=True)
    with pytest.raises(UsageError, match="there must be a source to suggest for hope"):
        suggested(empty, "hope")


def test_a_target_that_is_the_only_source_of_a_table_has_none(empty: Project, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("source,target,seed,metric,value\n,b,1,accuracy,0.5\na,b,1,accuracy,0.6\n")
    with pytest.raises(UsageError, match="there must be a source to suggest for a"):
        suggested(empty, "a", grids=[file])
