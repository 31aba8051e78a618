"""Rankings in sentences, the answer first."""

from __future__ import annotations

from typing import Any

import pytest

from empslurm.suggestion.ranking import Candidate, Ranking, Reason
from empslurm.suggestion.words import cautions, in_words, listed, opening, unit


def candidate(source: str, expected: float, width: float, *reasons: tuple[str, float]) -> Candidate:
    return Candidate(
        source=source,
        expected=expected,
        low=expected - width,
        high=expected + width,
        best=0.5,
        tried=False,
        popularity=0.0,
        values={},
        reasons=tuple(Reason(feature=feature, part=part) for feature, part in reasons),
    )


def ranking(*candidates: Candidate, **changes: Any) -> Ranking:
    settings: dict[str, Any] = {
        "setting": "",
        "k": 2,
        "percent": False,
        "candidates": candidates,
        "n_targets": 0,
        "width": 1.0,
        "choice": None,
        "unjudged": "nothing is finished",
        "one_seed": False,
        "strangers": (),
    }
    return Ranking(**{**settings, **changes})


def test_the_opening_says_whom_to_try_and_how_sure_that_is() -> None:
    sure = ranking(candidate("a", 0.3, 0.1), candidate("b", 0.2, 0.3), candidate("c", 0.1, 0.05))
    assert opening(sure, "t") == "For t, try a and b first; a is likely to help."
    both = ranking(candidate("a", 0.3, 0.1), candidate("b", 0.2, 0.1))
    assert opening(both, "t") == "For t, try a and b first; a and b are likely to help."
    unsure = ranking(candidate("a", 0.3, 0.5), candidate("b", 0.2, 0.5))
    assert opening(unsure, "t") == (
        "For t, try a and b first; none of them is sure to help, since every 90 % interval reaches below 0."
    )
    none = ranking(candidate("a", -0.3, 0.1), candidate("b", -0.4, 0.1), candidate("c", -0.5, 0.9))
    assert opening(none, "t") == "No source is expected to help t; the least harm is expected from a and b."


def test_the_cautions_say_how_the_intervals_were_made() -> None:
    nothing = cautions(ranking(candidate("a", 0.1, 0.1), strangers=("a",)))
    assert nothing[0] == "Whether such rankings can be trusted is not known: nothing is finished."
    assert nothing[1].startswith("No other target has a usable result: the order follows from features alone")
    assert len(nothing) == 2  # with no history, every source is a stranger
    one = cautions(ranking(candidate("a", 0.1, 0.1), n_targets=1))
    assert "this needs 4 finished targets beside this one, but there is 1." in one[1]
    assert one[2] == "How far gains vary is taken from another study: 1 finished target cannot tell (3 can)."
    two = cautions(ranking(candidate("a", 0.1, 0.1), n_targets=2))
    assert "this needs 4 finished targets beside this one, but there are 2." in two[1]
    checked = cautions(ranking(candidate("a", 0.1, 0.1), n_targets=4, width=1.5))
    assert checked[1].startswith(
        "Intervals were checked on 4 finished targets, each left out in turn, and scaled by 1.50"
    )


def test_the_cautions_name_what_is_not_known() -> None:
    said = cautions(ranking(candidate("a", 0.1, 0.1), n_targets=4, one_seed=True, strangers=("a", "b")))
    assert "Some targets have one seed, so how far their results vary by chance is not known." in said
    assert said[-1] == "No other target has a result with a and b, whose popularity is unknown."


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ((), "no reason stands out"),
        ((("popularity", 0.0004),), "no reason stands out"),
        (
            (("own_runs", 0.02), ("log_me", -0.01), ("popularity", 0.005), ("h_score", 0.004)),
            "its runs on this target +0.020, LogME -0.010, popularity +0.005",
        ),
    ],
)
def test_only_the_largest_reasons_are_said(reasons: tuple[tuple[str, float], ...], said: str) -> None:
    assert in_words(candidate("a", 0.1, 0.1, *reasons)) == said


def test_the_unit_of_the_numbers_is_said() -> None:
    assert unit(ranking(percent=True), "pearson") == "percent of the baseline's error"
    assert unit(ranking(), "pearson") == "pearson"
    assert unit(ranking(), "") == "the target's metric"


def test_a_long_list_is_cut() -> None:
    assert (listed(["a"]), listed(["a", "b"])) == ("a", "a and b")
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 others"
