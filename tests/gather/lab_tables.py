"""Invented tables of results of several labs, which ran the same pairs with seeds of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from empslurm.gather import Gathered, Input, from_file, together
from empslurm.tasks import registry

HEAD = "source,target,seed,metric,value"
GAINS: Mapping[str, float] = {"": 0.0, "good": 0.06, "bad": -0.06, "none": 0.0}
TARGETS = ("t1", "t2", "t3")
FOUR: Mapping[str, tuple[int, ...]] = {"east": (1, 2), "north": (3, 4), "south": (5, 6), "west": (7, 8)}


def rows(seeds: Sequence[int], *, shift: float = 0.0, targets: Sequence[str] = TARGETS, lab: int = 0) -> list[str]:
    """Scores around .6. Equal seeds share an effect; `lab` draws other noise; `shift` is added to all gains."""
    lines = []
    for at, target in enumerate(targets):
        for seed in seeds:
            rng = np.random.default_rng([at, seed, lab])
            common = rng.normal(0, 0.005)
            for source, gain in GAINS.items():
                value = 0.6 + gain + common + rng.normal(0, 0.005) + (shift if source else 0.0)
                lines.append(f"{source},{target},{seed},accuracy,{value:.5f}")
    return lines


def write(folder: Path, name: str, lines: Sequence[str], head: str = HEAD) -> Path:
    """A table of results."""
    path = folder / f"{name}.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def four(folder: Path, *, shift: float = 0.0) -> list[Path]:
    """Eight seeds of one grid, split into four labs; the gains of `west` are shifted."""
    return [write(folder, name, rows(seeds, shift=shift if name == "west" else 0.0)) for name, seeds in FOUR.items()]


def read(paths: Sequence[Path]) -> Gathered:
    """The tables as labs."""
    return together(
        [Input(name=path.stem, path=path.name, kind="table", gathered=from_file(path, registry())) for path in paths]
    )
