"""With a margin, pairs may be equivalent: shown to differ by less, by two one-sided tests."""

import numpy as np
import pytest
from scipy import stats

from empslurm.analysis.verdicts import TargetScores, compare, decide, equivalence_p_values

MARGIN = 0.05


def target(means, *, n_seeds=4, noise=0.01, seed=0):
    """A baseline of .5 and a source per difference of `means`."""
    rng = np.random.default_rng(seed)
    scores = 0.5 + np.array([0.0, *means])[:, None] + noise * rng.normal(size=(1 + len(means), n_seeds))
    return TargetScores(target="t", sources=tuple(f"s{at}" for at in range(len(means))), scores=scores)


def test_the_p_value_is_that_of_two_one_sided_tests():
    found = compare(target([0.0, 0.03, -0.03, 0.2]))
    error, freedom = found.standard_error, found.degrees_of_freedom
    above = stats.t.sf((found.difference + MARGIN) / error, freedom)  # H0: difference <= -margin
    below = stats.t.cdf((found.difference - MARGIN) / error, freedom)  # H0: difference >= margin
    np.testing.assert_allclose(equivalence_p_values(found, MARGIN), np.maximum(above, below))
    assert np.isnan(equivalence_p_values(found, None)).all()


def test_it_agrees_with_the_90_percent_interval_inside_the_margin():
    found = compare(target(np.linspace(-0.1, 0.1, 41)))
    reach = stats.t.ppf(0.95, found.degrees_of_freedom) * found.standard_error
    inside = (found.difference - reach > -MARGIN) & (found.difference + reach < MARGIN)
    assert ((equivalence_p_values(found, MARGIN) < 0.05) == inside).all()
    assert 5 < inside.sum() < 36


def test_equal_runs_differ_by_what_they_differ_by():
    scores = np.array([[0.5, 0.5], [0.52, 0.52], [0.5, 0.5], [0.6, 0.6]])
    found = compare(TargetScores(target="t", sources=("a", "b", "c"), scores=scores))
    made = equivalence_p_values(found, MARGIN)
    told = ~np.isnan(found.p_value)
    assert made[told].tolist() == np.array([0.0, 0.0, 1.0])[told].tolist()


def test_words_with_and_without_a_margin():
    found = [compare(target([0.0, 0.3, -0.3, 0.01], n_seeds=6))]
    assert [one.verdict for one in decide(found)][:3] == ["inconclusive", "helps", "harms"]
    with_margin = decide(found, MARGIN)
    assert [one.verdict for one in with_margin] == ["equivalent", "helps", "harms", "equivalent"]
    assert all(one.p_equivalent < 0.05 for one in (with_margin[0], with_margin[3]))
    assert all(np.isnan(one.p_equivalent) for one in decide(found))


def test_a_small_difference_that_is_shown_is_equivalent_where_a_margin_asks():
    """It is shown not to be 0, and shown not to matter; the second is what was asked."""
    found = [compare(target([0.02], n_seeds=8, noise=0.001))]
    assert decide(found)[0].verdict == "helps"
    assert decide(found, MARGIN)[0].verdict == "equivalent"


def test_undecided_stays_undecided():
    found = [compare(target([0.0], n_seeds=1))]
    (one,) = decide(found, MARGIN)
    assert (one.verdict, one.reason != "") == ("undecided", True)
    assert np.isnan(one.p_equivalent)


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_a_difference_of_the_margin_is_rarely_called_equivalent(n_seeds):
    """The error that the test bounds: at most .05, up to Monte Carlo error."""
    called = [
        equivalence_p_values(compare(target([MARGIN] * 8, n_seeds=n_seeds, noise=0.02, seed=seed)), MARGIN) < 0.05
        for seed in range(300)
    ]
    assert 0.01 < np.mean(called) < 0.075
