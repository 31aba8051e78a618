"""The cases of the verdict's simulations, and random scores of grids, with and without collapsing runs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A kind of grid. Standard deviations are in units of the seed noise; those of examples concern a mean score."""

    name: str
    n_sources: int = 17
    n_seeds: int = 3
    n_baseline_seeds: int = 3
    common: float = 0.0  # of the common effect of equal seeds
    spread: float = float("inf")  # degrees of freedom of the true variances' scaled inverse chi-square; inf: all equal
    tail: float = float("inf")  # degrees of freedom of the noise's t distribution
    collapse: float = 0.0  # share of runs that fall by `FALL`
    baseline_noise: float = 1.0  # of the baseline's seed noise, relative to the transfers'
    source_by_example: float = 0.0  # of the effect by which another test set favours another source
    run_by_example: float = 0.3
    n_examples: int = 150


SCENARIOS = (
    Scenario(name="cells of equal kind"),
    Scenario(name="equal kind, large test set effect of runs", run_by_example=1.0),
    Scenario(name="seeds in common", common=1.5),
    Scenario(name="variances differ (8)", spread=8),
    Scenario(name="variances differ much (3)", spread=3),
    Scenario(name="heavy tails", tail=4),
    Scenario(name="two percent of runs collapse", collapse=0.02),
    Scenario(name="example error as large as seed noise", source_by_example=0.6),
    Scenario(name="all of it", common=1.0, spread=4, tail=6, source_by_example=0.4),
    Scenario(name="baseline twice as noisy", baseline_noise=2.0),
    Scenario(name="baseline with nine seeds", n_baseline_seeds=9),
    Scenario(name="baseline with nine seeds, seeds in common", n_baseline_seeds=9, common=1.0),
    Scenario(name="five seeds, variances differ (4)", n_seeds=5, n_baseline_seeds=5, spread=4),
    Scenario(name="six tasks", n_sources=5),
    Scenario(name="six tasks, variances differ (4)", n_sources=5, spread=4),
    Scenario(name="three tasks", n_sources=2),
    Scenario(name="one pair", n_sources=1),
)
FALL = 8.0  # of a collapsing run's score, in units of the seed noise
HELPING = 1 / 3  # share of the sources that help, in grids with an effect


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Grids whose runs collapse at the same rate in every cell. Standard deviations in units of the seed noise."""

    n_seeds: int
    rate: float
    spread: float = float("inf")  # as in Scenario
    n_sources: int = 17
    run_by_example: float = 0.3


COLLAPSES = (
    *(
        Collapse(n_seeds=n_seeds, spread=spread, rate=rate)
        for n_seeds, spread, rate in itertools.product((2, 3, 5, 8), (float("inf"), 4.0), (0.0, 0.03, 0.10, 0.30))
    ),
    *(
        Collapse(n_seeds=n_seeds, n_sources=n_sources, rate=rate)
        for n_sources, n_seeds, rate in itertools.product((5, 1), (3, 8), (0.10, 0.30))
    ),
)


def draw(
    scenario: Scenario, effect: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw scores (n_cells, n_seeds), NaN without a run, and per-example values (n_cells, n_seeds, n_examples)."""
    n_cells, n_seeds = 1 + scenario.n_sources, max(scenario.n_seeds, scenario.n_baseline_seeds)
    scale = np.ones(n_cells)
    if np.isfinite(scenario.spread):
        scale = np.sqrt(scenario.spread / rng.chisquare(scenario.spread, n_cells))
        scale /= np.sqrt(scenario.spread / (scenario.spread - 2))
    scale[0] *= scenario.baseline_noise
    noise = rng.normal(size=(n_cells, n_seeds))
    if np.isfinite(scenario.tail):
        noise /= np.sqrt(rng.chisquare(scenario.tail, noise.shape) / (scenario.tail - 2))
    noise = noise * scale[:, None] - FALL * (rng.random(noise.shape) < scenario.collapse)
    runs = noise + scenario.common * rng.normal(size=n_seeds)
    runs[1:] += effect
    root = np.sqrt(scenario.n_examples)
    shape = (n_cells, n_seeds, scenario.n_examples)
    values = scenario.run_by_example * root * rng.normal(size=shape) + runs[:, :, None]
    values += scenario.source_by_example * root * rng.normal(size=(n_cells, 1, scenario.n_examples))
    scores = values.mean(2)
    scores[1:, scenario.n_seeds :] = np.nan
    scores[0, scenario.n_baseline_seeds :] = np.nan
    return scores, values


def draw_collapse(
    case: Collapse, effect: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw scores, and which runs collapsed: (n_cells, n_seeds). The first third of the sources help by `effect`."""
    n_cells = 1 + case.n_sources
    scale = np.ones(n_cells)
    if np.isfinite(case.spread):
        scale = np.sqrt((case.spread - 2) / rng.chisquare(case.spread, n_cells))
    shape = (n_cells, case.n_seeds)
    collapsed = rng.random(shape) < case.rate
    scores = scale[:, None] * rng.normal(size=shape) + case.run_by_example * rng.normal(size=shape) - FALL * collapsed
    scores[1 : 1 + round(HELPING * case.n_sources)] += effect
    return scores, collapsed
