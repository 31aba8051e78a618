"""Runs that did not learn: found from scores, not invented where there are none, counted and compared."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empslurm.analysis import verdicts
from empslurm.analysis.collapse import collapse_differences, collapsed_runs
from empslurm.analysis.verdicts import TargetScores, compare, decide
from empslurm.errors import UsageError

NAN = float("nan")


def grid(n_cells: int = 18, n_seeds: int = 5, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n_cells, n_seeds))


def target(scores: NDArray[np.float64], **more: object) -> TargetScores:
    sources = tuple(f"source{at}" for at in range(1, len(scores)))
    return TargetScores(target="target", sources=sources, scores=scores, **more)  # type: ignore[arg-type]


def mask(shape: tuple[int, ...], *where: tuple[int, int]) -> NDArray[np.bool_]:
    made = np.zeros(shape, dtype=bool)
    for at in where:
        made[at] = True
    return made


def test_falls_of_several_cells_are_found_whatever_the_direction() -> None:
    scores = grid() + np.random.default_rng(1).normal(size=(18, 1))  # sources differ
    fallen = mask(scores.shape, (2, 0), (2, 3), (7, 1), (11, 4), (0, 2))
    scores[fallen] -= 10
    np.testing.assert_array_equal(collapsed_runs(scores), fallen)
    np.testing.assert_array_equal(collapsed_runs(-scores, higher_is_better=False), fallen)
    assert not collapsed_runs(scores, higher_is_better=False).any()
    common = 2 * np.random.default_rng(2).normal(size=5)  # what equal seeds share
    np.testing.assert_array_equal(collapsed_runs(scores + common), fallen)
    scores[4, 2] = scores[11, 0] = NAN
    np.testing.assert_array_equal(collapsed_runs(scores), fallen)


@pytest.mark.parametrize("seed", [7, 8, 31, 34])
def test_a_baseline_that_lies_low_as_a_whole_needs_less_of_a_depth_than_a_source(seed: int) -> None:
    """Seven falls too shallow to part single runs by; with a baseline at their depth no source can be judged.

    The falls count then as well: else the sources would seem to collapse less often than the baseline.
    """
    scores = grid(n_seeds=2, seed=seed)
    scores[1:8, 0] -= 8
    assert not collapsed_runs(scores).any()
    scores[0] -= 8
    found = collapsed_runs(scores)
    assert found[0].all()
    assert 5 <= found[1:].sum() <= 8
    assert found[1:8, 0].sum() >= 5
    source_as_a_whole = scores[[1, 0, *range(2, 18)]]
    assert not collapsed_runs(source_as_a_whole).any()
    helped = grid(n_seeds=2, seed=seed)
    helped[0] -= 8  # every source helps, and no run falls
    assert not collapsed_runs(helped).any()


def test_most_runs_of_a_cell_may_have_fallen() -> None:
    scores = grid(n_seeds=3)
    fallen = mask(scores.shape, (1, 0), (1, 1), (5, 2), (9, 0), (9, 2))
    scores[fallen] -= 10
    np.testing.assert_array_equal(collapsed_runs(scores), fallen)


def test_a_cell_that_lies_low_as_a_whole_is_collapsed_only_where_chance_could_do_it() -> None:
    scores = grid(n_seeds=2)
    scores[[1, 3, 5, 8], 0] -= 20
    scores[0] -= 20
    assert collapsed_runs(scores)[0].all()
    rare = grid(n_seeds=8)
    rare[[1, 3, 5, 8], 0] -= 20
    rare[0] -= 20
    found = collapsed_runs(rare)
    assert not found[0].any()  # eight of eight while four of 136 others fell: the cell is worse
    assert found.sum() == 4
    alone = grid(n_seeds=2)
    alone[0] -= 20
    assert not collapsed_runs(alone).any()  # no cell has both kinds of runs


@pytest.mark.parametrize("n_seeds", [2, 3, 5, 8])
@pytest.mark.parametrize("n_cells", [2, 6, 18])
def test_next_to_nothing_is_marked_without_collapse(n_cells: int, n_seeds: int) -> None:
    """Tails of a t with 4 degrees of freedom, and variances that differ as much, in turn; some sources differ."""
    rng = np.random.default_rng(n_seeds * n_cells)
    n_grids, marked = 60, 0
    for at in range(n_grids):
        noise = rng.normal(size=(n_cells, n_seeds))
        noise /= np.sqrt(rng.chisquare(4, noise.shape if at % 2 else (n_cells, 1)) / 4)
        marked += collapsed_runs(noise + 2 * (np.arange(n_cells) % 3 == 1)[:, None]).sum()
    share = 0.005 if n_seeds == 2 else 0.002  # two runs that lie apart are hard to tell from two that fell apart
    assert marked <= max(2, share * n_grids * n_cells * n_seeds)


@pytest.mark.parametrize("scores", [np.zeros((4, 1)), np.full((3, 3), 0.5), np.full((2, 2), NAN), np.ones((1, 4))])
def test_it_abstains_where_there_is_nothing_to_tell(scores: NDArray[np.float64]) -> None:
    assert not collapsed_runs(scores).any()


def test_the_verdict_compares_the_runs_that_learnt() -> None:
    scores = grid()
    fallen = mask(scores.shape, (3, 1), (0, 4), (6, 2), (6, 3))
    without = np.where(fallen, NAN, scores)
    scores[fallen] -= 12
    for given in (target(scores), target(scores, collapsed=fallen), target(without, collapsed=fallen)):
        found = compare(given)
        np.testing.assert_allclose(found.p_value, compare(target(without)).p_value)
        assert found.baseline == pytest.approx(np.nanmean(without[0]))
        assert (found.n_seeds[0], found.n_collapsed[0], found.n_runs[0]) == (4, 1, 5)
        assert (found.n_seeds[6], found.n_collapsed[6], found.n_runs[6]) == (3, 2, 5)
        assert sum(found.n_collapsed) == 4


def test_fewer_than_two_learnt_runs_are_undecided_and_say_so() -> None:
    scores = grid(n_seeds=3)
    of_source, of_baseline = mask(scores.shape, (2, 0), (2, 2)), mask(scores.shape, (0, 0), (0, 2))
    found = decide([compare(target(scores, collapsed=of_source))])
    assert [row.reason for row in found].count(verdicts.COLLAPSED) == 1
    assert (found[1].verdict, found[1].reason) == ("undecided", verdicts.COLLAPSED)
    assert {row.n_tested for row in found} == {16}
    assert {row.reason for row in decide([compare(target(scores, collapsed=of_baseline))])} == {verdicts.COLLAPSED}
    every = compare(target(scores, collapsed=mask(scores.shape, (2, 0), (2, 1), (2, 2))))
    assert every.reasons[1] == verdicts.COLLAPSED
    assert np.isnan(every.difference[1])


def test_an_undefined_run_that_is_known_to_have_collapsed_leaves_its_pair_decided() -> None:
    scores, undefined = grid(), mask((18, 5), (3, 1), (5, 2))
    scores[undefined] = NAN
    found = compare(target(scores, undefined=undefined, collapsed=mask(scores.shape, (3, 1))))
    assert found.reasons[2] == ""
    assert found.reasons[4] == verdicts.UNDEFINED
    assert np.isfinite(found.difference[2])


def test_arms_of_one_score_each_are_no_test() -> None:
    scores = grid(n_cells=5, n_seeds=3)
    scores[0], scores[1], scores[2] = 0.5, 0.5, 0.9
    found = compare(target(scores))
    assert found.reasons == (verdicts.ONE_SCORE, verdicts.ONE_SCORE, "", "")
    assert np.isnan(found.p_value[:2]).all()
    assert np.isfinite(found.p_value[2:]).all()
    assert {row.n_tested for row in decide([found])} == {2}


def test_a_shape_of_collapsed_is_checked() -> None:
    with pytest.raises(UsageError, match="collapsed of target must have shape"):
        compare(target(grid(), collapsed=np.zeros((17, 5), dtype=bool)))


def test_how_often_runs_collapse_is_compared() -> None:
    """0 of 8 against 6 of 8: Fisher's p is .007 (2 x C(8, 6) / C(16, 6)), doubled for the two other pairs' ones."""
    scores = grid(n_cells=4, n_seeds=8)
    fallen = np.zeros(scores.shape, dtype=bool)
    fallen[0, :6] = fallen[2, :6] = fallen[3, :5] = True
    found = collapse_differences([compare(target(scores, collapsed=fallen)), compare(target(grid(n_seeds=8, seed=3)))])
    assert [(row.source, row.n_collapsed, row.n_runs) for row in found] == [
        ("source1", 0, 8),
        ("source2", 6, 8),
        ("source3", 5, 8),
    ]
    assert {(row.target, row.n_collapsed_baseline, row.n_runs_baseline) for row in found} == {("target", 6, 8)}
    assert found[0].p_value == pytest.approx(2 * 28 / 8008)
    assert found[0].p_bh == pytest.approx(3 * 2 * 28 / 8008)
    assert found[0].differs
    assert not found[1].differs
    assert collapse_differences([compare(target(grid()))]) == ()
    assert collapse_differences([]) == ()


def test_the_least_that_differs() -> None:
    """The docstring's counts: 0 of 8 against 5 of 8, and 0 of 4 against 4 of 4; three runs an arm never do."""
    for n_runs, n_collapsed, below in ((8, 5, True), (8, 4, False), (4, 4, True), (4, 3, False), (3, 3, False)):
        fallen = np.zeros((2, n_runs), dtype=bool)
        fallen[1, :n_collapsed] = True
        found = collapse_differences([compare(target(grid(n_cells=2, n_seeds=n_runs), collapsed=fallen))])
        assert (found[0].p_value < 0.05) is below


def test_a_lucky_baseline_does_not_beat_all_sources() -> None:
    """A small edition of the simulation: three runs in ten fall in every cell, 40 grids, any call is a false one."""
    rng, misled = np.random.default_rng(8), 0
    for at in range(40):
        scores = grid(n_seeds=5, seed=100 + at)
        scores -= 8 * (rng.random(scores.shape) < 0.3)
        misled += any(row.verdict in ("helps", "harms") for row in decide([compare(target(scores))]))
    assert misled <= 5
