"""The order of sources where it was planted in tables of results, which train nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from empslurm.errors import UsageError
from empslurm.suggestion import words
from tests.project import Project
from tests.suggestion.made import HELPS, suggested, table

OWN = {"one": 0.0, "two": -0.2, "three": 0.05, "four": 0.0, "five": 0.25}


def test_popularity_orders_the_sources_of_a_target_that_no_table_has(empty: Project, tmp_path: Path) -> None:
    found = suggested(empty, "seven", grids=[table(tmp_path / "t.csv")])
    (ranking,) = found.rankings
    assert [one.source for one in ranking.candidates] == list(HELPS)
    assert all(one.low < one.expected < one.high for one in ranking.candidates)
    assert all(math.isnan(one.seconds) and not one.tried for one in ranking.candidates)
    assert [problem for problem in found.problems if "has no result of seven: only what its sources gave" in problem]
    assert (found.metric, found.readings.n_texts) == ("", {})
    assert not (tmp_path / "runs").exists()


def test_two_settings_of_a_table_are_two_rankings_that_do_not_mix(empty: Project, tmp_path: Path) -> None:
    reverse = dict(zip(HELPS, reversed(HELPS.values()), strict=True))
    alone = suggested(empty, "seven", grids=[table(tmp_path / "alone.csv", {"first": HELPS})]).rankings[0]
    both = suggested(empty, "seven", grids=[table(tmp_path / "both.csv", {"first": HELPS, "second": reverse})])
    first, second = both.rankings
    assert first.setting.endswith("first")
    assert second.setting.endswith("second")
    assert [one.source for one in first.candidates] == list(HELPS)
    assert [one.source for one in second.candidates] == list(reversed(HELPS))
    assert [one.expected for one in first.candidates] == [one.expected for one in alone.candidates]
    assert set(both.frame()["setting"]) == {first.setting, second.setting}


def test_a_targets_own_runs_move_its_ranking_but_no_popularity(empty: Project, tmp_path: Path) -> None:
    plain = suggested(empty, "one", grids=[table(tmp_path / "plain.csv")]).rankings[0]
    moved = suggested(empty, "one", grids=[table(tmp_path / "moved.csv", own=OWN)]).rankings[0]
    by_name = [{one.source: one for one in ranking.candidates} for ranking in (plain, moved)]
    assert plain.n_targets == moved.n_targets == len(HELPS) - 1
    for source in set(HELPS) - {"one"}:
        assert by_name[0][source].popularity == by_name[1][source].popularity
        assert by_name[1][source].tried
    assert plain.candidates[0].source == "two"
    assert moved.candidates[0].source == "five"
    assert {reason.feature for reason in moved.candidates[0].reasons} >= {"own_runs", "popularity"}


def test_the_reasons_tell_a_source_from_the_mean_source(empty: Project, tmp_path: Path) -> None:
    (ranking,) = suggested(empty, "one", grids=[table(tmp_path / "t.csv")]).rankings
    mean = sum(one.expected for one in ranking.candidates) / len(ranking.candidates)
    for one in ranking.candidates:
        assert sum(reason.part for reason in one.reasons) == pytest.approx(one.expected - mean)
        assert [abs(reason.part) for reason in one.reasons] == sorted(
            (abs(reason.part) for reason in one.reasons), reverse=True
        )


def test_more_sources_than_there_are_cannot_be_the_best(empty: Project, tmp_path: Path) -> None:
    (ranking,) = suggested(empty, "seven", grids=[table(tmp_path / "t.csv")], k=99).rankings
    assert ranking.k == len(HELPS)
    assert {one.best for one in ranking.candidates} == {1.0}


def test_an_error_is_ranked_in_percent_and_less_is_better(empty: Project, tmp_path: Path) -> None:
    (ranking,) = suggested(empty, "seven", grids=[table(tmp_path / "t.csv", metric="mae")]).rankings
    assert ranking.percent
    assert [one.source for one in ranking.candidates] == list(reversed(HELPS))
    assert words.unit(ranking, "") == "percent of the baseline's error"


def test_one_seed_has_no_ceiling_and_says_so(empty: Project, tmp_path: Path) -> None:
    (single,) = suggested(empty, "seven", grids=[table(tmp_path / "t.csv", seeds=1)]).rankings
    assert single.one_seed
    assert single.choice is not None
    assert single.choice.ceiling is None
    assert any(text.startswith("Some targets have one seed") for text in words.cautions(single))
    (several,) = suggested(empty, "seven", grids=[table(tmp_path / "u.csv")]).rankings
    assert not several.one_seed
    assert several.choice is not None
    assert several.choice.ceiling is not None


def test_a_table_without_baselines_compares_nothing(empty: Project, tmp_path: Path) -> None:
    bare = table(tmp_path / "bare.csv", baselines=False)
    with pytest.raises(UsageError, match=r"there must be a source to suggest.*must compare a transfer with a baseline"):
        suggested(empty, "one", grids=[bare])
    found = suggested(empty, "one", grids=[bare, table(tmp_path / "t.csv")])
    assert len(found.rankings) == 1
    (problem,) = found.problems
    assert "add its baselines: rows with a blank source" in problem


def test_few_targets_are_ranked_but_not_judged(empty: Project, tmp_path: Path) -> None:
    (ranking,) = suggested(empty, "seven", grids=[table(tmp_path / "t.csv", targets=("one", "two"))]).rankings
    assert (ranking.choice, ranking.calibrated, ranking.n_targets) == (None, False, 2)
    assert [one.source for one in ranking.candidates][-1] == "five"
    assert any(text.startswith("Whether such rankings can be trusted is not known") for text in words.cautions(ranking))
