"""Simulate the verdict on drawn answers: every metric, single and grouped examples, with the real bootstrap.

The covariance of the scores is not given: the bootstrap estimates it, as in a study.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from empslurm.analysis.resampling import Examples, resample
from empslurm.analysis.significance import example_test
from empslurm.analysis.verdicts import TargetScores, compare, shared_example_covariance
from empslurm.metrics import METRICS

METHODS = ("paper's test, one seed", "Welch", "verdict")
LABELS = 4
N_CELLS, N_SEEDS, N_EXAMPLES = 18, 3, 300
PER_GROUP = 5  # examples
EFFECTS = {"labels": 0.7, "values": 0.35}  # effect on a run's ability, for the power


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One metric, on single examples or on groups of examples that suit the same sources."""

    metric: str
    grouped: bool

    @property
    def labelled(self) -> bool:
        return METRICS[self.metric].kind == "classification"


CASES = tuple(Answers(metric=metric, grouped=grouped) for metric, grouped in itertools.product(METRICS, (False, True)))


def draw(case: Answers, effect: float, rng: np.random.Generator) -> tuple[Examples, NDArray[Any]]:
    """Examples, and the answers of every run: (n_cells, n_seeds, n_examples).

    Examples differ in difficulty, runs in ability, and sources in which examples or groups suit them.
    """
    shape = (N_CELLS, N_SEEDS, N_EXAMPLES)
    groups = np.repeat(np.arange(N_EXAMPLES // PER_GROUP), PER_GROUP) if case.grouped else np.arange(N_EXAMPLES)
    moved = (np.arange(N_CELLS) > 0)[:, None, None]

    def suits(size: float) -> NDArray[np.float64]:
        return np.asarray(size * rng.normal(size=(N_CELLS, 1, groups.max() + 1))[..., groups])

    common: dict[str, Any] = {
        "resampler": METRICS[case.metric].formula.resampler,
        "groups": groups if case.grouped else None,
    }
    if case.labelled:
        gold = rng.integers(0, LABELS, N_EXAMPLES)
        ability = 1.0 + 0.3 * rng.normal(size=(N_CELLS, N_SEEDS, 1)) + effect * moved
        logits = ability + 1.5 * rng.normal(size=N_EXAMPLES) + suits(0.7)
        right = rng.random(shape) < 1 / (1 + np.exp(-logits))
        answers = np.where(right, gold, (gold + rng.integers(1, LABELS, shape)) % LABELS)
        return Examples(gold=gold, n_labels=LABELS, **common), answers
    gold = rng.normal(size=N_EXAMPLES) + 0.5 * rng.normal(size=groups.max() + 1)[groups]
    ability = 0.8 + 0.1 * rng.normal(size=(N_CELLS, N_SEEDS, 1)) + effect * moved
    noise = rng.normal(size=N_EXAMPLES) + suits(0.4) + 0.3 * rng.normal(size=shape)
    if case.metric == "mae":  # a better run makes smaller errors
        return Examples(gold=gold, **common), gold + noise / np.maximum(0.2, ability + 0.4)
    return Examples(gold=gold, **common), ability * gold + noise


def p_values(case: Answers, effect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """p-values of every method and source, shape (n_methods, n_sources)."""
    examples, answers = draw(case, effect, rng)
    drawn = resample(examples, answers.reshape(-1, N_EXAMPLES), n_resamples=400, rng=rng)
    cells, seeds = np.repeat(np.arange(N_CELLS), N_SEEDS), np.tile(np.arange(N_SEEDS), N_CELLS)
    scores = drawn.observed.reshape(N_CELLS, N_SEEDS)
    comparison = compare(
        TargetScores(
            target="simulated",
            sources=tuple(str(at) for at in range(1, N_CELLS)),
            scores=scores,
            example_covariance=shared_example_covariance(drawn.scores, cells, seeds, N_CELLS),
        )
    )
    paper = example_test(examples, answers[0, 0], answers[1:, 0], rng=rng, n_resamples=499)
    welch = stats.ttest_ind(scores[1:], scores[0], axis=1, equal_var=False).pvalue
    return np.vstack([paper.p_value, welch, comparison.p_value])
