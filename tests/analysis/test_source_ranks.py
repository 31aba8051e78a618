"""Ranks of sources: coverage by simulation, a clear winner, ties, and sources with different targets."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empslurm.analysis.source_ranks import TargetGains, rank_sources
from empslurm.analysis.verdicts import TargetScores, compare
from empslurm.errors import UsageError

N_TRIALS = 150


def target(gains: list[float], error: float, sources: list[int] | None = None) -> TargetGains:
    """Gains with independent errors."""
    own = np.arange(len(gains)) if sources is None else np.array(sources)
    return TargetGains(
        sources=own, gains=np.array(gains), covariance=np.eye(len(gains)) * error**2, degrees_of_freedom=8.0
    )


def simulated(effects: NDArray[np.float64], n_targets: int, rng: np.random.Generator) -> list[TargetGains]:
    """Targets with three seeds, whose own source is left out, judged as verdicts are."""
    targets = []
    for own in range(n_targets):
        sources = np.array([source for source in range(len(effects)) if source != own])
        means = np.append(0.0, effects[sources] + rng.normal())
        scores = means[:, None] + 0.5 * rng.normal(size=3) + rng.normal(size=(len(means), 3))
        names = tuple(map(str, sources))
        comparison = compare(TargetScores(target=str(own), sources=names, scores=scores))
        targets.append(
            TargetGains(
                sources=sources,
                gains=comparison.difference,
                covariance=comparison.covariance,
                degrees_of_freedom=float(comparison.degrees_of_freedom.min()),
            )
        )
    return targets


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_the_intervals_of_all_ranks_together_hold_the_true_ones(spread: float) -> None:
    effects = np.linspace(0, spread, 4)
    best = 1 + (effects > effects[:, None]).sum(1)
    worst = len(effects) - (effects < effects[:, None]).sum(1)
    rng, held = np.random.default_rng(7), 0
    for trial in range(N_TRIALS):
        found = rank_sources(simulated(effects, 4, rng), 4, np.random.default_rng(trial))
        held += bool((found.best <= best).all() and (found.worst >= worst).all())
    assert held / N_TRIALS >= 0.93


def test_a_clear_winner_is_found_and_the_others_are_ties() -> None:
    found = rank_sources([target([1.0, 0.01, 0.0], 0.05), target([1.1, 0.0, 0.02], 0.05)], 3, np.random.default_rng(1))
    assert found.place.tolist() == [1, 2, 2]
    assert (found.best.tolist(), found.worst.tolist()) == ([1, 2, 2], [1, 3, 3])
    assert found.effect == pytest.approx([1.05, 0.005, 0.01])
    assert (found.low < found.effect).all()
    assert (found.effect < found.high).all()


def test_a_source_is_not_punished_for_the_targets_that_it_has() -> None:
    """Source 2 has only the target on which everything loses; there it does best."""
    easy, hard = target([0.5, 0.3], 0.01), target([-0.5, -0.7, -0.4], 0.01, [0, 1, 2])
    found = rank_sources([easy, hard], 3, np.random.default_rng(1))
    assert found.effect == pytest.approx([0.0, -0.2, 0.1])
    assert found.place.tolist() == [2, 3, 1]
    assert found.n_targets.tolist() == [2, 2, 1]


def test_sources_that_share_no_target_are_never_told_apart() -> None:
    found = rank_sources([target([1.0, 2.0], 0.01), target([9.0], 0.01, [2])], 4, np.random.default_rng(1))
    assert not found.connected
    assert found.effect[:3] == pytest.approx([1.0, 2.0, 9.0])
    assert np.isnan(found.effect[3])
    assert found.place.tolist() == [2, 1, 1, 1]
    assert (found.best[2], found.worst[2], found.worst[3]) == (1, 4, 4)


def test_unknown_errors_leave_all_tied_and_no_error_shows_every_difference() -> None:
    unknown = rank_sources([target([1.0, 0.0], np.nan)], 2, np.random.default_rng(1))
    assert unknown.effect == pytest.approx([1.0, 0.0])
    assert np.isnan([unknown.low, unknown.high]).all()
    assert (unknown.best.tolist(), unknown.worst.tolist(), unknown.known) == ([1, 1], [2, 2], False)
    exact = rank_sources([target([1.0, 0.0, 1.0], 0.0)], 3, np.random.default_rng(1))
    assert exact.place.tolist() == [1, 3, 1]


def test_the_same_stream_gives_the_same_ranks() -> None:
    targets = simulated(np.array([0.0, 1.0, 2.0, 4.0]), 4, np.random.default_rng(3))
    one, two = (rank_sources(targets, 4, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(one.best, two.best)
    np.testing.assert_array_equal(one.low, two.low)


def test_nothing_and_wrong_shapes() -> None:
    assert np.isnan(rank_sources([], 2, np.random.default_rng(1)).effect).all()
    with pytest.raises(UsageError, match="number the sources from 0"):
        rank_sources([target([1.0], 0.1, [5])], 2, np.random.default_rng(1))
    with pytest.raises(UsageError, match="give one gain per source"):
        rank_sources([target([1.0, 2.0], 0.1, [0])], 2, np.random.default_rng(1))
