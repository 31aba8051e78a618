"""Chances of a verdict: what results say counts, and they are near what simulated grids give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from empslurm.analysis.chances import Pair, Prior, Standing, prior_of
from empslurm.analysis.verdicts import TargetScores, compare, decide

N_SOURCES = 9


def standing(differences: Sequence[float], *, n_transfer: int = 4, n_baseline: int = 4, seed: int = 1) -> Standing:
    """Results of a target, in units of the noise of a run."""
    rng = np.random.default_rng(seed)
    means = np.array([0.0, *differences])[:, None]
    scores = means + rng.permuted(np.tile(np.linspace(-1.2, 1.2, n_baseline), (len(means), 1)), axis=1)
    scores[1:, n_transfer:] = np.nan
    sources = tuple(f"s{at}" for at in range(len(differences)))
    comparison = compare(TargetScores(target="t", sources=sources, scores=scores))
    decided = {verdict.source for verdict in decide([comparison]) if verdict.verdict in ("helps", "harms")}
    return Standing(comparison=comparison, decided=frozenset(decided))


def pair(of: Standing | None, source: str = "s0", prior: Prior | None = None) -> Pair:
    return Pair(source, of, N_SOURCES, prior or Prior())


def test_there_is_no_chance_with_one_run_in_an_arm() -> None:
    assert pair(None).chance(1, 5) == pair(None).chance(5, 1) == 0.0
    assert 0 < pair(None).chance(2, 2) < pair(None).chance(3, 3) < pair(None).chance(5, 5) < 1


def test_of_a_pair_with_results_only_more_runs_can_change_the_verdict() -> None:
    near, clear, none = (pair(standing([difference, 0.0, 0.0, 0.0])) for difference in (1.8, 9.0, 0.0))
    assert clear.settled
    assert clear.chance(9, 9) == 0.0
    assert near.chance(4, 4) == none.chance(4, 4) == 0.0
    assert near.chance(6, 6) > near.chance(5, 5) > none.chance(5, 5)


def test_an_untried_source_of_a_known_target_is_assumed_to_be_like_others() -> None:
    known = standing([1.0, 0.0, 0.5, -0.5])
    assert pair(known, "new").estimate is None
    assert pair(known, "new").chance(3, 3) == pair(None).chance(3, 3)


def test_the_assumptions_follow_the_results() -> None:
    assert prior_of([]) == Prior()
    large, small = prior_of([standing([50.0, -50.0, 40.0])]), prior_of([standing([0.1, -0.1, 0.0])])
    assert large.effect > Prior().effect > small.effect
    assert large.decided > Prior().decided > small.decided


@pytest.mark.parametrize(("n_runs", "seed"), [(2, 1), (3, 2), (5, 3)])
def test_chances_are_near_the_share_of_decided_pairs(n_runs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_decided = n_pairs = 0
    for _ in range(12):
        comparisons = []
        for target in range(6):
            means = np.append(0.0, rng.normal(0, 3.0, N_SOURCES))[:, None]
            scores = means + rng.normal(0, 1, (1, n_runs)) + rng.normal(0, 1, (1 + N_SOURCES, n_runs))
            sources = tuple(map(str, range(N_SOURCES)))
            comparisons.append(compare(TargetScores(target=str(target), sources=sources, scores=scores)))
        verdicts = decide(comparisons)
        n_decided += sum(verdict.verdict in ("helps", "harms") for verdict in verdicts)
        n_pairs += len(verdicts)
    share = n_decided / n_pairs
    prior = Prior(effect=3.0, examples=0.0, seed=1.0, decided=share)
    assert pair(None, prior=prior).chance(n_runs, n_runs) == pytest.approx(share, abs=0.1)
