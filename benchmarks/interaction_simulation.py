"""Simulate the test of whether gains differ between settings: false positives, power, and what shared noise does.

    python benchmarks/interaction_simulation.py [--studies N]

A study is one target with some sources in two or three settings, each setting judged as `gather` does (`compare`). The
unit is the standard deviation of a run's seed noise; equal seeds also share an effect of one unit within a setting.
`called` is the share of pairs with p < .05 before correction, averaged over studies, with its standard error.

- alike: no gain differs between settings. `unequal`: the second setting's noise is three times as large.
- shared: the same, where settings have a part of their noise in common, as with the same seeds or test examples.
- power: the gains of the first setting are larger, in units of the standard error of the difference.

Writes benchmarks/results/interaction_simulation.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from empslurm.analysis.interactions import interactions
from empslurm.analysis.verdicts import LEVEL, TargetScores, compare

OUT = Path(__file__).parent / "results" / "interaction_simulation.json"
SEED = 20250601
Row = dict[str, float | str]


def study(
    rng: np.random.Generator,
    n_settings: int,
    n_seeds: int,
    n_sources: int,
    *,
    unequal: bool,
    shared: float,
    effect: float,
) -> float:
    """Share of the pairs of one study that are called."""
    gains = rng.normal(0, 2, n_sources)
    common = rng.normal(0, 1, (n_sources + 1, n_seeds))
    found = []
    for setting in range(n_settings):
        larger = effect * np.sqrt(4 / n_seeds) if setting == 0 else 0.0  # two means in each of two settings
        means = np.append(0.0, gains + larger)[:, None]
        noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(0, 1, common.shape)
        scores = means + rng.normal(0, 1, n_seeds) + noise * (3.0 if unequal and setting == 1 else 1.0)
        # In the unit of scores: a unit of noise is .01, so that no run counts as collapsed.
        table = TargetScores(target="t", sources=tuple(map(str, range(n_sources))), scores=0.7 + 0.01 * scores)
        found.append(compare(table))
    tested = interactions(
        np.array([one.difference for one in found]).T,
        np.array([one.standard_error for one in found]).T,
        np.array([one.degrees_of_freedom for one in found]).T,
    )
    return float(np.nanmean(tested.p_value < LEVEL))


def row(table: str, n_studies: int, *, settings: int, seeds: int, sources: int, **options: float) -> Row:
    """One row of the results."""
    rng = np.random.default_rng(SEED)
    unequal, shared, effect = bool(options.get("unequal", 0)), options.get("shared", 0.0), options.get("effect", 0.0)
    called = [
        study(rng, settings, seeds, sources, unequal=unequal, shared=shared, effect=effect) for _ in range(n_studies)
    ]
    return {
        "table": table,
        "settings": settings,
        "seeds": seeds,
        "sources": sources,
        **options,
        "called": round(float(np.mean(called)), 4),
        "standard_error": round(float(np.std(called, ddof=1) / np.sqrt(n_studies)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=250, help="studies per row")
    n = parser.parse_args().studies
    rows: list[Row] = []

    def add(table: str, **options: float) -> None:
        rows.append(row(table, n, **options))  # type: ignore[arg-type]
        print(rows[-1], flush=True)
        OUT.write_text(json.dumps({"studies": n, "seed": SEED, "rows": rows}, indent=1) + "\n")

    for settings in (2, 3):
        for seeds in (3, 5):
            for effect in (2.0, 3.0):
                add("power", settings=settings, seeds=seeds, sources=17, effect=effect)
            for unequal in (0, 1):
                add("alike", settings=settings, seeds=seeds, sources=17, unequal=unequal)
    add("shared", settings=2, seeds=3, sources=17, shared=0.5)
    add("alike", settings=2, seeds=2, sources=17, unequal=0)


if __name__ == "__main__":
    main()
