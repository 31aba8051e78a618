"""Simulate two promises: a difference as large as the margin is seldom called `equivalent`, and the seeds that
`more_seeds` asks for have the power that it states.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from verdict_cases import FALL, Collapse, Scenario, draw_collapse

from empslurm.analysis.more_seeds import MOST_SEEDS, more_seeds
from empslurm.analysis.verdicts import LEVEL, Comparison, TargetScores, compare, equivalence_p_values

MARGIN = 3.0  # in units of the seed noise
EQUIVALENCES = tuple(
    Collapse(n_seeds=n_seeds, spread=spread, rate=rate)
    for n_seeds, spread, rate in itertools.product((2, 3, 5, 8), (float("inf"), 4.0), (0.0, 0.10))
)


def equivalence_row(
    case: Collapse, n_grids: int, rng: np.random.Generator, called: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> dict[str, object]:
    """A row of `equivalence`: half of the sources differ by exactly the margin, up or down, half by nothing."""
    there = np.where(np.arange(case.n_sources) % 2, 0.0, np.where(np.arange(case.n_sources) % 4, MARGIN, -MARGIN))
    p_values = np.empty((n_grids, case.n_sources))
    for grid in range(n_grids):
        scores, _ = draw_collapse(case, 0.0, rng)
        scores[1:] += there[:, None]
        p_values[grid] = equivalence_p_values(comparison(scores), MARGIN)
    decided, same = ~np.isnan(p_values), there == 0
    corrected = np.array([called(grid) for grid in p_values])
    shares = (corrected & ~same).sum(1) / np.maximum(1, corrected.sum(1))
    per_grid = (p_values[:, ~same] < LEVEL).mean(1)
    return {
        "scenario": plain(case),
        "margin": MARGIN,
        "error_rate": round(float((p_values[:, ~same] < LEVEL).sum() / decided[:, ~same].sum()), 5),
        "standard_error": round(float(per_grid.std(ddof=1) / np.sqrt(n_grids)), 5),
        "false_calls": round(float(shares.mean()), 5),
        "error_of_false_calls": round(float(shares.std(ddof=1) / np.sqrt(n_grids)), 5),
        "power": round(float((p_values[:, same] < LEVEL).mean()), 5),
        "undecided": round(float(1 - decided.mean()), 5),
    }


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A study of `n_seeds`, and the wanted difference. Standard deviations in units of the seed noise."""

    n_seeds: int
    wanted: float
    spread: float = float("inf")  # as in Scenario
    n_sources: int = 17
    common: float = 0.0  # of the common effect of equal seeds
    examples: float = 0.0  # of the cells' example error
    rate: float = 0.0  # share of runs that collapse
    baseline_noise: float = 1.0


PROMISES = (
    *(
        Promise(n_seeds=n_seeds, wanted=wanted, spread=spread)
        for n_seeds, wanted, spread in itertools.product((2, 3, 5, 8), (1.0, 2.0), (float("inf"), 4.0))
    ),
    *(Promise(n_seeds=n_seeds, wanted=1.5, common=common) for common in (1.0, 2.0) for n_seeds in (2, 3, 5)),
    *(Promise(n_seeds=n_seeds, wanted=2.0, examples=0.3) for n_seeds in (2, 3, 5)),
    *(Promise(n_seeds=n_seeds, wanted=2.0, rate=rate) for n_seeds, rate in ((3, 0.1), (5, 0.1), (5, 0.3))),
    *(Promise(n_seeds=n_seeds, wanted=2.0, n_sources=n) for n, n_seeds in itertools.product((1, 5), (2, 3, 5))),
    *(Promise(n_seeds=n_seeds, wanted=2.0, baseline_noise=2.0) for n_seeds in (3, 5)),
)


def promise_row(case: Promise, n_grids: int, rng: np.random.Generator) -> dict[str, object]:
    """Promised power, and the power reached after the requested seeds are added to the present ones."""
    answers = [answer for answer in (_promise(case, rng) for _ in range(n_grids)) if answer is not None]
    if not answers:
        raise RuntimeError(f"no grid of {case} has an answer; set a larger wanted difference")
    promised, reached, n_baseline, n_transfer = np.array(answers).T
    return {
        "scenario": plain(case),
        "promised": round(float(promised.mean()), 4),
        "reached": round(float(reached.mean()), 4),
        "standard_error": round(float((reached - promised).std(ddof=1) / np.sqrt(len(answers))), 4),
        "baseline_seeds": round(float(n_baseline.mean()), 2),
        "transfer_seeds": round(float(n_transfer.mean()), 2),
        "no_answer": round(1 - len(answers) / n_grids, 4),
    }


def _promise(case: Promise, rng: np.random.Generator) -> tuple[float, float, int, int] | None:
    """Promised and reached power, and seeds of both arms; None where no number of seeds is enough, or it is unknown."""
    n_cells = 1 + case.n_sources
    scale = np.ones(n_cells)
    if np.isfinite(case.spread):
        scale = np.sqrt((case.spread - 2) / rng.chisquare(case.spread, n_cells))
    scale[0] *= case.baseline_noise
    shape = (n_cells, MOST_SEEDS)
    collapsed = rng.random(shape) < case.rate
    scores = scale[:, None] * rng.normal(size=shape) + case.common * rng.normal(size=MOST_SEEDS) - FALL * collapsed
    scores[1:] += case.wanted
    scores += case.examples * rng.normal(size=(n_cells, 1))
    known = case.examples**2 * np.eye(n_cells)
    asked = more_seeds(comparison(scores[:, : case.n_seeds], collapsed[:, : case.n_seeds], known), case.wanted)
    if asked.limit:
        return None
    n_baseline, n_transfer = case.n_seeds + asked.more_baseline, case.n_seeds + asked.more_transfer
    scores[1:, n_transfer:], collapsed[1:, n_transfer:] = np.nan, False
    compared = comparison(scores[:, :n_baseline], collapsed[:, :n_baseline], known)
    return asked.power, float((compared.p_value < LEVEL).mean()), n_baseline, n_transfer


def comparison(
    scores: NDArray[np.float64],
    collapsed: NDArray[np.bool_] | None = None,
    covariance: NDArray[np.float64] | None = None,
) -> Comparison:
    """The `Comparison` of a simulated target."""
    sources = tuple(str(at) for at in range(len(scores) - 1))
    return compare(
        TargetScores(
            target="simulated", sources=sources, scores=scores, collapsed=collapsed, example_covariance=covariance
        )
    )


def plain(case: Scenario | Collapse | Promise) -> dict[str, object]:
    """The settings of a case for the results file, without infinities."""
    return {name: None if value == float("inf") else value for name, value in asdict(case).items()}
