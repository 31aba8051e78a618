"""False-positive rates and power of verdict rules on simulated grids.

    python benchmarks/verdict_simulation.py [--grids N] [--collapse-grids N]

One grid: a baseline and sources, a few seeds each, all scored on one test set that is drawn anew for every grid. Scores
are means over examples, so that the bootstrap's covariance is known without resampling. The unit is the standard
deviation of the seed noise. `cells of equal kind` differ in nothing but the seed: what the paper's test calls a
difference there is a false positive by construction.

A second table has two to eight seeds, equal and unequal variances, and runs that collapse: at one rate in all cells, so
that a source changes nothing by it. Its grids are of two kinds, without any effect and with sources of which a third
help. The share of false calls is that among the pairs called after Benjamini-Hochberg, 0 where none is, and its mean
over grids: of one target, and of families of eighteen targets, which is what a study corrects over.

Writes benchmarks/results/verdict_simulation.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from empslurm.analysis.collapse import collapsed_runs
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
N_TARGETS = 18  # of a family
FALL = 8.0  # of a run that collapses, in units of the seed noise
HELPING = 1 / 3  # of the sources, in grids with an effect


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Runs that collapse at one rate in every cell. Standard deviations in units of the seed noise."""

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
FOUND, KNOWN = "verdict", "verdict, collapses known"  # from scores alone, and told by predictions
COLLAPSE_METHODS = ("paper's test, one seed", "Welch", FOUND, KNOWN)
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


def verdict(
    scores: NDArray[np.float64],
    covariance: NDArray[np.float64] | None,
    collapsed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    sources = tuple(str(at) for at in range(len(scores) - 1))
    return compare(
        TargetScores(
            target="simulated", sources=sources, scores=scores, collapsed=collapsed, example_covariance=covariance
        )
    ).p_value


def draw_collapse(
    case: Collapse, effect: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores, and which runs collapsed: (n_cells, n_seeds). The first third of the sources help by `effect`."""
    n_cells = 1 + case.n_sources
    scale = np.ones(n_cells)
    if np.isfinite(case.spread):
        scale = np.sqrt((case.spread - 2) / rng.chisquare(case.spread, n_cells))
    shape = (n_cells, case.n_seeds)
    collapsed = rng.random(shape) < case.rate
    scores = scale[:, None] * rng.normal(size=shape) + case.run_by_example * rng.normal(size=shape) - FALL * collapsed
    scores[1 : 1 + round(HELPING * case.n_sources)] += effect
    return scores, collapsed


def collapse_p_values(case: Collapse, scores: NDArray[np.float64], collapsed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """p of every method and source, NaN where undecided: (n_methods, n_sources). The paper's test knows its error."""
    paper = (scores[1:, 0] - scores[0, 0]) / (case.run_by_example * np.sqrt(2))
    found = verdict(scores, None)
    return np.vstack(
        [
            2 * stats.norm.sf(np.abs(paper)),
            stats.ttest_ind(scores[1:], scores[0], axis=1, equal_var=False).pvalue,
            found,
            verdict(scores, None, collapsed) if collapsed.any() else found,
        ]
    )


def called(p_values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pairs with p < .05 after Benjamini-Hochberg over all that are not NaN; the shape of `p_values`."""
    found = np.zeros(p_values.shape, dtype=bool)
    tested = ~np.isnan(p_values)
    if tested.any():
        found[tested] = stats.false_discovery_control(p_values[tested]) < LEVEL
    return found


def false_share(p_values: NDArray[np.float64], helps: NDArray[np.bool_]) -> float:
    """Share of false calls among a family's calls, 0 without any. Shapes (..., n_sources) and (n_sources,)."""
    calls = called(p_values)
    return float((calls & ~helps).sum() / max(1, calls.sum()))


def collapse_row(case: Collapse, effect: float, n_grids: int, rng: np.random.Generator) -> dict[str, object]:
    """What every method does in `n_grids` grids without an effect and as many with one."""
    helps = np.arange(case.n_sources) < round(HELPING * case.n_sources)
    made = np.empty((2, n_grids, len(COLLAPSE_METHODS), case.n_sources))
    seen = np.zeros(4)  # runs that collapsed, those of them that were found, runs that learnt, those taken as collapsed
    for kind, grid in itertools.product(range(2), range(n_grids)):
        scores, collapsed = draw_collapse(case, effect * kind, rng)
        made[kind, grid] = collapse_p_values(case, scores, collapsed)
        found = collapsed_runs(scores)
        seen += (collapsed.sum(), (found & collapsed).sum(), (~collapsed).sum(), (found & ~collapsed).sum())
    families = n_grids // N_TARGETS
    rows: dict[str, dict[str, float]] = {}
    for at, method in enumerate(COLLAPSE_METHODS):
        null, mixed = made[:, :, at]
        decided = ~np.isnan(null)
        in_families = [each[: families * N_TARGETS].reshape(families, -1, case.n_sources) for each in (null, mixed)]
        per_grid = np.where(decided, null < LEVEL, 0).sum(1) / max(1e-9, decided.sum() / n_grids)
        values = {
            "false_positive_rate": (null < LEVEL).sum() / max(1, decided.sum()),
            "standard_error": per_grid.std(ddof=1) / np.sqrt(n_grids),
            "below_one_in_a_thousand": (null < 0.001).sum() / max(1, decided.sum()),
            "false_calls_no_effect": np.mean([false_share(grid, helps & False) for grid in null]),
            "false_calls_a_third_helps": np.mean([false_share(grid, helps) for grid in mixed]),
            "false_calls_no_effect_18_targets": np.mean([false_share(one, helps & False) for one in in_families[0]]),
            "false_calls_a_third_helps_18_targets": np.mean([false_share(one, helps) for one in in_families[1]]),
            "undecided": 1 - decided.mean(),
        }
        if helps.any():
            values["power"] = (mixed[:, helps] < LEVEL).mean()
            values["power_corrected"] = np.mean([called(grid)[helps].mean() for grid in mixed])
        rows[method] = {name: round(float(value), 5) for name, value in values.items()}
    return {
        "scenario": {name: value if np.isfinite(value) else None for name, value in asdict(case).items()},
        "collapsed_runs_found": round(seen[1] / seen[0], 4) if seen[0] else None,
        "learnt_runs_taken_as_collapsed": round(seen[3] / seen[2], 6),
        "methods": rows,
    }


def print_collapse_row(row: dict[str, Any]) -> None:
    """One line per method."""
    case = row["scenario"]
    variances = "equal" if case["spread"] is None else "unequal"
    title = f"{1 + case['n_sources']} tasks, {case['n_seeds']} seeds, {variances}, {case['rate']:.0%} collapse"
    for method, values in row["methods"].items():
        print(f"{title:44s} {method:26s}" + " ".join(f"{value:.3f}" for value in values.values()), flush=True)


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
    parser.add_argument(
        "--collapse-grids", type=int, default=1800, help="simulated targets per row of the second table and kind"
    )
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
    print(
        f"{'':71s}"
        + "false +, its error, p < .001, false calls (none, third; 18 targets: none, third), undecided, power"
    )
    collapse_rows = []
    for case in COLLAPSES:
        collapse_rows.append(collapse_row(case, given.effect, given.collapse_grids, rng))
        print_collapse_row(collapse_rows[-1])
    made = {
        "grids": given.grids,
        "collapse_grids": given.collapse_grids,
        "effect": given.effect,
        "level": LEVEL,
        "rows": rows,
        "collapse_rows": collapse_rows,
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(made, indent=1))
    above = [row["name"] for row in rows if row["false_positive_rate"]["verdict"] > LIMIT]
    print(f"the verdict's false-positive rate is above {LIMIT} in: {', '.join(above) or 'no scenario'}")


if __name__ == "__main__":
    main()
