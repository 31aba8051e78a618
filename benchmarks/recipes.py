"""Does a faster recipe train worse? Baselines of some tasks with each recipe, compared seed by seed.

    python benchmarks/recipes.py [--data DIR --tasks TASK ...] [--seeds N] [--recipes NAME ...]

Recipes differ in what makes training faster: the precision of products, attention dropout, and batches of alike
lengths. Every recipe is a manifest of its own on MiniLM with the same tasks, seeds and data, run by `submit`. Told are
the mean test score, and the difference to the first recipe within each seed, with its 95 % interval (Student's t over
seeds: the test examples are the same). Without --data the corpus is the invented sample.
Writes benchmarks/results/recipes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import stats

from empslurm.cells import from_identity

RESULTS = Path(__file__).parent / "results" / "recipes.json"
RECIPES: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "attention_dropout": 0.1},
    "fp32_medium": {"precision": "fp32_medium", "attention_dropout": 0.1},
    "bf16": {"precision": "bf16", "attention_dropout": 0.1},
    "fp32 without attention dropout": {"precision": "fp32", "attention_dropout": 0.0},
    "bf16 without attention dropout": {"precision": "bf16", "attention_dropout": 0.0},
    "fp32 in random order": {"precision": "fp32", "attention_dropout": 0.1, "batch_order": "random"},
}


def run(folder: Path, given: argparse.Namespace, recipe: str) -> dict[str, Any]:
    """Train the baselines of a recipe: their test scores (n_seeds,) by task, and their seconds of training."""
    name = recipe.replace(" ", "_")
    training = {"epochs": given.epochs, "batch_size": given.batch_size, "lr": given.lr, "max_length": given.max_length}
    training |= {"max_train_examples": given.examples, "max_eval_examples": given.eval_examples, **RECIPES[recipe]}
    value = {"name": name, "tasks": given.tasks, "pairs": "none", "seeds": list(range(1, given.seeds + 1))}
    value |= {"backbone": "minilm", "training": training}
    (folder / "manifests" / f"{name}.yaml").write_text(yaml.safe_dump(value))
    runs = folder / "runs" / name
    call(folder, given, runs, "submit", name, "--profile", "local")
    scores: dict[str, list[float]] = {task: [] for task in given.tasks}
    seconds = 0.0
    for path in sorted(runs.glob("cells/*/result.json"), key=lambda path: json.loads(path.read_text())["seed"]):
        result = json.loads(path.read_text())
        cell = from_identity(json.loads((path.parent / "cell.json").read_text()))
        score = result["test"][result["metric"]]
        if score is None:
            raise RuntimeError(f"every score must be defined, but that of {cell.id} is not; train longer")
        scores[cell.target].append(score)
        seconds += json.loads((path.parent / result["output"] / "provenance.json").read_text())["wall_s"]
    short = [task for task, values in scores.items() if len(values) != given.seeds]
    if short:
        raise RuntimeError(f"every seed of {', '.join(short)} must have a result; look in {runs}")
    return {"train_s": seconds, "scores": scores}


def call(folder: Path, given: argparse.Namespace, runs: Path, *words: str) -> None:
    command = [sys.executable, "-m", "empslurm", "--data", str(given.data), "--runs", str(runs), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])


def difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of paired differences and its 95 % interval."""
    paired = one - other
    mean, error = float(paired.mean()), float(stats.sem(paired))
    half = float(stats.t.ppf(0.975, len(paired) - 1)) * error
    return {"mean": round(mean, 4), "interval": [round(mean - half, 4), round(mean + half, 4)]}


def compare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if given.data is None:
        given.data = folder / "data"
        call(folder, given, folder / "runs", "data", "sample")
    made = {}
    for recipe in given.recipes:
        made[recipe] = run(folder, given, recipe)
        means = {task: round(statistics.mean(values), 3) for task, values in made[recipe]["scores"].items()}
        print(f"{recipe}: {made[recipe]['train_s']:.0f} s, {means}", file=sys.stderr, flush=True)
    first = np.array([made[given.recipes[0]]["scores"][task] for task in given.tasks])
    value = {}
    for recipe, found in made.items():
        scores = np.array([found["scores"][task] for task in given.tasks])
        value[recipe] = {
            "train_s": round(found["train_s"]),
            "mean_test_score": {
                task: round(float(row.mean()), 4) for task, row in zip(given.tasks, scores, strict=True)
            },
            "difference": {
                task: difference(row, base) for task, row, base in zip(given.tasks, scores, first, strict=True)
            },
            "difference_of_task_mean": difference(scores.mean(axis=0), first.mean(axis=0)),
        }
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=lambda text: Path(text).resolve(), help="default: the invented sample")
    parser.add_argument("--tasks", nargs="+", default=["epitome_er", "conv_emopol", "news_empathy"])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 100), metavar="N")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--examples", type=int, default=256, help="of training, at most")
    parser.add_argument("--eval-examples", type=int, default=300, help="of validation and of test, at most")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    real = given.data is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifests").mkdir()
        (folder / "slurm").symlink_to(Path(__file__).resolve().parents[1] / "slurm")
        made = compare(given, folder)
    settings = {name: value for name, value in vars(given).items() if name not in ("data", "out", "recipes")}
    value = {**settings, "corpus": "real" if real else "the invented sample", "recipes": made}
    given.out.write_text(json.dumps(value, indent=1) + "\n")
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
