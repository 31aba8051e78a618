"""Measure whether a budget is kept, and how many verdicts an hour of it brings, on simulated grids.

    python benchmarks/budget.py [--grids N] [--only NAME ...]

A grid has ten tasks, all 90 ordered pairs and five seeds: 500 cells. A target's cells take a time of their own (spread
over tasks by a factor of about four), and a pack adds the time of one pass over its data. A run's score is the
baseline's mean, the true difference of its pair, a common effect of its seed, noise, and an example error that all
seeds share; a third of the pairs have no true difference. Nothing is trained. The kinds of grids differ in how large
true differences are beside the noise of a run, and in how far apart targets are in that.

For each budget (a share of what the whole grid takes), the cells that `launch.budget.choose` chooses are compared with
two orders that are cut at the same hours: the plan's own order, and cells in random order (each after its source).
Situations: `nothing` has run yet; the same, where the budget is given in `two halves`, the second chosen by the results
of the first; and two seeds of everything have finished, and the `rest` is chosen by their results.

- decided: pairs with a verdict that is neither inconclusive nor undecided, of the analysis that `gather` makes.
- decided_per_hour, and its difference from each rival with the standard error over grids.
- wrong: decided pairs whose verdict has the wrong sign, or that have no true difference.
- spent: true hours of the chosen cells, as a share of the budget, where each cell's cost is known.
- spent_measured: the same, where costs are estimated from one finished seed of everything, each cell's time with a
  random factor (standard deviation of its logarithm .3), and true costs have such factors too.
- spent_pilot: the same, where only the first seed of the baselines and of two targets' transfers has finished.

Writes benchmarks/results/budget.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.chances import Standing
from empslurm.analysis.verdicts import Comparison, TargetScores, compare, decide
from empslurm.launch import budget, cost
from empslurm.launch.budget import Unit
from empslurm.launch.cost import CellCost, Measured
from empslurm.manifest.load import load_manifest
from empslurm.plan import Decision, Inputs, Known, Plan, expand, packs

OUT = Path(__file__).parent / "results" / "budget.json"
SEED = 20261129
TASKS = (
    "condolence", "conv_emoint", "conv_emopol", "conv_empathy", "hope", "epitome_er", "epitome_ex", "epitome_ip",
    "news_distress", "news_empathy",
)  # fmt: skip
SEEDS = (1, 2, 3, 4, 5)
BUDGETS = (0.1, 0.35, 0.5, 0.75)
OURS, RIVALS = "budget", ("plan's order", "random order")
NO_EFFECT = 1 / 3  # of the pairs
SPREAD = 0.3  # standard deviation of the logarithm of a cell's time beside its estimate


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of grid; in units of the noise of a run."""

    name: str
    effect: float  # standard deviation of true differences, of the pairs that have any
    apart: float  # standard deviation of the logarithm of a target's noise
    examples: float = 0.5  # standard deviation of the example error of a cell's score


KINDS = (
    Kind(name="large differences", effect=6.0, apart=0.5),
    Kind(name="medium differences", effect=3.0, apart=0.5),
    Kind(name="small differences", effect=1.5, apart=0.5),
    Kind(name="targets alike", effect=3.0, apart=0.0),
)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One simulated grid: what every run would score, and what every cell takes."""

    differences: Mapping[tuple[str, str], float]  # (source, target) -> true difference
    scores: Mapping[str, float]  # cell -> score
    examples: Mapping[str, float]  # target -> variance of the example error of a cell's mean
    costs: Mapping[str, CellCost]
    factors: Mapping[str, float]  # cell -> how much longer than its cost it takes, where costs vary


def grid(folder: Path) -> Plan:
    """The plan, without data."""
    path = folder / "ten.yaml"
    path.write_text(f"name: ten\ntasks: [{', '.join(TASKS)}]\nseeds: [{', '.join(map(str, SEEDS))}]\nbackbone: tiny\n")
    manifest = load_manifest(path)
    known = dict.fromkeys(manifest.backbones, Known(digest="weights"))
    return expand(manifest, Inputs(raw=dict.fromkeys(manifest.data, "raw"), missing={}, notes={}, backbones=known))


def truth(plan: Plan, kind: Kind, rng: np.random.Generator) -> Truth:
    """Draw a grid."""
    noise = dict(zip(TASKS, np.exp(rng.normal(0, kind.apart, len(TASKS))), strict=True))
    hours = dict(zip(TASKS, np.exp(rng.normal(0, 0.5, len(TASKS))), strict=True))
    differences = {
        (source, target): 0.0 if rng.random() < NO_EFFECT else float(rng.normal(0, kind.effect))
        for target in TASKS
        for source in TASKS
        if source != target
    }
    example = {
        (source, target): float(rng.normal(0, kind.examples * noise[target])) for target in TASKS for source in TASKS
    }
    common = {(target, seed): float(rng.normal(0, noise[target])) for target in TASKS for seed in SEEDS}
    scores = {}
    for cell in plan.cells:
        source = cell.source_task or cell.target
        scores[cell.id] = (
            differences.get((source, cell.target), 0.0)
            + common[cell.target, cell.seed]
            + example[source, cell.target]
            + float(rng.normal(0, noise[cell.target]))
        )
    return Truth(
        differences=differences,
        scores=scores,
        examples={target: (kind.examples * noise[target]) ** 2 for target in TASKS},
        costs={
            cell.id: CellCost(
                cell_s=600 * hours[cell.target], pack_s=600 * hours[cell.target], low=0.8, high=1.2, seen=True
            )
            for cell in plan.cells
        },
        factors={cell.id: float(np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD))) for cell in plan.cells},
    )


def comparisons(plan: Plan, drawn: Truth, done: Iterable[str]) -> list[Comparison]:
    """What the finished cells say: one comparison for each target with a baseline and a transfer."""
    finished, found = {*done}, []
    for target in TASKS:
        sources = tuple(source for source in TASKS if source != target)
        table = np.full((1 + len(sources), len(SEEDS)), np.nan)
        for cell in plan.cells:
            if cell.target == target and cell.id in finished:
                row = 0 if cell.source_task is None else 1 + sources.index(cell.source_task)
                table[row, SEEDS.index(cell.seed)] = drawn.scores[cell.id]
        there = ~np.isnan(table).all(1)
        if not there[0] or there.sum() < 2:
            continue
        kept = tuple(source for source, row in zip(sources, there[1:], strict=True) if row)
        found.append(
            compare(
                TargetScores(
                    target=target,
                    sources=kept,
                    scores=table[there],
                    example_covariance=np.eye(1 + len(kept)) * drawn.examples[target],
                )
            )
        )
    return found


def seconds(plan: Plan, drawn: Truth, cells: Iterable[str], *, vary: bool = False) -> float:
    """What cells take: their own time and one pass of each pack."""
    total = 0.0
    for pack in packs(plan.by_id[cell] for cell in cells):
        own = [drawn.factors[cell.id] if vary else 1.0 for cell in pack.cells]
        costs = drawn.costs[pack.cells[0].id]
        total += costs.cell_s * sum(own) + costs.pack_s * float(np.mean(own))
    return total


def cut(plan: Plan, drawn: Truth, order: Sequence[str], limit_s: float) -> list[str]:
    """The first cells of an order that take at most `limit_s`."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds(plan, drawn, order[:middle]) <= limit_s else (low, middle - 1)
    return list(order[:low])


def shuffled(plan: Plan, todo: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Cells in random order, each after the cell that it starts from."""
    order: dict[str, None] = {}
    for at in rng.permutation(len(todo)):
        cell = plan.by_id[todo[at]]
        if cell.starts_from in {*todo}:
            order.setdefault(str(cell.starts_from))
        order.setdefault(cell.id)
    return list(order)


def decisions(plan: Plan, done: Iterable[str]) -> list[Decision]:
    finished = {*done}
    return [Decision(cell=cell, action="reuse" if cell.id in finished else "run", why="") for cell in plan.cells]


def standings(plan: Plan, found: Sequence[Comparison]) -> dict[Unit, Standing]:
    verdicts = decide(found)
    decided = {(v.source, v.target) for v in verdicts if v.verdict not in ("inconclusive", "undecided")}
    (backbone,) = plan.labels
    return {
        Unit(backbone, one.target, 1.0): Standing(
            comparison=one, decided=frozenset(source for source in one.sources if (source, one.target) in decided)
        )
        for one in found
    }


def counted(plan: Plan, drawn: Truth, done: Iterable[str]) -> tuple[int, int]:
    """Decided pairs, and how many of them are wrong."""
    verdicts = [v for v in decide(comparisons(plan, drawn, done)) if v.verdict in ("helps", "harms")]
    wrong = sum(drawn.differences[v.source, v.target] * v.difference <= 0 for v in verdicts)
    return len(verdicts), wrong


def measured(plan: Plan, drawn: Truth, done: Iterable[str]) -> list[Measured]:
    """Finished cells as a runs root reports them: shares of their packs' times, and tokens."""
    found = []
    for pack in packs(plan.by_id[cell] for cell in done):
        own = [drawn.factors[cell.id] for cell in pack.cells]
        for cell, factor in zip(pack.cells, own, strict=True):
            costs = drawn.costs[cell.id]
            found.append(
                Measured(
                    target=cell.target,
                    kind=cell.kind,
                    backbone=cell.backbone,
                    on_gpu=True,
                    wall_s=costs.cell_s * factor + costs.pack_s * float(np.mean(own)) / len(pack.cells),
                    n_tokens=round(1000 * costs.cell_s),
                    pack_size=len(pack.cells),
                    cell=cell.id,
                )
            )
    return found


def one_grid(plan: Plan, kind: Kind, number: int) -> list[dict[str, Any]]:
    """Every budget in every situation, on one grid."""
    rng = np.random.default_rng([SEED, KINDS.index(kind), number])
    drawn = truth(plan, kind, rng)
    first = [cell.id for cell in plan.cells if cell.seed == SEEDS[0]]
    two = [cell.id for cell in plan.cells if cell.seed in SEEDS[:2]]
    small = [cell for cell in first if plan.by_id[cell].source_task is None or plan.by_id[cell].target in TASKS[:2]]
    rows = []
    for situation, done, n_calls in (("nothing", [], 1), ("two halves", [], 2), ("rest", two, 1)):
        todo = [cell.id for cell in plan.cells if cell.id not in {*done}]
        whole_s = seconds(plan, drawn, todo)
        before, _ = counted(plan, drawn, done)
        random = shuffled(plan, todo, rng)
        for share in BUDGETS:
            limit_s = share * whole_s
            ours, spent_s = in_calls(plan, drawn, done, limit_s, n_calls)
            orders = {
                OURS: ours,
                RIVALS[0]: cut(plan, drawn, todo, limit_s),
                RIVALS[1]: cut(plan, drawn, random, limit_s),
            }
            row: dict[str, Any] = {"situation": situation, "share": share}
            for name, order in orders.items():
                n_decided, n_wrong = counted(plan, drawn, [*done, *order])
                row[name] = ((n_decided - before) / (limit_s / 3600), n_decided, n_wrong)
            row["spent"] = spent_s / limit_s
            rows.append(row)
    for name, done in (("spent_measured", first), ("spent_pilot", small)):
        left = [cell for cell in plan.cells if cell.id not in {*done}]
        limit_s = 0.35 * seconds(plan, drawn, [cell.id for cell in left])
        costs = cost.per_cell(left, measured(plan, drawn, done))
        chosen = budget.choose(plan, decisions(plan, done), costs, limit_s)
        took = seconds(plan, drawn, [cell.id for cell in chosen.cells], vary=True)
        low, high = (hours * 3600 for hours in (chosen.estimate.low_job_h, chosen.estimate.high_job_h))
        rows.append({"situation": name, "share": 0.35, "spent": took / limit_s, "within": low <= took <= high})
    return rows


def in_calls(plan: Plan, drawn: Truth, done: Sequence[str], limit_s: float, n_calls: int) -> tuple[list[str], float]:
    """The cells that equal parts of a budget pay for, each part chosen by the results before it; and what they take."""
    order: list[str] = []
    spent_s = 0.0
    for call in range(1, n_calls + 1):
        there = [*done, *order]
        known = standings(plan, comparisons(plan, drawn, there)) if there else {}
        left_s = call * limit_s / n_calls - spent_s
        chosen = budget.choose(plan, decisions(plan, there), drawn.costs, left_s, known=known)
        cells = [cell.id for cell in chosen.cells]
        spent_s += seconds(plan, drawn, cells)
        order += cells
    return order, spent_s


def summary(values: Iterable[float]) -> dict[str, float]:
    """Mean, standard error and range over grids."""
    array: NDArray[np.float64] = np.asarray([*values], dtype=np.float64)
    return {
        "mean": round(float(array.mean()), 4),
        "standard_error": round(float(array.std(ddof=1) / np.sqrt(len(array))), 4),
        "least": round(float(array.min()), 4),
        "most": round(float(array.max()), 4),
    }


def of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What one situation and budget gave over all grids."""
    found: dict[str, Any] = {"spent": summary(row["spent"] for row in rows)}
    if OURS not in rows[0]:
        return {**found, "within_bounds": round(float(np.mean([row["within"] for row in rows])), 3)}
    for name in (OURS, *RIVALS):
        n_decided, n_wrong = (sum(row[name][at] for row in rows) for at in (1, 2))
        found[name] = {
            "decided_per_hour": summary(row[name][0] for row in rows),
            "decided": round(n_decided / len(rows), 2),
            "wrong": round(n_wrong / max(1, n_decided), 4),
        }
    for name in RIVALS:
        found[f"more_per_hour_than_{name}"] = summary(row[OURS][0] - row[name][0] for row in rows)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=12)
    parser.add_argument("--only", nargs="+", choices=[kind.name for kind in KINDS], default=None)
    options = parser.parse_args()
    began = time.monotonic()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plan = grid(Path(folder))
    results: dict[str, Any] = {}
    for kind in KINDS:
        if options.only is not None and kind.name not in options.only:
            continue
        rows = [row for number in range(options.grids) for row in one_grid(plan, kind, number)]
        keys = dict.fromkeys((row["situation"], row["share"]) for row in rows)
        results[kind.name] = {
            f"{situation}, {share:g}": of_rows([r for r in rows if (r["situation"], r["share"]) == (situation, share)])
            for situation, share in keys
        }
        for key, found in results[kind.name].items():
            print(kind.name, key, line(found), flush=True)
    took = {"seconds": round(time.monotonic() - began), "grids": options.grids}
    if options.only is None:
        OUT.write_text(json.dumps({**took, "cells": len(plan.cells), "kinds": results}, indent=1) + "\n")


def line(found: Mapping[str, Any]) -> str:
    spent = f"spent {found['spent']['mean']:.3f} ({found['spent']['least']:.3f} to {found['spent']['most']:.3f})"
    if OURS not in found:
        return f"{spent}, within its bounds {found['within_bounds']:.0%}"
    rates = ", ".join(f"{name} {found[name]['decided_per_hour']['mean']:.2f}" for name in (OURS, *RIVALS))
    return f"{spent}; per hour: {rates}"


if __name__ == "__main__":
    main()
