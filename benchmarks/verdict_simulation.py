"""False-positive rates and power of verdict rules on simulated grids.

    python benchmarks/verdict_simulation.py [--grids N]

One grid: a baseline and sources, a few seeds each, all scored on one test set that is drawn anew for every grid. Scores
are means over examples, so that the bootstrap's covariance is known without resampling. The unit is the standard
deviation of the seed noise. `cells of equal kind` differ in nothing but the seed: what the paper's test calls a
difference there is a false positive by construction. Writes benchmarks/results/verdict_simulation.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from empslurm.analysis.resampling import Examples, resample
from empslurm.analysis.seed_noise import moderate
from empslurm.analysis.significance import example_test
from empslurm.analysis.verdicts import TargetScores, compare, shared_example_covariance

OUT = Path(__file__).parent / "results" / "verdict_simulation.json"
LEVEL = 0.05
LIMIT = 0.06  # the default verdict's false-positive rate at .05 must stay at or under this


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Standard deviations in units of the seed noise; those of examples are of their effect on a mean score."""

    name: str
    n_sources: int = 17
    n_seeds: int = 3
    n_baseline_seeds: int = 3
    common: float = 0.0  # of what equal seeds share
    spread: float = float("inf")  # degrees of freedom of the true variances' scaled inverse chi-square; inf: all equal
    tail: float = float("inf")  # degrees of freedom of the noise's t distribution
    collapse: float = 0.0  # share of runs that fall by 8 units
    baseline_noise: float = 1.0  # of the baseline's seed noise, beside the transfers'
    source_by_example: float = 0.0  # what makes another test set favour another source
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
METHODS = ("paper's test, one seed", "Welch", "paired t", "pooled t", "moderated t", "verdict, seeds only", "verdict")


def draw(
    scenario: Scenario, effect: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores (n_cells, n_seeds) with NaN where no run is, and per-example values (n_cells, n_seeds, n_examples)."""
    n_cells, n_seeds = 1 + scenario.n_sources, max(scenario.n_seeds, scenario.n_baseline_seeds)
    scale = np.ones(n_cells)
    if np.isfinite(scenario.spread):
        scale = np.sqrt(scenario.spread / rng.chisquare(scenario.spread, n_cells))
        scale /= np.sqrt(scenario.spread / (scenario.spread - 2))
    scale[0] *= scenario.baseline_noise
    noise = rng.normal(size=(n_cells, n_seeds))
    if np.isfinite(scenario.tail):
        noise /= np.sqrt(rng.chisquare(scenario.tail, noise.shape) / (scenario.tail - 2))
    noise = noise * scale[:, None] - 8 * (rng.random(noise.shape) < scenario.collapse)
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


def p_values(scenario: Scenario, scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """p of every method and source, shape (n_methods, n_sources)."""
    n_seeds, n_base = scenario.n_seeds, scenario.n_baseline_seeds
    baseline, moved = scores[0, :n_base], scores[1:, :n_seeds]
    one = values[1:, 0] - values[0, 0]
    paper = one.mean(1) / (one.std(1, ddof=1) / np.sqrt(one.shape[1]))
    difference = moved.mean(1) - baseline.mean()
    squares = np.append(((baseline - baseline.mean()) ** 2).sum(), ((moved - moved.mean(1)[:, None]) ** 2).sum(1))
    freedom = np.append(n_base - 1.0, np.full(len(moved), n_seeds - 1.0))
    pooled = np.sqrt(squares.sum() / freedom.sum() * (1 / n_seeds + 1 / n_base))
    each = moderate(squares, freedom)
    own, base, borrowed = each.variance[1:] / n_seeds, each.variance[0] / n_base, each.degrees_of_freedom
    df = np.minimum((own + base) ** 2 / (own**2 / borrowed[1:] + base**2 / borrowed[0]), freedom.sum())
    covariance = shared(scores, values)
    return np.vstack(
        [
            2 * stats.norm.sf(np.abs(paper)),
            stats.ttest_ind(moved, baseline, axis=1, equal_var=False).pvalue,
            stats.ttest_rel(moved, np.broadcast_to(baseline[:n_seeds], moved.shape), axis=1).pvalue,
            2 * stats.t.sf(np.abs(difference) / pooled, freedom.sum()),
            2 * stats.t.sf(np.abs(difference) / np.sqrt(own + base), df),
            verdict(scores, None),
            verdict(scores, covariance),
        ]
    )


def shared(scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The covariance that a bootstrap of infinite length would give: of the mean over examples, between seeds."""
    cells, seeds = np.nonzero(~np.isnan(scores))
    return shared_example_covariance(values[cells, seeds] / np.sqrt(values.shape[2]), cells, seeds, len(scores))


def verdict(scores: NDArray[np.float64], covariance: NDArray[np.float64] | None) -> NDArray[np.float64]:
    sources = tuple(str(at) for at in range(len(scores) - 1))
    return compare(
        TargetScores(target="simulated", sources=sources, scores=scores, example_covariance=covariance)
    ).p_value


def answers(effect: float, rng: np.random.Generator) -> tuple[TargetScores, NDArray[np.float64]]:
    """A grid of labelled answers, macro F1 and the real bootstrap: (the verdict's input, the paper's p per source).

    Examples differ in difficulty, runs in ability (standard deviation .3 logits), sources in which examples suit them.
    """
    n_cells, n_seeds, n_examples, n_labels = 18, 3, 300, 4
    gold = rng.integers(0, n_labels, n_examples)
    ability = 1.0 + 0.3 * rng.normal(size=(n_cells, n_seeds, 1)) + effect * (np.arange(n_cells) > 0)[:, None, None]
    logits = ability + 1.5 * rng.normal(size=n_examples) + 0.7 * rng.normal(size=(n_cells, 1, n_examples))
    right = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    outputs = np.where(right, gold, (gold + rng.integers(1, n_labels, logits.shape)) % n_labels)
    examples = Examples(gold=gold, metric="f1_macro", n_labels=n_labels)
    found = resample(examples, outputs.reshape(-1, n_examples), n_resamples=400, rng=rng)
    cells, seeds = np.repeat(np.arange(n_cells), n_seeds), np.tile(np.arange(n_seeds), n_cells)
    given = TargetScores(
        target="simulated",
        sources=tuple(str(at) for at in range(1, n_cells)),
        scores=found.observed.reshape(n_cells, n_seeds),
        example_covariance=shared_example_covariance(found.scores, cells, seeds, n_cells),
    )
    paper = example_test(examples, outputs[0, 0], outputs[1:, 0], rng=rng, n_resamples=999)
    return given, paper.p_value


def rates_of_answers(effect: float, n_grids: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Share of rejections of (the paper's test, Welch, the verdict) per grid, shape (n_grids, 3)."""
    found = []
    for _ in range(n_grids):
        given, paper = answers(effect, rng)
        welch = stats.ttest_ind(given.scores[1:], given.scores[0], axis=1, equal_var=False).pvalue
        found.append([(p < LEVEL).mean() for p in (paper, welch, compare(given).p_value)])
    return np.array(found)


def rates(scenario: Scenario, effect: float, n_grids: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Share of rejections per grid and method, shape (n_grids, n_methods)."""
    return np.array([(p_values(scenario, *draw(scenario, effect, rng)) < LEVEL).mean(1) for _ in range(n_grids)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grids", type=int, default=1500, help="simulated grids per scenario and effect")
    parser.add_argument("--effect", type=float, default=2.0, help="true difference for the power, in seed-noise units")
    given = parser.parse_args()
    rng = np.random.default_rng(20240501)
    rows = []
    print(f"{'scenario':44s} {'':6s}" + "".join(f"{method:>24s}" for method in METHODS))
    for scenario in SCENARIOS:
        null = rates(scenario, 0.0, given.grids, rng)
        power = rates(scenario, given.effect, given.grids, rng)
        error = null.std(0, ddof=1) / np.sqrt(given.grids)  # grids are independent, the comparisons of one are not
        for kind, found in (("false +", null.mean(0)), ("power", power.mean(0))):
            print(f"{scenario.name:44s} {kind:7s}" + "".join(f"{value:24.3f}" for value in found))
        rows.append(
            {
                "scenario": {
                    name: value if np.isfinite(value) else None
                    for name, value in asdict(scenario).items()
                    if name != "name"
                },
                "name": scenario.name,
                "false_positive_rate": dict(zip(METHODS, null.mean(0).round(4).tolist(), strict=True)),
                "standard_error": dict(zip(METHODS, error.round(4).tolist(), strict=True)),
                "power": dict(zip(METHODS, power.mean(0).round(4).tolist(), strict=True)),
            }
        )
    n_grids = max(10, given.grids // 3)
    null, power = (rates_of_answers(effect, n_grids, rng) for effect in (0.0, 0.7))
    names = (METHODS[0], METHODS[1], METHODS[-1])
    rows.append(
        {
            "name": "answers, macro F1 and the real bootstrap",
            "settings": {"n_sources": 17, "n_seeds": 3, "n_examples": 300, "n_labels": 4, "n_grids": n_grids},
            "false_positive_rate": dict(zip(names, null.mean(0).round(4).tolist(), strict=True)),
            "standard_error": dict(zip(names, (null.std(0) / np.sqrt(n_grids)).round(4).tolist(), strict=True)),
            "power": dict(zip(names, power.mean(0).round(4).tolist(), strict=True)),
        }
    )
    print(json.dumps(rows[-1]))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"grids": given.grids, "effect": given.effect, "level": LEVEL, "rows": rows}, indent=1))
    above = [row["name"] for row in rows if row["false_positive_rate"]["verdict"] > LIMIT]
    print(f"the verdict's false-positive rate is above {LIMIT} in: {', '.join(above) or 'no scenario'}")


if __name__ == "__main__":
    main()
