"""A search from its manifest to a grid that trains with what it found."""

import csv
import json
from collections import defaultdict
from itertools import product
from typing import Any

import pytest

from empslurm.manifest.presets import load_preset
from tests.project import Project, create

TASKS = ("epitome_er", "news_empathy")
TYPES = ("seq_bn", "prefix_tuning")
SEEDS = (1, 2)
N_TRIALS, N_EPOCHS = 3, 2
LIMITS = "max_length: 16, max_train_examples: 24, max_eval_examples: 16"
SEARCH = f"""\
name: hunt
kind: search
tasks: [{", ".join(TASKS)}]
n_trials: {N_TRIALS}
seeds: {list(SEEDS)}
space:
  adapters: [{", ".join(TYPES)}]
  lr: {{low: 1.0e-3, high: 1.0e-1}}
  batch_size: {{low: 4, high: 12}}
pruner: none
second_stage: {{n_types: {len(TYPES)}}}
backbone: tiny
training: {{epochs: {N_EPOCHS}, {LIMITS}}}
"""
GRID = f"""\
name: grid
tasks: [{", ".join(TASKS)}]
seeds: [1]
backbone: tiny
training: {{preset: found, {LIMITS}}}
"""


@pytest.fixture(scope="module")
def hunted(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose search is through, second stage and all, and not yet frozen."""
    project = create(tmp_path_factory.mktemp("search"), {"hunt": SEARCH, "grid": GRID})
    project.call("data", "sample")
    trials = project.json("submit", "hunt", "--profile", "local")
    assert trials["states"] == {"done": len(TASKS) * N_TRIALS}
    second = project.json("submit", "hunt", "--profile", "local")
    assert second["states"] == {"done": len(TASKS) * len(TYPES) * len(SEEDS)}
    return project


def cells_of(project: Project, kind: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Id -> what identifies the cell, and its result."""
    folders = sorted((project.path / "runs" / "cells").iterdir())
    read = {
        path.name: [json.loads((path / f"{name}.json").read_text()) for name in ("cell", "result")] for path in folders
    }
    return {name: (cell, result) for name, (cell, result) in read.items() if cell["kind"] == kind}


def best_of_second_stage(project: Project) -> dict[str, tuple[str, float, int, float]]:
    """Task -> kind of adapter with the best mean over seeds, that mean, its batch size and rate."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    trained: dict[str, tuple[int, float]] = {}
    for cell, result in cells_of(project, "baseline").values():
        scores[cell["target"], cell["adapter"]["kind"]].append(result["validation"][result["metric"]])
        trained[cell["target"]] = (cell["training"]["batch_size"], cell["training"]["lr"])
    assert {len(each) for each in scores.values()} == {len(SEEDS)}
    best = {}
    for task in TASKS:
        means = {kind: sum(scores[task, kind]) / len(SEEDS) for kind in TYPES}
        kind = max(means, key=lambda one: means[one])
        best[task] = (kind, means[kind], *trained[task])
    return best


def test_every_trial_is_finished_once_and_the_second_stage_trains_what_the_best_trial_drew(hunted: Project) -> None:
    trials = list(cells_of(hunted, "trial").values())
    numbers = sorted((cell["target"], cell["trial"]["number"]) for cell, _ in trials)
    assert numbers == [(task, number) for task in TASKS for number in range(N_TRIALS)]
    assert {result["trial"]["outcome"] for _, result in trials} == {"complete"}
    assert not any("test" in result for _, result in trials)
    for task in TASKS:
        scored = [result for cell, result in trials if cell["target"] == task]
        drawn = max(scored, key=lambda result: result["validation"][result["metric"]])["trial"]["parameters"]
        second = [cell for cell, _ in cells_of(hunted, "baseline").values() if cell["target"] == task]
        assert sorted((cell["adapter"]["kind"], cell["seed"]) for cell in second) == sorted(product(TYPES, SEEDS))
        assert {(cell["training"]["lr"], cell["training"]["batch_size"]) for cell in second} == {
            (drawn["lr"], drawn["batch_size"])
        }


def test_gather_and_report_say_what_the_search_found_and_what_it_does_not_say(hunted: Project) -> None:
    report = hunted.json("search", "report", "hunt")
    assert report["n_finished"] == dict.fromkeys(TASKS, N_TRIALS)
    best = best_of_second_stage(hunted)
    rows = report["tables"]["search_second_stage"]
    assert len(rows) == len(TASKS) * len(TYPES)
    for task, (kind, mean, batch_size, lr) in best.items():
        row = next(row for row in rows if (row["task"], row["adapter"]) == (task, kind))
        assert (row["mean"], row["batch_size"], row["lr"], row["n_seeds"]) == (pytest.approx(mean), batch_size, lr, 2)
        assert row["low"] <= mean <= row["high"]
    page = hunted.path / report["report"]
    page.unlink()
    assert hunted.call("gather", "hunt").splitlines()[-1] == f"written: {report['report']}"
    said = page.read_text()
    assert "6 of 6 trials" in said
    assert "cannot rank adapter types" in said
    assert "validation part alone" in said


def test_a_grid_trains_with_the_frozen_winners(hunted: Project) -> None:
    best = best_of_second_stage(hunted)
    frozen = hunted.json("search", "freeze", "hunt", "--name", "found")
    preset = load_preset(hunted.path / "manifests" / "grid.yaml", "found")
    assert frozen["file"] == "manifests/presets/found.yaml"
    for task, (kind, _, batch_size, lr) in best.items():
        assert preset.adapter[task]["kind"] == kind
        assert preset.training[task] == {"epochs": N_EPOCHS, "batch_size": batch_size, "lr": lr}
    plan = hunted.json("plan", "grid")
    assert plan["actions"] == {"reuse": 2, "run": 2}  # the baselines are cells of the second stage
    assert hunted.json("submit", "grid", "--profile", "local")["states"] == {"done": 2}
    planned = {cell["id"] for cell in plan["cells"]}
    grid = {**cells_of(hunted, "baseline"), **cells_of(hunted, "transfer")}
    assert planned <= set(grid)
    for name in planned:
        cell = grid[name][0]
        kind, _, batch_size, lr = best[cell["target"]]
        used = (cell["adapter"]["kind"], cell["training"]["batch_size"], cell["training"]["lr"])
        assert used == (kind, batch_size, lr)
    gathered = hunted.json("gather", "grid")
    assert (gathered["n_done"], gathered["n_planned"]) == (4, 4)
    with open(hunted.path / "runs" / "gathered" / "grid" / "pairs.csv") as stream:
        pairs = {(row["source"], row["target"]): row["state"] for row in csv.DictReader(stream)}
    assert {pair for pair in pairs if pair[0] != pair[1]} == {TASKS, TASKS[::-1]}
