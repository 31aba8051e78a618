"""Simulate false-positive rates and power of verdict rules on random grids.

    python benchmarks/verdict_simulation.py [--grids N] [--collapse-grids N] [--tables NAME ...]

A grid is a baseline and some sources with a few seeds each, all scored on one test set, which is drawn again for every
grid. The unit is the standard deviation of the seed noise. Five tables:

- scores: scores are means over examples, so the bootstrap's covariance is known without resampling. `cells of equal
  kind` differ only in the seed: any difference that the paper's test finds there is a false positive by construction.
- answers: every metric, single and grouped examples, with the real bootstrap.
- collapse: two to eight seeds, equal and unequal variances, and runs that collapse at the same rate in all cells, so
  that collapses are no effect of a source. Grids without any effect, and grids in which a third of the sources help.
  The share of false calls is the share among the pairs called after Benjamini-Hochberg (0 where none is called),
  averaged over grids: for one target, and for families of eighteen targets, over which a study corrects.
- equivalence: how often a difference as large as the margin is called equivalent, and how often no difference is.
- promises: the power that `more_seeds` promises, and the power that its seeds then have.

`power_at_equal_rate`: power at each method's own threshold, at which it rejects .05 of all pairs without an effect; an
undecided pair is not rejected. Rows in which the verdict falls short are named at the end and in the results.

Writes benchmarks/results/verdict_simulation.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import verdict_answers
from numpy.typing import NDArray
from scipy import stats
from verdict_answers import Answers
from verdict_cases import COLLAPSES, HELPING, SCENARIOS, Collapse, Scenario, draw, draw_collapse
from verdict_promises import EQUIVALENCES, PROMISES, Promise, comparison, equivalence_row, plain, promise_row

from empslurm.analysis.collapse import collapsed_runs
from empslurm.analysis.seed_noise import moderate
from empslurm.analysis.verdicts import LEVEL, shared_example_covariance

OUT = Path(__file__).parent / "results" / "verdict_simulation.json"
SEED = 20240501
TABLES = ("scores", "answers", "collapse", "equivalence", "promises")
N_TARGETS = 18  # per family
EFFECT = 2.0  # true difference for the power, in units of the seed noise
FOUND, KNOWN = "verdict", "verdict, collapses known"  # collapses found from scores alone, or known from predictions
COLLAPSE_METHODS = ("paper's test, one seed", "Welch", FOUND, KNOWN)
METHODS = ("paper's test, one seed", "Welch", "paired t", "pooled t", "moderated t", "verdict, seeds only", "verdict")
WANTED = {"false_positive_rate": 0.05, "false_calls": 0.05, "false_calls_collapse": 0.10, "promise": 0.05}
N_RESAMPLES = 200  # of grids, for the standard error of a power
ERRORS = 2.0  # standard errors beyond the limit from which a row is named as falling short


def p_values(scenario: Scenario, scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values of every method and source, shape (n_methods, n_sources)."""
    n_seeds, n_base = scenario.n_seeds, scenario.n_baseline_seeds
    baseline, moved = scores[0, :n_base], scores[1:, :n_seeds]
    gained = values[1:, 0] - values[0, 0]
    paper = gained.mean(1) / (gained.std(1, ddof=1) / np.sqrt(gained.shape[1]))
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
    """The covariance between seeds of the mean over examples that infinitely many bootstrap resamples would give."""
    cells, seeds = np.nonzero(~np.isnan(scores))
    return shared_example_covariance(values[cells, seeds] / np.sqrt(values.shape[2]), cells, seeds, len(scores))


def verdict(
    scores: NDArray[np.float64],
    covariance: NDArray[np.float64] | None,
    collapsed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    return comparison(scores, collapsed, covariance).p_value


def collapse_p_values(case: Collapse, scores: NDArray[np.float64], collapsed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """p-values, NaN where undecided: (n_methods, n_sources). The paper's test is given its true error."""
    paper = (scores[1:, 0] - scores[0, 0]) / (case.run_by_example * np.sqrt(2))
    all_runs = verdict(scores, None)
    return np.vstack(
        [
            2 * stats.norm.sf(np.abs(paper)),
            stats.ttest_ind(scores[1:], scores[0], axis=1, equal_var=False).pvalue,
            all_runs,
            verdict(scores, None, collapsed) if collapsed.any() else all_runs,
        ]
    )


def power_at_equal_rate(null: NDArray[np.float64], helped: NDArray[np.float64]) -> float:
    """Power at the threshold at which .05 of all pairs without an effect are rejected.

    `null`, `helped`: p-values (n_grids, n_sources), NaN where undecided, which is not rejected.
    """
    ordered = np.where(np.isnan(null), 1.0, null).ravel()
    index = int(LEVEL * len(ordered))
    return float((helped < np.partition(ordered, index)[index]).mean())


def rates(null: NDArray[np.float64], helped: NDArray[np.float64]) -> dict[str, float]:
    """The rates of one method, from p-values (n_grids, n_sources) without and with an effect."""
    decided = ~np.isnan(null)
    per_grid = np.where(decided, null < LEVEL, 0).sum(1) / max(1e-9, decided.sum() / len(null))
    shares = {
        "false_positive_rate": (null < LEVEL).sum() / max(1, decided.sum()),
        "standard_error": per_grid.std(ddof=1) / np.sqrt(len(null)),  # grids are independent; pairs of a grid are not
        "below_one_in_a_thousand": (null < 0.001).sum() / max(1, decided.sum()),
        "undecided": 1 - decided.mean(),
    }
    if not helped.size:
        return shares
    return {**shares, "power": (helped < LEVEL).mean(), "power_at_equal_rate": power_at_equal_rate(null, helped)}


def behind(
    null: NDArray[np.float64], helped: NDArray[np.float64], methods: Sequence[str], name: str
) -> dict[str, float]:
    """How far a method's power is below Welch's at equal rates, with its standard error by a bootstrap over grids.

    Shapes (n_methods, n_grids, n_pairs).
    """
    if not helped.size:
        return {}
    chosen = [methods.index("Welch"), methods.index(name)]
    null, helped = null[chosen], helped[chosen]

    def lost(rows: NDArray[np.int64] | slice, others: NDArray[np.int64] | slice) -> float:
        welch, own = (power_at_equal_rate(null[at][rows], helped[at][others]) for at in range(2))
        return welch - own

    rng, n_grids = np.random.default_rng(SEED), null.shape[1]
    drawn = [lost(*rng.integers(0, n_grids, (2, n_grids))) for _ in range(N_RESAMPLES)]
    return {"below_welch": lost(slice(None), slice(None)), "standard_error": float(np.std(drawn, ddof=1))}


def rounded(values: dict[str, Any]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in values.items()}


def row_of(
    null: NDArray[np.float64], helped: NDArray[np.float64], methods: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """A row of the first two tables; shapes (n_methods, n_grids, n_pairs)."""
    return {
        "methods": {method: rounded(rates(null[at], helped[at])) for at, method in enumerate(methods)},
        "behind": {name: rounded(behind(null, helped, methods, name)) for name in names},
    }


def score_row(case: Scenario, n_grids: int, rng: np.random.Generator) -> dict[str, Any]:
    null, helped = (
        np.stack([p_values(case, *draw(case, effect, rng)) for _ in range(n_grids)], axis=1) for effect in (0.0, EFFECT)
    )
    settings = {name: value for name, value in plain(case).items() if name != "name"}
    return {"name": case.name, "scenario": settings, **row_of(null, helped, METHODS, ["verdict"])}


def answer_row(case: Answers, n_grids: int, rng: np.random.Generator) -> dict[str, Any]:
    moved = verdict_answers.EFFECTS["labels" if case.labelled else "values"]
    null, helped = (
        np.stack([verdict_answers.p_values(case, effect, rng) for _ in range(n_grids)], axis=1)
        for effect in (0.0, moved)
    )
    kind = f"groups of {verdict_answers.PER_GROUP}" if case.grouped else "single examples"
    settings = {"metric": case.metric, "grouped": case.grouped, "effect": moved, "n_grids": n_grids}
    row = row_of(null, helped, verdict_answers.METHODS, ["verdict"])
    return {"name": f"{case.metric}, {kind}", "scenario": settings, **row}


def called(p_values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pairs with p < .05 after Benjamini-Hochberg over all that are not NaN; the shape of `p_values`."""
    calls = np.zeros(p_values.shape, dtype=bool)
    tested = ~np.isnan(p_values)
    if tested.any():
        calls[tested] = stats.false_discovery_control(p_values[tested]) < LEVEL
    return calls


def false_share(p_values: NDArray[np.float64], helps: NDArray[np.bool_]) -> float:
    """Share of false calls among a family's calls, 0 without any. Shapes (..., n_sources) and (n_sources,)."""
    calls = called(p_values)
    return float((calls & ~helps).sum() / max(1, calls.sum()))


def collapse_row(case: Collapse, n_grids: int, rng: np.random.Generator) -> dict[str, Any]:
    """A row of the third table: every method in `n_grids` grids without an effect and as many with one."""
    helps = np.arange(case.n_sources) < round(HELPING * case.n_sources)
    p_values = np.empty((2, len(COLLAPSE_METHODS), n_grids, case.n_sources))
    seen = np.zeros(4)  # runs that collapsed, found ones among them; runs that learnt, wrongly marked ones among them
    for kind in range(2):
        for grid in range(n_grids):
            scores, collapsed = draw_collapse(case, EFFECT * kind, rng)
            p_values[kind, :, grid] = collapse_p_values(case, scores, collapsed)
            judged = collapsed_runs(scores)
            seen += (
                collapsed.sum(),
                (judged & collapsed).sum(),
                (~collapsed).sum(),
                (judged & ~collapsed).sum(),
            )
    rows = {}
    for at, method in enumerate(COLLAPSE_METHODS):
        null, mixed = p_values[:, at]
        own = rates(null, mixed[:, helps])
        for name, p, truly in (("no_effect", null, helps & False), ("a_third_helps", mixed, helps)):
            for suffix, shares in (("", of_targets(p, truly)), ("_18_targets", of_families(p, truly))):
                own[f"false_calls_{name}{suffix}"] = float(np.mean(shares))
                own[f"error_of_false_calls_{name}{suffix}"] = np.std(shares, ddof=1) / np.sqrt(len(shares))
        if helps.any():
            own["power_corrected"] = np.mean([called(grid)[helps].mean() for grid in mixed])
        rows[method] = rounded(own)
    variances = "equal" if np.isinf(case.spread) else "unequal"
    return {
        "name": f"{1 + case.n_sources} tasks, {case.n_seeds} seeds, {variances}, {case.rate:.0%} collapse",
        "scenario": plain(case),
        "collapsed_runs_found": round(seen[1] / seen[0], 4) if seen[0] else None,
        "learnt_runs_taken_as_collapsed": round(seen[3] / seen[2], 6),
        "methods": rows,
        "behind": {
            name: rounded(behind(p_values[0], p_values[1][..., helps], COLLAPSE_METHODS, name))
            for name in (FOUND, KNOWN)
        },
    }


def of_targets(p_values: NDArray[np.float64], helps: NDArray[np.bool_]) -> list[float]:
    return [false_share(grid, helps) for grid in p_values]


def of_families(p_values: NDArray[np.float64], helps: NDArray[np.bool_]) -> list[float]:
    n_families = len(p_values) // N_TARGETS
    families = p_values[: n_families * N_TARGETS].reshape(n_families, N_TARGETS, len(helps))
    return [false_share(family, helps) for family in families]


# ---- what falls short ------------------------------------------------------------------------------------------------


def short(tables: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A sentence for every row in which the verdict exceeds its limit by more than its Monte Carlo error.

    For promises, by any amount.
    """
    sentences = []

    def beyond(row: dict[str, Any], what: str, value: float, error: float, limit: float) -> None:
        if value > limit + ERRORS * error:
            by = f" (error {error:.3f})" if error else ""
            sentences.append(f"{row['name']}: {what} {value:.3f}{by}, wanted {limit:.2f} at most")

    for row in (*tables["scores"], *tables["answers"], *tables["collapse"]):
        for name, lost in row["behind"].items():
            own = row["methods"][name]
            beyond(
                row,
                f"false positives of {name}",
                own["false_positive_rate"],
                own["standard_error"],
                WANTED["false_positive_rate"],
            )
            if lost:
                beyond(row, f"power of {name} below Welch's by", lost["below_welch"], lost["standard_error"], 0.0)
            limit = WANTED["false_calls_collapse" if row["scenario"].get("rate") else "false_calls"]
            for key in [key for key in own if key.startswith("false_calls")]:
                beyond(row, f"{key} of {name}", own[key], own[f"error_of_{key}"], limit)
    for row in tables["equivalence"]:
        beyond(row, "equivalent at the margin", row["error_rate"], row["standard_error"], LEVEL)
        limit = WANTED["false_calls_collapse" if row["scenario"]["rate"] else "false_calls"]
        beyond(row, "false calls of equivalence", row["false_calls"], row["error_of_false_calls"], limit)
    for row in tables["promises"]:
        off = abs(row["promised"] - row["reached"])
        beyond(
            row, f"power {row['reached']:.3f} of {row['promised']:.3f} promised, off by", off, 0.0, WANTED["promise"]
        )
    return sentences


# ---- running ---------------------------------------------------------------------------------------------------------


def name_of(case: Collapse | Promise) -> str:
    """The settings of a case that differ from the defaults, as a name."""
    usual = {field.name: field.default for field in fields(case)}
    values = [(name, value) for name, value in asdict(case).items() if value != usual[name]]
    return ", ".join(f"{name} {value:g}" for name, value in values)


def named_equivalence(case: Collapse, n_grids: int, rng: np.random.Generator) -> dict[str, Any]:
    return {"name": name_of(case), **equivalence_row(case, n_grids, rng, called)}


def named_promise(case: Promise, n_grids: int, rng: np.random.Generator) -> dict[str, Any]:
    return {"name": name_of(case), **promise_row(case, n_grids, rng)}


def run(position: tuple[int, int], make: Callable[..., dict[str, Any]], case: Any, n_grids: int) -> dict[str, Any]:
    """Compute a row with its own random stream, so that rows do not depend on which others are run."""
    return make(case, n_grids, np.random.default_rng([SEED, *position]))


def show(row: dict[str, Any]) -> None:
    for method, values in row.get("methods", {"": row}).items():
        numbers = [f"{name} {value:.3f}" for name, value in values.items() if isinstance(value, float)]
        print(f"{row['name']:46s} {method:25s} {'; '.join(numbers)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--grids", type=int, default=1500, help="simulated grids per scenario and effect; default: 1500"
    )
    parser.add_argument(
        "--collapse-grids", type=int, default=1800, help="simulated targets per row of the third table; default: 1800"
    )
    parser.add_argument(
        "--tables", nargs="+", choices=TABLES, default=TABLES, help="tables to compute; the file keeps the others"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="results file")
    options = parser.parse_args()
    n_few = max(10, options.grids // 5)  # for tables whose grids take long
    plans: dict[str, tuple[Callable[..., dict[str, Any]], Sequence[Any], int]] = {
        "scores": (score_row, SCENARIOS, options.grids),
        "answers": (answer_row, verdict_answers.CASES, n_few),
        "collapse": (collapse_row, COLLAPSES, options.collapse_grids),
        "equivalence": (named_equivalence, EQUIVALENCES, options.grids),
        "promises": (named_promise, PROMISES, options.grids),
    }
    tables: dict[str, list[dict[str, Any]]] = {}
    if set(options.tables) != set(TABLES):
        tables = {name: rows for name, rows in json.loads(options.out.read_text()).items() if name in TABLES}
    with ProcessPoolExecutor() as pool:
        for number, (name, (make, cases, n_grids)) in enumerate(plans.items()):
            if name not in options.tables:
                continue
            tables[name] = []
            print(f"{name}, {n_grids} grids a row")
            positions = [(number, at) for at in range(len(cases))]
            jobs = [
                pool.submit(run, position, make, case, n_grids) for position, case in zip(positions, cases, strict=True)
            ]
            for row in (job.result() for job in jobs):
                tables[name].append(row)
                show(row)
    sentences = short(tables)
    sizes = {"grids": options.grids, "collapse_grids": options.collapse_grids, "effect": EFFECT, "level": LEVEL}
    options.out.write_text(
        json.dumps({**sizes, "short": sentences, **{name: tables[name] for name in TABLES}}, indent=1) + "\n"
    )
    print("falls short:" if sentences else "falls short nowhere", *sentences, sep="\n")


if __name__ == "__main__":
    main()
