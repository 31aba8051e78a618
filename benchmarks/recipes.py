"""Does a faster recipe train worse? Train baselines of some tasks with each recipe and compare them seed by seed.

    python benchmarks/recipes.py [--data DIR --tasks TASK ...] [--seeds N] [--recipes NAME ...]

Recipes differ in what makes training faster: the precision of products, attention dropout, and batches of similar
lengths. Every recipe is a separate manifest on MiniLM with the same tasks, seeds and data, run by `submit`. The results
are the mean test score and the difference from the first recipe within each seed, with its 95 % interval (Student's t
over seeds; the test examples are the same). Without --data, the corpus is the invented sample.
Writes benchmarks/results/recipes_sample.json, or recipes_real.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scratch import Scratch, bf16_units, scratch

RESULTS = Path(__file__).parent / "results"
RECIPES: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "attention_dropout": 0.1},
    "fp32_medium": {"precision": "fp32_medium", "attention_dropout": 0.1},
    "bf16": {"precision": "bf16", "attention_dropout": 0.1},
    "fp32 without attention dropout": {"precision": "fp32", "attention_dropout": 0.0},
    "bf16 without attention dropout": {"precision": "bf16", "attention_dropout": 0.0},
    "fp32 in random order": {"precision": "fp32", "attention_dropout": 0.1, "batch_order": "random"},
}


def run(project: Scratch, options: argparse.Namespace, recipe: str) -> dict[str, Any]:
    """Train the baselines of a recipe; return test scores (n_seeds,) by task, and seconds of training."""
    name, seeds = recipe.replace(" ", "_"), list(range(1, options.seeds + 1))
    training = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "max_length": options.max_length,
    }
    training |= {"max_train_examples": options.examples, "max_eval_examples": options.eval_examples, **RECIPES[recipe]}
    sections = {"tasks": options.tasks, "pairs": "none", "seeds": seeds, "backbone": "minilm", "training": training}
    project.write_manifest(name, sections)
    project.call(name, "submit", name, "--profile", "local")
    scores: dict[tuple[str, int], float] = {}
    seconds = 0.0
    for folder, cell, result in project.finished(name):
        score = result["test"][result["metric"]]
        if score is None:
            raise RuntimeError(f"every score must be defined, but that of {cell.id} is not; train longer")
        scores[cell.target, cell.seed] = score
        seconds += json.loads((folder / result["output"] / "provenance.json").read_text())["wall_s"]
    return {"train_s": seconds, "scores": {task: [scores[task, seed] for seed in seeds] for task in options.tasks}}


def difference(scores: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """The mean of paired differences with its 95 % interval."""
    paired = scores - other
    mean, error = float(paired.mean()), float(stats.sem(paired))
    half = float(stats.t.ppf(0.975, len(paired) - 1)) * error
    return {"mean": round(mean, 4), "interval": [round(mean - half, 4), round(mean + half, 4)]}


def compare(project: Scratch, options: argparse.Namespace) -> dict[str, Any]:
    runs = {}
    for recipe in options.recipes:
        runs[recipe] = run(project, options, recipe)
        means = {task: round(statistics.mean(values), 3) for task, values in runs[recipe]["scores"].items()}
        print(f"{recipe}: {runs[recipe]['train_s']:.0f} s, {means}", file=sys.stderr, flush=True)
    first = np.array([runs[options.recipes[0]]["scores"][task] for task in options.tasks])
    value = {}
    for recipe, trained in runs.items():
        scores = np.array([trained["scores"][task] for task in options.tasks])
        value[recipe] = {
            "train_s": round(trained["train_s"]),
            "mean_test_score": {
                task: round(float(row.mean()), 4) for task, row in zip(options.tasks, scores, strict=True)
            },
            "difference": {
                task: difference(row, base) for task, row, base in zip(options.tasks, scores, first, strict=True)
            },
            "difference_of_task_mean": difference(scores.mean(axis=0), first.mean(axis=0)),
        }
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=lambda text: Path(text).resolve(), help="data root; default: the invented sample"
    )
    parser.add_argument("--tasks", nargs="+", default=["epitome_er", "conv_emopol", "news_empathy"])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, help="recipes to run; default: all but emulated ones")
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 100), metavar="N")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--examples", type=int, default=256, help="training examples, at most; default: 256")
    parser.add_argument(
        "--eval-examples", type=int, default=300, help="validation and test examples, at most; default: 300"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not options.recipes:
        options.recipes = [name for name, recipe in RECIPES.items() if recipe["precision"] != "bf16" or bf16_units()]
    with scratch(options.data) as project:
        compared = compare(project, options)
    settings = {name: value for name, value in vars(options).items() if name not in ("data", "out", "recipes")}
    corpus = "real" if options.data else "sample"
    value = {**settings, "corpus": corpus, "recipes": compared}
    (options.out or RESULTS / f"recipes_{corpus}.json").write_text(json.dumps(value, indent=1) + "\n")
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
