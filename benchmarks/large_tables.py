"""Measure time and peak memory of a first and of a second gather over large invented tables of results.

    python benchmarks/large_tables.py [--only NAME] [--keep DIR]

`seeds`: 50 sources x 50 targets x 20 seeds, the sources among the targets. `wide` and `apart`: 125 sources x 400
targets, one seed, the sources among the targets or not. `settings`: nine settings of 34 x 34 tasks x 3 seeds. Every
target has a baseline. Each gather is a separate process. Writes benchmarks/results/large_tables.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).parent / "results" / "large_tables.json"
COLUMNS = ("setting", "source", "target", "seed", "metric", "value")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size and form of a table."""

    n_sources: int
    n_targets: int
    n_seeds: int
    n_settings: int = 1
    apart: bool = False  # no source is a target


SHAPES = {
    "seeds": Shape(n_sources=50, n_targets=50, n_seeds=20),
    "wide": Shape(n_sources=125, n_targets=400, n_seeds=1),
    "apart": Shape(n_sources=125, n_targets=400, n_seeds=1, apart=True),
    "settings": Shape(n_sources=34, n_targets=34, n_seeds=3, n_settings=9),
}


def rows(shape: Shape, rng: np.random.Generator) -> Iterator[tuple[object, ...]]:
    """Rows of a table: scores around a mean per target, with an effect per pair and noise per seed."""
    targets = [f"task{at:03d}" for at in range(shape.n_targets)]
    sources = [f"source{at:03d}" if shape.apart else targets[at] for at in range(shape.n_sources)]
    for setting in range(shape.n_settings):
        for target in targets:
            mean = rng.uniform(0.4, 0.8)
            for source in dict.fromkeys((target, *sources)):
                moved = mean + (0.0 if source == target else rng.normal(0, 0.02))
                for seed in range(1, shape.n_seeds + 1):
                    value = round(float(np.clip(moved + rng.normal(0, 0.01), 0, 1)), 4)
                    named = "" if shape.n_settings == 1 else f"model{setting}"
                    yield (named, "" if source == target else source, target, seed, "f1_macro", value)


def write_table(path: Path, shape: Shape) -> int:
    """Write the table, without the column `setting` for a single setting; return its number of rows."""
    lines = list(rows(shape, np.random.default_rng(1)))
    first = 0 if shape.n_settings > 1 else 1
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS[first:], *(row[first:] for row in lines)])
    return len(lines)


def gather(table: Path, folder: Path) -> dict[str, float]:
    """Wall time and peak memory of one gather in a separate process."""
    command = [sys.executable, "-m", "empslurm", "gather", "--results", str(table), "--out", str(folder)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"gather must end with 0, but ended with {process.returncode}; run {' '.join(command)}")
    return {"wall_s": round(time.perf_counter() - start, 1), "peak_mib": round(used.ru_maxrss / 1024)}


def measured(name: str, shape: Shape, folder: Path) -> dict[str, Any]:
    """Figures of a first and second gather of one shape, and the size of its page."""
    table, out = folder / f"{name}.csv", folder / name
    n_rows = write_table(table, shape)
    first, second = gather(table, out), gather(table, out)
    page_mib = round((out / "report.html").stat().st_size / 2**20, 1)
    return {"n_rows": n_rows, "first": first, "second": second, "page_mib": page_mib}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SHAPES, help="measure one shape only, and write no results file")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="folder in which tables and reports are kept; default: a temporary folder",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures: dict[str, Any] = {"n_cores": os.cpu_count(), "load": os.getloadavg()}
        for name in [options.only] if options.only else SHAPES:
            figures[name] = measured(name, SHAPES[name], folder)
            print(name, json.dumps(figures[name]), flush=True)
    if options.only is None:
        OUT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
