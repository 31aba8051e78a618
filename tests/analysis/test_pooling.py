"""Pooling over labs: textbook values, what shared test examples change, and which lab is flagged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from empslurm.analysis.pooling import Blocks, Departure, Pooled, block, departures, equivalence_p_value, pool
from empslurm.analysis.verdicts import Comparison, TargetScores, compare
from empslurm.errors import UsageError

# Thirteen trials of the BCG vaccine (Colditz et al. 1994): log risk ratios and their variances.
EFFECTS: tuple[float, ...] = (-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209)
EFFECTS += (0.0120, -0.4694, -1.3713, -0.3394, 0.4459, -0.0173)
VARIANCES: tuple[float, ...] = (0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230)
VARIANCES += (0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714)


def pooled(
    estimates: tuple[float, ...],
    variances: tuple[float, ...],
    *,
    freedom: float = 1e6,
    examples: tuple[float, ...] | None = None,
    test_sets: tuple[int, ...] | None = None,
) -> Pooled:
    (found,) = pool(
        np.array([estimates]),
        np.array([variances]),
        freedom=np.full((1, len(estimates)), freedom),
        examples=None if examples is None else np.array([examples]),
        test_sets=None if test_sets is None else np.array([test_sets]),
    )
    return found


def test_two_labs_by_hand() -> None:
    """Q = 2; Paule and Mandel: 2 / (1 + tau^2) = 1, so tau = 1; variance of the mean (1 + 1) / 2."""
    found = pooled((1.0, 3.0), (1.0, 1.0))
    assert (found.n_labs, found.weights) == (2, (0.5, 0.5))
    assert found.estimate == pytest.approx(2.0)
    assert found.q == pytest.approx(2.0)
    assert found.tau == pytest.approx(1.0, abs=1e-4)
    assert found.i2 == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(1.0, abs=1e-4)
    assert found.high - found.estimate == pytest.approx(12.706, abs=0.01)
    assert np.isnan(found.prediction_low)
    assert found.q_p == pytest.approx(2 * (1 - 0.92135), abs=1e-3)  # two labs: z = 2 / sqrt(2)


def test_the_trials_of_a_textbook() -> None:
    """As metafor's rma(method="PM", test="knha") has them."""
    found = pooled(EFFECTS, VARIANCES)
    assert found.q == pytest.approx(152.23, abs=0.7)  # the variances are rounded
    assert found.i2 == pytest.approx(0.9212, abs=0.001)
    assert found.tau**2 == pytest.approx(0.3181, abs=0.001)
    assert found.estimate == pytest.approx(-0.7150, abs=0.001)
    weights = 1 / (np.array(VARIANCES) + found.tau**2)
    assert (weights * (np.array(EFFECTS) - found.estimate) ** 2).sum() == pytest.approx(12, abs=1e-3)
    assert found.standard_error == pytest.approx(weights.sum() ** -0.5)
    assert found.low == pytest.approx(found.estimate - student.ppf(0.975, 12) * found.standard_error)
    beyond = student.ppf(0.975, 11) * np.sqrt(found.tau**2 + found.standard_error**2)
    assert found.prediction_high == pytest.approx(found.estimate + beyond)
    assert found.q_p < 1e-6


def test_the_unit_changes_nothing() -> None:
    """Variances of scores are near 1e-5, below the tolerance of the library's iteration."""
    whole = pooled((1.0, 3.0, 2.5), (1.0, 0.5, 0.8))
    small = pooled((0.001, 0.003, 0.0025), (1e-6, 0.5e-6, 0.8e-6))
    assert small.tau == pytest.approx(whole.tau / 1000, rel=1e-6)
    assert small.low == pytest.approx(whole.low / 1000, rel=1e-6)
    assert (small.p_value, small.q_p) == pytest.approx((whole.p_value, whole.q_p))


def test_labs_that_agree_have_no_heterogeneity_and_the_plain_error() -> None:
    found = pooled((2.0, 2.1, 1.9, 2.0), (1.0, 1.0, 1.0, 1.0))
    assert (found.tau, found.i2) == (0.0, 0.0)
    assert found.standard_error == pytest.approx(0.5)  # not smaller, though the labs differ by less than noise
    assert found.high == pytest.approx(2.0 + 0.5 * student.ppf(0.975, 3))


def test_a_shared_test_set_adds_its_error_once() -> None:
    """Labs with other examples average their example error away; labs with the same ones do not."""
    estimates, own, examples = (2.0, 2.1, 1.9, 2.0), 1.0, 4.0
    variances = (own + examples,) * 4
    apart = pooled(estimates, variances, examples=(examples,) * 4, test_sets=(0, 1, 2, 3))
    unknown = pooled(estimates, variances, examples=(examples,) * 4, test_sets=(-1,) * 4)
    same = pooled(estimates, variances, examples=(examples,) * 4, test_sets=(0,) * 4)
    two = pooled(estimates, variances, examples=(examples,) * 4, test_sets=(0, 0, 1, 2))
    assert apart.standard_error**2 == pytest.approx((own + examples) / 4)
    assert unknown.standard_error == pytest.approx(apart.standard_error)
    assert same.standard_error**2 == pytest.approx(own / 4 + examples)
    assert two.standard_error**2 == pytest.approx((own + examples) / 4 + 2 * examples / 16)
    assert same.degrees_of_freedom > apart.degrees_of_freedom == pytest.approx(3)


def test_a_shared_test_set_hides_no_difference_between_labs() -> None:
    """Four standard errors apart in seed noise, though within the example error, which moves both labs alike."""
    far = pooled((0.0, 4.0), (1.0 + 16, 1.0 + 16), examples=(16.0, 16.0), test_sets=(0, 0))
    near = pooled((0.0, 4.0), (1.0 + 16, 1.0 + 16), examples=(16.0, 16.0), test_sets=(0, 1))
    assert far.q == pytest.approx(8.0)
    assert near.q == pytest.approx(8.0 / 17)
    assert far.q_p < 0.01 < near.q_p


def test_few_seeds_make_the_test_of_heterogeneity_careful() -> None:
    assert pooled((0.0, 3.0, 1.0), (1.0,) * 3, freedom=2.0).q_p > pooled((0.0, 3.0, 1.0), (1.0,) * 3).q_p


def test_labs_without_an_estimate_are_left_out() -> None:
    nan = float("nan")
    found = pooled((1.0, nan, 3.0, 2.0), (1.0, 1.0, 1.0, nan))
    assert (found.n_labs, found.weights) == (2, (0.5, 0.0, 0.5, 0.0))
    assert found.estimate == pytest.approx(2.0)
    for none in (pooled((1.0, nan), (1.0, 1.0)), pooled((1.0, 2.0), (0.0, 0.0))):
        assert np.isnan([none.estimate, none.low, none.p_value, none.q, none.tau]).all()


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match="must have one shape"):
        pool(np.zeros((2, 3)), np.ones((2, 2)), freedom=np.ones((2, 3)))


def test_equivalence_is_shown_by_a_small_interval_alone() -> None:
    sure = pooled((0.0, 0.01, -0.01, 0.0), (1e-4,) * 4)
    assert equivalence_p_value(sure, 0.05) < 0.01
    assert equivalence_p_value(sure, 0.002) > 0.3
    assert np.isnan(equivalence_p_value(sure, None))


# ---- which lab departs -----------------------------------------------------------------------------------------------


def labs_of(
    n_labs: int,
    *,
    seed: int,
    n_seeds: int = 2,
    n_targets: int = 3,
    shift: float = 0.0,
    scatter: float = 0.0,
    noise: float = 1.0,
    tau: float = 0.0,
    sources: int = 6,
) -> Blocks:
    """Labs that run the same pairs; the last one has gains or noise of its own. In units of .01, a run's noise."""
    rng = np.random.default_rng(seed)
    blocks: dict[str, dict[str, object]] = {}
    for target in range(n_targets):
        gains = rng.normal(0, 2, sources)
        for lab in range(n_labs):
            last = lab == n_labs - 1
            own = (
                gains
                + rng.normal(0, tau, sources)
                + (shift + scatter * rng.choice((-1.0, 1.0), sources) if last else 0.0)
            )
            scores = np.append(0.0, own)[:, None] + rng.normal(0, 1, n_seeds)
            scores = scores + (noise if last else 1.0) * rng.normal(0, 1, (sources + 1, n_seeds))
            blocks.setdefault(str(target), {})[str(lab)] = block(compared(scores), shared_examples=False)
    return blocks  # type: ignore[return-value]


def compared(scores: np.ndarray) -> Comparison:
    names = tuple(f"s{at}" for at in range(len(scores) - 1))
    return compare(TargetScores(target="t", sources=names, scores=0.7 + 0.01 * scores))


def flagged(blocks: Blocks, n_labs: int) -> list[Departure]:
    return [one for one in departures(blocks, [str(at) for at in range(n_labs)]) if one.flagged]


def test_a_shifted_lab_is_flagged_with_the_size_of_its_shift() -> None:
    (found,) = flagged(labs_of(4, seed=1, n_seeds=3, shift=4.0), 4)
    assert found.lab == "3"
    assert found.low < 0.04 < found.high
    assert found.low > 0.02
    assert found.n_pairs == 18
    assert found.p_value < 0.01


def test_the_others_are_compared_without_it() -> None:
    found = departures(labs_of(5, seed=2, n_seeds=3, shift=6.0), list("01234"))
    assert [one.flagged for one in found] == [False] * 4 + [True]
    assert found[4].others == ("0", "1", "2", "3")
    assert all("4" not in one.others for one in found[:4])


def test_a_lab_whose_gains_are_mixed_up_is_flagged_by_their_scatter() -> None:
    (found,) = flagged(labs_of(4, seed=3, n_seeds=3, scatter=4.0), 4)
    assert found.lab == "3"
    assert found.p_scatter < 0.001
    assert found.scatter > 4


def test_labs_that_are_alike_are_rarely_flagged() -> None:
    """At most one study in twenty, within three standard errors of 60 studies; `benchmarks/pooling.py` has more."""
    n = sum(bool(flagged(labs_of(4, seed=seed, n_targets=2, sources=4), 4)) for seed in range(100, 160))
    assert n <= 0.05 * 60 + 3 * np.sqrt(60 * 0.05 * 0.95)


def test_a_noisy_lab_is_not_taken_for_a_biased_one() -> None:
    n = sum(bool(flagged(labs_of(4, seed=seed, n_seeds=3, noise=3.0), 4)) for seed in range(30))
    assert n <= 0.05 * 30 + 3 * np.sqrt(30 * 0.05 * 0.95)


def test_labs_that_differ_pair_by_pair_are_no_departures() -> None:
    """Each lab has its own true gains, as in other settings; a lab that is shifted beyond that is still found."""
    n = sum(bool(flagged(labs_of(4, seed=seed, n_seeds=3, tau=2.0), 4)) for seed in range(30))
    assert n <= 0.05 * 30 + 3 * np.sqrt(30 * 0.05 * 0.95)
    (found,) = flagged(labs_of(5, seed=6, n_seeds=3, tau=1.0, shift=5.0), 5)
    assert found.lab == "4"


def test_two_labs_cannot_tell_which_one_departs() -> None:
    found = departures(labs_of(2, seed=4, shift=10.0), ["0", "1"])
    assert [one.n_pairs for one in found] == [0, 0]
    assert np.isnan([one.p_value for one in found]).all()
    assert departures({}, ["a"])[0].flagged is False


def test_only_pairs_of_three_labs_count() -> None:
    blocks = labs_of(4, seed=5, n_targets=1)
    less = {"0": {lab: one for lab, one in blocks["0"].items() if lab in ("0", "1", "2")}}
    found = departures(less, list("0123"))
    assert [one.n_pairs for one in found] == [6, 6, 6, 0]


# ---- one grid, split into labs ---------------------------------------------------------------------------------------


def test_pooled_labs_agree_with_all_runs_together() -> None:
    """Eight seeds in four labs: each pooled change is inside the joint interval, and the joint one inside its own."""
    rng = np.random.default_rng(11)
    gains = rng.normal(0, 2, 6)
    scores = np.append(0.0, gains)[:, None] + rng.normal(0, 1, 8) + rng.normal(0, 1, (7, 8))
    joint = compared(scores)
    parts = [compared(scores[:, at : at + 2]) for at in range(0, 8, 2)]
    found = pool(
        np.array([one.difference for one in parts]).T,
        np.array([one.standard_error for one in parts]).T ** 2,
        freedom=np.array([one.degrees_of_freedom for one in parts]).T,
    )
    for at, one in enumerate(found):
        assert joint.low[at] < one.estimate < joint.high[at]
        assert one.low < joint.difference[at] < one.high
        assert one.low < 0.01 * gains[at] < one.high
