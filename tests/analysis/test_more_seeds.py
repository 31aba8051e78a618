"""The seeds asked for: their power by a direct computation, the cheapest of them, and what no seed can show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from empslurm.analysis.more_seeds import MOST_SEEDS, _Design, more_seeds
from empslurm.analysis.verdicts import LEVEL, Comparison, TargetScores, compare


def comparison(scores: NDArray[np.float64], **more: object) -> Comparison:
    sources = tuple(f"source{at}" for at in range(len(scores) - 1))
    return compare(TargetScores(target="target", sources=sources, scores=scores, **more))  # type: ignore[arg-type]


def grid(n_sources: int = 17, n_seeds: int = 3, seed: int = 0) -> NDArray[np.float64]:
    return 0.7 + 0.01 * np.random.default_rng(seed).normal(size=(1 + n_sources, n_seeds))


def test_the_power_of_a_pair_with_many_runs_is_that_of_the_noncentral_t_distribution() -> None:
    scores = grid(n_sources=1, n_seeds=40)
    found = comparison((scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True) * 0.01)
    asked = more_seeds(found, 0.007)
    assert (asked.more_baseline, asked.more_transfer, asked.limit) == (0, 0, "")
    error, freedom = float(found.standard_error[0]), float(found.degrees_of_freedom[0])
    beyond = stats.t.ppf(1 - LEVEL / 2, freedom)
    direct = stats.nct.sf(beyond, freedom, 0.007 / error) + stats.nct.cdf(-beyond, freedom, 0.007 / error)
    assert asked.power == pytest.approx(direct, abs=0.01)


def test_seeds_of_the_baseline_come_first_for_they_cost_one_run_each() -> None:
    asked = more_seeds(comparison(grid(seed=2)), 0.02)
    assert asked.limit == ""
    assert asked.power >= 0.8
    assert asked.more_transfer <= 1 < asked.more_baseline
    assert asked.more_runs == asked.more_baseline + 17 * asked.more_transfer


def test_dear_seeds_of_the_baseline_are_asked_for_less() -> None:
    given = comparison(grid())
    cheap, dear = (more_seeds(given, 0.012, cost_of_baseline=cost) for cost in (0.1, 50.0))
    assert dear.more_baseline < cheap.more_baseline
    assert dear.more_transfer >= cheap.more_transfer


def test_the_smaller_the_difference_the_more_seeds_and_the_baseline_has_all_of_them() -> None:
    scores = grid() + 0.03 * np.random.default_rng(1).normal(
        size=3
    )  # seeds in common: they cancel where both have them
    asked = [more_seeds(comparison(scores), wanted) for wanted in (0.05, 0.03, 0.02, 0.015)]
    assert all(one.limit == "" for one in asked)
    n_runs = [one.more_runs for one in asked]
    assert n_runs == sorted(n_runs)
    assert all(one.n_baseline + one.more_baseline >= one.n_transfer + one.more_transfer for one in asked)


def test_what_no_number_of_seeds_shows_is_said_with_its_reason() -> None:
    small_test_set = comparison(grid(), example_covariance=0.01**2 * np.eye(18))
    asked = more_seeds(small_test_set, 0.02)
    assert asked.limit == "examples"
    assert (asked.more_runs, asked.least) == (0, pytest.approx(2.8016 * np.sqrt(2) * 0.01, rel=1e-3))
    assert more_seeds(small_test_set, 0.08).limit == ""
    assert more_seeds(comparison(grid()), 0.0005).limit == "seeds"
    unknown = more_seeds(comparison(grid(n_seeds=1)), 0.02)
    assert unknown.limit == "unknown"
    assert np.isnan(unknown.power)
    assert np.isnan(unknown.detectable)
    assert (unknown.n_baseline, unknown.n_transfer) == (1, 1)


def test_more_runs_than_are_ever_asked_for_are_enough_where_they_are_enough() -> None:
    asked = more_seeds(comparison(grid(n_sources=2, n_seeds=MOST_SEEDS + 6)), 0.01)
    assert (asked.limit, asked.more_runs) == ("", 0)
    assert asked.power > 0.99


def test_runs_that_collapse_are_asked_for_too() -> None:
    scores, fallen = grid(n_seeds=4), np.zeros((18, 4), dtype=bool)
    fallen[:, 0] = True
    scores[fallen] = 0.2
    without, with_collapse = (
        more_seeds(comparison(scores[:, 1:]), 0.02),
        more_seeds(comparison(scores, collapsed=fallen), 0.02),
    )
    assert (with_collapse.n_baseline, without.n_baseline) == (4, 3)
    assert with_collapse.more_baseline > without.more_baseline  # a quarter of them will not learn


def test_undecided_sources_count_as_runs_but_not_for_the_power() -> None:
    scores = grid(n_sources=5)
    scores[5, 1:] = np.nan
    found = comparison(scores)
    assert found.reasons[4] != ""
    asked = more_seeds(found, 0.015)
    assert (asked.n_sources, asked.limit) == (5, "")
    assert asked.more_runs == asked.more_baseline + 5 * asked.more_transfer
    assert asked.power >= 0.8


def test_runs_with_next_to_no_noise_need_no_seed() -> None:
    scores = np.array([[0.5, 0.5], [0.6, 0.6], [0.7, 0.7000001]])
    asked = more_seeds(comparison(scores), 0.05)
    assert (asked.limit, asked.more_runs) == ("", 0)
    assert asked.power > 0.99


def test_the_promised_power_is_reached() -> None:
    """A small edition of benchmarks/verdict_simulation.py: 60 studies of three seeds."""
    rng, wanted = np.random.default_rng(5), 2.0
    promised, reached = [], []
    for _ in range(60):
        scores = rng.normal(size=(18, MOST_SEEDS))
        scores[1:] += wanted
        asked = more_seeds(comparison(scores[:, :3]), wanted)
        assert asked.limit == ""
        scores[1:, 3 + asked.more_transfer :] = np.nan
        found = comparison(scores[:, : 3 + asked.more_baseline])
        promised.append(asked.power)
        reached.append((found.p_value < LEVEL).mean())
    assert np.mean(reached) == pytest.approx(np.mean(promised), abs=0.08)


def test_some_of_the_cells_keep_what_they_borrowed_from_all() -> None:
    given = comparison(grid())
    kept = given.noise.of(np.array([0, 3]))
    assert kept.variance.tolist() == given.noise.variance[[0, 3]].tolist()
    assert (
        replace(kept, variance=given.noise.variance, degrees_of_freedom=given.noise.degrees_of_freedom) == given.noise
    )


@pytest.mark.parametrize(("common", "wanted"), [(0.0, 0.016), (0.01, 0.02), (0.03, 0.02), (0.05, 0.03)])
def test_no_cheaper_seeds_have_the_power(common: float, wanted: float) -> None:
    """Against every number of seeds; seeds with much in common are worth most in both arms."""
    rng = np.random.default_rng(4)
    scores = grid(n_sources=3, n_seeds=3, seed=0) + common * rng.normal(size=3)
    given = comparison(scores)
    asked, design = more_seeds(given, wanted), _Design(given)
    costs = [
        baseline + 3 * transfer
        for transfer in range(20)
        for baseline in range(transfer, 40)
        if design.power(wanted, baseline, transfer) >= 0.8
    ]
    assert asked.more_runs == min(costs)


def test_seeds_that_the_baseline_lacks_do_not_cancel_and_are_asked_for() -> None:
    rng = np.random.default_rng(6)
    common = 0.05 * rng.normal(size=6)
    scores = grid(n_seeds=6) + common
    scores[0, 3:], scores[1:, :3] = np.nan, np.nan
    apart = comparison(scores)
    assert apart.n_shared.tolist() == [0] * 17
    error, _ = _Design(apart).errors(0, 0)
    assert np.median(error) > 0.6 * np.median(apart.standard_error)
    asked = more_seeds(apart, 0.03)
    assert asked.more_baseline >= 3  # every seed that the transfers have
    spare = grid(n_seeds=9) + 0.05 * rng.normal(size=9)
    spare[1:, 3:] = np.nan
    asked = more_seeds(comparison(spare), 0.015)
    assert asked.more_transfer > asked.more_baseline  # the baseline has seeds to spare
