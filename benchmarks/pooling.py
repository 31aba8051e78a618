"""Simulate labs that study the same pairs: does the pooled interval cover, and is the right lab flagged?

    python benchmarks/pooling.py [--studies N]      (80 take about two minutes)

A study has some targets with some sources each, and some labs with a few seeds each; every lab's runs are compared as
`gather` does (`compare`). The unit is the standard deviation of a run's seed noise; equal seeds of one lab also share
an effect of one unit. `examples` is the standard deviation of the example error of each cell; with `same_examples` all
labs share it. `tau` is the standard deviation of a lab's true gain of a pair around the mean over labs. `shift` is
added to all gains of the last lab; `scatter` to each of its gains with a random sign.

Per row, with standard errors that `studies` implies (at most .5 / sqrt(studies) for rates over studies):

- covers: share of the 95 % intervals of the pooled gain that hold the mean over labs; covers_naive is the same without
  Student's t, as the textbook's random effects have it;
- q: share of pairs with p < .05 in the test of heterogeneity before correction; q_chi2 with the textbook's p-value;
- false_flag: share of studies in which a lab is flagged that is like the others;
- flagged: share of studies in which the last lab is flagged;
- within_joint: share of pairs whose pooled gain is inside the interval of all runs analysed together, and
  joint_within_pooled the reverse; width: median width of the pooled interval over that of the joint one.

Writes benchmarks/results/pooling.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from empslurm.analysis.pooling import block, departures, pool
from empslurm.analysis.verdicts import LEVEL, Comparison, TargetScores, compare

OUT = Path(__file__).parent / "results" / "pooling.json"
SEED = 20250601
UNIT = 0.01  # of a unit of noise, so that no run counts as collapsed
Row = dict[str, float | bool]


@dataclass(frozen=True, kw_only=True)
class Study:
    labs: int
    seeds: int
    targets: int = 3
    sources: int = 6
    tau: float = 0.0
    examples: float = 0.0
    same_examples: bool = True
    shift: float = 0.0
    scatter: float = 0.0


def compared(scores: NDArray[np.float64], study: Study) -> Comparison:
    """`scores`: (1 + n_sources, n_seeds), in units of noise."""
    known = np.eye(len(scores)) * (study.examples * UNIT) ** 2 if study.examples else None
    names = tuple(map(str, range(len(scores) - 1)))
    return compare(TargetScores(target="t", sources=names, scores=0.7 + UNIT * scores, example_covariance=known))


def simulate(study: Study, rng: np.random.Generator) -> dict[str, float]:
    """One study's shares."""
    cells = study.sources + 1
    blocks, found = {}, []
    same = study.same_examples and study.examples > 0
    names = [f"lab{at}" for at in range(study.labs)]
    for target in range(study.targets):
        gains = rng.normal(0, 2, study.sources)
        once = rng.normal(0, study.examples, cells) if study.examples else np.zeros(cells)
        comparisons, every = [], []
        for lab in range(study.labs):
            own = gains + rng.normal(0, study.tau, study.sources) if study.tau else gains.copy()
            if lab == study.labs - 1:
                own = own + study.shift + study.scatter * rng.choice((-1.0, 1.0), study.sources)
            drawn = once if same or not study.examples else rng.normal(0, study.examples, cells)
            scores = (np.append(0.0, own) + drawn)[:, None] + rng.normal(0, 1, study.seeds)
            scores = scores + rng.normal(0, 1, (cells, study.seeds))
            comparisons.append(compared(scores, study))
            every.append(scores)
        blocks[str(target)] = {
            name: block(one, shared_examples=same) for name, one in zip(names, comparisons, strict=True)
        }
        found.append(pairs(gains, comparisons, compared(np.hstack(every), study), same=same))
    flagged = {one.lab for one in departures(blocks, names) if one.flagged}
    odd = study.shift or study.scatter
    return {
        **{name: mean([one[name] for one in found]) for name in found[0]},
        "false_flag": float(bool(flagged - {names[-1]} if odd else flagged)),
        "flagged": float(names[-1] in flagged),
    }


def mean(values: list[float]) -> float:
    """Of those that are defined: a target whose runs collapse has no pooled pair."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def pairs(
    gains: NDArray[np.float64], comparisons: list[Comparison], joint: Comparison, *, same: bool
) -> dict[str, float]:
    """The shares of one target's pairs."""
    estimates = np.array([one.difference for one in comparisons]).T
    variances = np.array([one.standard_error for one in comparisons]).T ** 2
    examples = np.array([one.example_variance for one in comparisons]).T
    pooled = pool(
        estimates,
        variances,
        freedom=np.array([one.degrees_of_freedom for one in comparisons]).T,
        examples=examples,
        test_sets=np.full(estimates.shape, 0 if same else -1),
    )
    truth = gains * UNIT
    low, high = (np.array([getattr(one, name) for one in pooled]) for name in ("low", "high"))
    middle = np.array([one.estimate for one in pooled])
    error = np.array([one.standard_error for one in pooled])
    q, q_p = (np.array([getattr(one, name) for one in pooled]) for name in ("q", "q_p"))
    there = np.isfinite(middle)

    def share(held: NDArray[np.bool_]) -> float:
        return float(held[there].mean()) if there.any() else float("nan")

    n_labs = np.array([one.n_labs for one in pooled])
    widths = ((high - low) / (joint.high - joint.low))[there]
    return {
        "covers": share((low <= truth) & (truth <= high)),
        "covers_naive": share(np.abs(middle - truth) <= norm.ppf(0.975) * error),
        "q": share(q_p < LEVEL),
        "q_chi2": share(chi2.sf(q, n_labs - 1) < LEVEL),
        "within_joint": share((joint.low <= middle) & (middle <= joint.high)),
        "joint_within_pooled": share((low <= joint.difference) & (joint.difference <= high)),
        "width": float(np.median(widths)) if there.any() else float("nan"),
    }


# Alike, in truth different per pair, then one lab that is off by some units of noise.
STUDIES = (
    *(Study(labs=labs, seeds=seeds) for labs in (2, 3, 4, 6) for seeds in (2, 3)),
    Study(labs=4, seeds=2, targets=1, sources=2),
    Study(labs=4, seeds=2, targets=6, sources=12),
    *(Study(labs=4, seeds=3, examples=1.0, same_examples=same) for same in (True, False)),
    *(Study(labs=labs, seeds=3, tau=1.0) for labs in (3, 6)),
    *(Study(labs=4, seeds=2, shift=shift) for shift in (1.0, 2.0, 4.0)),
    *(Study(labs=labs, seeds=3, shift=2.0) for labs in (3, 6)),
    Study(labs=4, seeds=2, scatter=2.0),
    Study(labs=4, seeds=2, targets=1, sources=3, shift=3.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=200, help="studies per row")
    n = parser.parse_args().studies
    rows: list[Row] = []
    for study in STUDIES:
        rng = np.random.default_rng(SEED)
        found = [simulate(study, rng) for _ in range(n)]
        shares = {name: round(mean([one[name] for one in found]), 3) for name in found[0]}
        rows.append({**vars(study), **shares})
        print(rows[-1], flush=True)
    OUT.write_text(json.dumps({"studies": n, "seed": SEED, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
