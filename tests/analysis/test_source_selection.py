"""Ways to choose sources: their measures on a hand-made target, ties, and what is left out of what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from empslurm.analysis import source_selection as selection
from empslurm.analysis.source_prediction import Prior, Variances
from tests.analysis.test_source_prediction import HELPFUL, grid

PRIOR = Prior(
    variances=Variances(popularity=1e-3, level=1e-3, slope=1e-4, common=1e-4, rest=1e-3), common=0.01, noise=4e-4
)
SCORES = np.array([0.5, 0.8, 0.6, 0.7])


def measured(values: list[float], scores: np.ndarray = SCORES, sign: int = 1) -> dict[str, float]:
    found = selection.of_target(np.array(values), scores, 0.55, sign, np.random.default_rng(1))
    return dict(zip(selection.MEASURES, found.tolist(), strict=True))


def test_the_measures_of_one_target() -> None:
    best = measured([1, 4, 2, 3])
    assert best == pytest.approx({"tau": 1, "ndcg": 1, "regret_1": 0, "regret_3": 0, "regret_5": 0})
    worst = measured([4, 1, 3, 2])
    discount = 1 / np.log2([2, 3, 4, 5])
    assert worst["tau"] == pytest.approx(-1)
    assert worst["ndcg"] == pytest.approx([0, 0.1, 0.2, 0.3] @ discount / ([0.3, 0.2, 0.1, 0] @ discount))
    assert worst["regret_1"] == pytest.approx(100 * (0.8 - 0.5) / 0.8)
    assert worst["regret_3"] == pytest.approx(100 * (0.8 - 0.7) / 0.8)
    assert worst["regret_5"] == 0
    assert measured([1, 4, 2, 3], np.array([0.5, 0.2, 0.4, 0.3]), -1)["tau"] == pytest.approx(
        1
    )  # an error: less is better


def test_equal_values_are_a_random_order() -> None:
    found = measured([0, 0, 0, 0])
    assert found["tau"] == 0
    assert found["regret_1"] == pytest.approx(100 * np.mean(0.8 - SCORES) / 0.8, rel=0.25)
    assert measured([np.nan, np.nan, np.nan, 1])["regret_1"] == pytest.approx(100 * 0.1 / 0.8)


def test_what_cannot_be_measured_is_nan() -> None:
    assert np.isnan(list(measured([1, 2, 3, 4], np.array([0.5, np.nan, np.nan, np.nan])).values())).all()
    same = measured([1, 2, 3, 4], np.full(4, 0.5))
    assert np.isnan([same["tau"], same["ndcg"]]).all()
    assert same["regret_1"] == 0
    nothing = selection.quality("none", [], np.random.default_rng(1))
    assert np.isnan(nothing.mean).all()


def test_intervals_are_over_targets_and_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(30, 5))
    one = selection.quality("one", list(shared + 0.5), np.random.default_rng(1))
    other = selection.quality("other", list(shared), np.random.default_rng(1))
    assert (one.low < one.mean).all()
    assert (one.mean < one.high).all()
    mean, low, high = selection.difference(one, other, np.random.default_rng(1))
    assert [*mean, *low, *high] == pytest.approx([0.5] * 15)


def history(**changes: Any) -> selection.History:
    targets, _ = grid(np.random.default_rng(8), 10, **changes)
    return selection.History(
        targets=tuple(targets), n_sources=10, features=("first", "second", "third"), helpful=HELPFUL, prior=PRIOR
    )


def test_a_targets_values_do_not_depend_on_its_own_gains() -> None:
    made = history()
    other = replace(made.targets[3], gains=-5 * made.targets[3].gains)
    changed = replace(made, targets=(*made.targets[:3], other, *made.targets[4:]))
    before, after = selection.targets_left_out(made), selection.targets_left_out(changed)
    assert list(before) == ["model", "popularity", "first", "second", "third", "random order"]
    for way in before:
        assert before[way][3].tolist() == after[way][3].tolist()
    assert before["popularity"][2].tolist() != after["popularity"][2].tolist()


def test_a_sources_values_do_not_depend_on_its_own_gains() -> None:
    made = history()
    changed = replace(
        made, targets=tuple(replace(own, gains=np.where(own.sources == 4, 9.0, own.gains)) for own in made.targets)
    )
    before, after = selection.sources_left_out(made), selection.sources_left_out(changed)
    assert "popularity" not in before
    for own, one, other in zip(made.targets, before["model"], after["model"], strict=True):
        assert one[own.sources == 4] == pytest.approx(other[own.sources == 4])


def tau(found: dict[str, list[np.ndarray]], way: str, made: selection.History) -> float:
    rows = [
        selection.of_target(values, own.gains, 0.0, 1, np.random.default_rng(1))
        for values, own in zip(found[way], made.targets, strict=True)
    ]
    return float(selection.quality(way, rows, np.random.default_rng(1)).mean[0])


def test_the_model_finds_what_helps_and_says_when_it_is_popularity_alone() -> None:
    popular = history(popularity=0.06, slopes=(0.0, 0.0, 0.0))
    found = selection.targets_left_out(popular)
    assert tau(found, "model", popular) == pytest.approx(tau(found, "popularity", popular), abs=0.1)
    assert tau(found, "popularity", popular) > 0.5 > 0.3 > tau(found, "first", popular)
    by_feature = history(popularity=0.0, slopes=(0.06, 0.0, 0.0))
    found = selection.targets_left_out(by_feature)
    assert tau(found, "model", by_feature) > 0.5 > 0.3 > tau(found, "popularity", by_feature)
    new = selection.sources_left_out(by_feature)
    assert tau(new, "model", by_feature) > 0.5
