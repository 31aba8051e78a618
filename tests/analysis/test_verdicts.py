"""The default verdict: variances by hand, what it borrows, what it leaves undecided, its error rate in small."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from empslurm.analysis import verdicts
from empslurm.analysis.resampling import Examples, resample
from empslurm.analysis.verdicts import TargetScores, compare, decide, shared_example_covariance
from empslurm.errors import UsageError
from empslurm.metrics import METRICS

NAN = float("nan")


def target(scores: NDArray[np.float64], **more: object) -> TargetScores:
    sources = tuple(f"source{at}" for at in range(len(scores) - 1))
    return TargetScores(target="target", sources=sources, scores=scores, **more)  # type: ignore[arg-type]


def grid(n_sources: int = 17, n_seeds: int = 3, seed: int = 0) -> NDArray[np.float64]:
    return 0.7 + 0.01 * np.random.default_rng(seed).normal(size=(1 + n_sources, n_seeds))


def test_one_pair_is_welchs_test() -> None:
    scores = np.array([[0.50, 0.52, 0.51], [0.56, 0.60, 0.55]])
    found = compare(target(scores))
    welch = stats.ttest_ind(scores[1], scores[0], equal_var=False)
    assert found.p_value[0] == pytest.approx(welch.pvalue)
    interval = welch.confidence_interval()
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high))


def test_seeds_in_common_cancel() -> None:
    common = np.array([0.0, 0.2, -0.1])
    alone, together = compare(target(grid())), compare(target(grid() + common))
    np.testing.assert_allclose(together.standard_error, alone.standard_error, rtol=1e-6)
    np.testing.assert_allclose(together.p_value, alone.p_value, rtol=1e-6)


def test_a_baseline_that_alone_joins_two_sets_of_seeds_has_noise_of_its_own() -> None:
    """Seed effects would fit both of its scores exactly: without freedom left no pair had a verdict, nor a reason."""
    scores = np.full((5, 4), NAN)
    for row, seeds in enumerate([(0, 1), (0, 2), (0, 2), (1, 3), (1, 3)]):
        scores[row, list(seeds)] = 0.7 + 0.01 * np.random.default_rng(row).normal(size=2)
    found = compare(target(scores))
    assert found.reasons == ("",) * 4
    assert np.isfinite(found.p_value).all()
    assert found.noise.own_variance == pytest.approx(np.var(scores[0, :2], ddof=1))


def test_a_pair_with_two_runs_in_each_arm_is_never_undecided_for_its_layout() -> None:
    """Whatever runs are missing, or collapsed: seed effects may fit all runs of most cells exactly."""
    rng = np.random.default_rng(11)
    for _ in range(300):
        scores = np.where(rng.random((6, 4)) < 0.5, rng.normal(size=(6, 4)), NAN)
        found = compare(target(scores))
        runs = np.array(found.n_seeds)
        for source, reason in enumerate(found.reasons):
            assert (reason == "") == np.isfinite(found.p_value[source]), scores
            assert reason == "" or min(runs[0], runs[1 + source]) < 2


def test_a_transfer_that_alone_joins_two_sets_of_seeds_leaves_the_others_as_they_are() -> None:
    scores = np.hstack([grid(n_seeds=5) + 0.1 * np.random.default_rng(1).normal(size=5), np.full((18, 1), NAN)])
    before = compare(target(scores[:16]))
    scores[16:, 1:5] = NAN
    scores[16, 5], scores[17, 0], scores[17, 5] = 0.7, NAN, 0.71
    after = compare(target(scores))
    np.testing.assert_allclose(after.standard_error[:15], before.standard_error, rtol=0.2)


def test_example_error_widens_and_is_shared() -> None:
    scores = grid()
    plain = compare(target(scores))
    variance = 0.02**2
    wide = compare(target(scores, example_covariance=variance * np.eye(18)))
    np.testing.assert_allclose(wide.standard_error**2, plain.standard_error**2 + 2 * variance)
    assert (wide.degrees_of_freedom > plain.degrees_of_freedom).all()
    assert wide.with_examples
    assert not plain.with_examples
    correlation = wide.covariance[0, 1] / (wide.standard_error[0] * wide.standard_error[1])
    assert 0.4 < correlation < 0.6  # the shared baseline
    same = compare(target(scores, example_covariance=np.full((18, 18), variance)))
    np.testing.assert_allclose(same.standard_error, plain.standard_error)  # what all cells share cancels


def test_shared_example_covariance_leaves_out_what_one_seed_does_with_examples() -> None:
    """Per-example values = cell part + run part: only the cell part is shared between seeds."""
    rng = np.random.default_rng(3)
    cells, seeds = np.repeat([0, 1], 6), np.tile(np.arange(6), 2)
    values = 3 * rng.normal(size=(2, 40_000))[cells] + 5 * rng.normal(size=(12, 40_000))
    found = shared_example_covariance(values, cells, seeds, 2)
    np.testing.assert_allclose(found, 9 * np.eye(2), atol=0.5)
    one = shared_example_covariance(values[[0, 6]], cells[[0, 6]], seeds[[0, 6]], 2)
    np.testing.assert_allclose(np.diag(one), 34, rtol=0.05)  # a single seed: its own covariance stands in
    values[0] = NAN
    np.testing.assert_allclose(shared_example_covariance(values, cells, seeds, 2), 9 * np.eye(2), atol=0.6)


def test_it_fits_the_bootstrap_of_real_shapes() -> None:
    rng = np.random.default_rng(4)
    gold = rng.integers(0, 3, 200)
    cells, seeds = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    outputs = np.where(rng.random((12, 200)) < 0.3, rng.integers(0, 3, (12, 200)), gold)
    found = resample(
        Examples(gold=gold, resampler=METRICS["f1_macro"].formula.resampler, n_labels=3),
        outputs,
        n_resamples=300,
        rng=rng,
    )
    covariance = shared_example_covariance(found.scores, cells, seeds, 4)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    comparison = compare(target(found.observed.reshape(4, 3), example_covariance=covariance))
    assert (comparison.p_value > 0).all()


def test_verdicts_and_corrections() -> None:
    scores = grid(n_sources=10)
    scores[1] += 0.1
    scores[2] -= 0.1
    found = decide([compare(target(scores)), compare(target(grid(n_sources=10, seed=5)))])
    assert [row.verdict for row in found[:3]] == ["helps", "harms", "inconclusive"]
    assert {row.n_tested for row in found} == {20}
    ranked = sorted(found, key=lambda row: row.p_value)
    assert ranked[0].p_bh == pytest.approx(min(ranked[0].p_value * 20, ranked[1].p_value * 10))
    within = sorted(found[:10], key=lambda row: row.p_value)
    assert within[0].p_holm == pytest.approx(within[0].p_value * 10)
    assert all(row.low < row.difference < row.high for row in found)
    assert all(row.smallest_detectable > row.high - row.difference for row in found)
    assert decide([]) == ()


def test_the_smallest_detectable_difference_is_detected_four_times_in_five() -> None:
    rng = np.random.default_rng(6)
    found = compare(target(np.vstack([rng.normal(size=(1, 200)), rng.normal(size=(3, 200))])))
    true = float(found.smallest_detectable[0])
    assert true == pytest.approx(2.8 * math.sqrt(2 / 200), rel=0.1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({(0, 1): NAN, (0, 2): NAN}, verdicts.ONE_SEED),
        ({(1, 1): NAN, (1, 2): NAN}, verdicts.ONE_SEED),
        ({(1, 0): NAN, (1, 1): NAN, (1, 2): NAN}, verdicts.MISSING),
        ({(0, 0): NAN, (0, 1): NAN, (0, 2): NAN}, verdicts.MISSING),
    ],
)
def test_one_seed_or_none_is_undecided(change: dict[tuple[int, int], float], reason: str) -> None:
    scores = grid()
    for where, value in change.items():
        scores[where] = value
    first = decide([compare(target(scores))])[0]
    assert (first.verdict, first.reason) == ("undecided", reason)
    assert math.isnan(first.p_value)
    assert math.isnan(first.p_bh)


def test_one_seed_everywhere() -> None:
    found = decide([compare(target(grid(n_seeds=1)))])
    assert {row.verdict for row in found} == {"undecided"}
    assert {row.n_tested for row in found} == {0}
    assert all(math.isfinite(row.difference) for row in found)


def test_an_undefined_run_makes_its_pair_undecided_and_no_other() -> None:
    scores, undefined = grid(), np.zeros((18, 3), dtype=bool)
    scores[3, 1], undefined[3, 1] = NAN, True
    found = decide([compare(target(scores, undefined=undefined))])
    assert [row.reason for row in found].count(verdicts.UNDEFINED) == 1
    assert found[2].verdict == "undecided"
    assert all(math.isfinite(row.p_value) for row in found if row is not found[2])


def test_missing_runs_and_more_baseline_seeds() -> None:
    scores = np.full((18, 9), NAN)
    scores[:, :3] = grid()
    scores[0] = 0.7 + 0.01 * np.random.default_rng(7).normal(size=9)
    scores[5, 2] = NAN
    few, many = compare(target(scores[:, :3])), compare(target(scores))
    assert many.n_seeds[0] == 9
    assert many.n_seeds[5] == 2
    assert np.median(many.standard_error) < np.median(few.standard_error)
    assert np.isfinite(many.p_value).all()


def test_equal_scores_everywhere_are_no_test() -> None:
    shifted = np.full((5, 3), 0.5)
    shifted[1] = 0.6
    for scores in (np.full((5, 3), 0.5), shifted):
        found = decide([compare(target(scores))])
        assert {(row.verdict, row.reason, row.n_tested) for row in found} == {("undecided", verdicts.ONE_SCORE, 0)}


def test_shapes_are_checked() -> None:
    with pytest.raises(UsageError, match="row 0 is the baseline"):
        compare(TargetScores(target="t", sources=("a",), scores=np.zeros((3, 3))))
    with pytest.raises(UsageError, match="example_covariance"):
        compare(target(grid(), example_covariance=np.eye(17)))


def test_false_positives_stay_rare_on_equal_cells() -> None:
    """A small edition of benchmarks/verdict_simulation.py: 60 grids, so that a rate above .08 means a mistake."""
    rates = [(compare(target(grid(seed=seed))).p_value < 0.05).mean() for seed in range(60)]
    assert 0.005 < np.mean(rates) < 0.08
