"""Measure the paper's test for a whole study: 306 pairs x 10,000 resamples at the paper's eighteen test sizes.

    python benchmarks/significance.py [--resamples N]

Gold labels and predictions are invented, with the paper's label shares and test sizes (Tables 1 and 9 to 12). The same
statistic goes through scipy.stats.bootstrap on one pair per target with few resamples, scaled up linearly: once with
the fastest macro F1 that fits its loop, once with scikit-learn's. Both sides use one core (set OMP_NUM_THREADS=1).
Writes benchmarks/results/significance.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score

from empslurm import reference
from empslurm.analysis.resampling import Examples
from empslurm.analysis.scores import Answers
from empslurm.analysis.significance import example_test
from empslurm.metrics import METRICS

F1, PEARSON = METRICS["f1_macro"].formula, METRICS["pearson"].formula
OUT = Path(__file__).parent / "results" / "significance.json"
N_SOURCES = 17


@dataclass(frozen=True, kw_only=True)
class Target:
    task: str
    examples: Examples
    outputs: NDArray[Any]  # (1 + N_SOURCES, n_examples), the baseline first


def targets(rng: np.random.Generator) -> list[Target]:
    """The eighteen targets at their published test sizes."""
    sizes = {row.dataset: row.n_samples for row in reference.dataset_sizes()}
    percent = {row.task: row.test for row in reference.split_statistics() if row.statistic == "percent"}
    shares = reference.label_shares()
    drawn = []
    for task in reference.tasks():
        n_examples = round(sizes[task.dataset] * percent[task.task] / 100)
        share = np.array([row.test for row in shares if row.task == task.task])
        drawn.append(_target(task.task, n_examples, share, rng))
    return drawn


def _target(task: str, n_examples: int, share: NDArray[np.float64], rng: np.random.Generator) -> Target:
    """A target whose sources agree with the baseline on most examples and differ on the rest."""
    if len(share) == 0:
        gold = rng.normal(size=n_examples)
        outputs = gold + rng.normal(size=n_examples) + 0.4 * rng.normal(size=(1 + N_SOURCES, n_examples))
        return Target(task=task, examples=Examples(gold=gold, resampler=PEARSON.resampler), outputs=outputs)

    def draw(*shape: int) -> NDArray[Any]:
        return rng.choice(len(share), shape, p=share / share.sum())

    gold = draw(n_examples)
    common = np.where(rng.random(n_examples) < 0.35, draw(n_examples), gold)
    own = rng.random((1 + N_SOURCES, n_examples)) < 0.15
    outputs = np.where(own, draw(1 + N_SOURCES, n_examples), common)
    return Target(task=task, examples=Examples(gold=gold, resampler=F1.resampler, n_labels=len(share)), outputs=outputs)


def ours(target: Target, n_resamples: int, rng: np.random.Generator) -> float:
    start = time.perf_counter()
    example_test(target.examples, target.outputs[0], target.outputs[1:], rng=rng, n_resamples=n_resamples)
    return time.perf_counter() - start


def scipys(target: Target, n_resamples: int, rng: np.random.Generator, f1: Callable[[Any, Any], float]) -> float:
    """Seconds of scipy.stats.bootstrap for one pair: correlations in its vectorised form, F1 once per resample."""

    def f1_difference(gold: NDArray[Any], baseline: NDArray[Any], transfer: NDArray[Any]) -> float:
        return f1(gold, transfer) - f1(gold, baseline)

    def r_difference(
        gold: NDArray[Any], baseline: NDArray[Any], transfer: NDArray[Any], axis: int = -1
    ) -> NDArray[Any]:
        return np.asarray(
            stats.pearsonr(gold, transfer, axis=axis).statistic - stats.pearsonr(gold, baseline, axis=axis).statistic
        )

    labels = target.examples.n_labels > 0
    start = time.perf_counter()
    stats.bootstrap(
        (target.examples.gold, target.outputs[0], target.outputs[1]),
        f1_difference if labels else r_difference,
        paired=True,
        vectorized=not labels,
        n_resamples=n_resamples,
        batch=None if labels else 500,
        method="basic",
        rng=rng,
    )
    return time.perf_counter() - start


def counted_f1(gold: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Macro F1 from one bincount, as fast as a statistic in scipy's loop can be."""
    return F1.value(Answers(gold=gold, predicted=predicted, n_labels=32))


def library_f1(gold: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Macro F1 with scikit-learn."""
    return float(f1_score(gold, predicted, average="macro"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--resamples", type=int, default=10_000, help="per pair (scipy: a twentieth of it); default: 10000"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(20240501)
    rows = []
    n_few = max(20, options.resamples // 20)
    for target in targets(rng):
        mine = ours(target, options.resamples, rng)
        counted = scipys(target, n_few, rng, counted_f1) * options.resamples / n_few * N_SOURCES
        library = scipys(target, n_few // 4, rng, library_f1) * options.resamples / (n_few // 4) * N_SOURCES
        row = {
            "target": target.task,
            "n_examples": len(target.examples.gold),
            "n_labels": target.examples.n_labels,
            "seconds": round(mine, 3),
            "scipy_counted_f1_seconds": round(counted, 1),
            "scipy_sklearn_f1_seconds": round(library, 1),
        }
        print(json.dumps(row))
        rows.append(row)
    total, counted, library = (
        sum(row[key] for row in rows) for key in ("seconds", "scipy_counted_f1_seconds", "scipy_sklearn_f1_seconds")
    )
    summary = {
        "n_pairs": len(rows) * N_SOURCES,
        "n_resamples": options.resamples,
        "n_resamples_scipy": [n_few, n_few // 4],
        "n_threads": 1,
        "seconds": round(total, 2),
        "ratio_to_scipy_with_counted_f1": round(counted / total, 1),
        "ratio_to_scipy_with_sklearn_f1": round(library / total, 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(summary))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({**summary, "targets": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
