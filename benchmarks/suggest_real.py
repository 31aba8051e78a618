"""How well ways to choose sources do on a real grid, and on the paper's tables, with whole targets left out.

    empslurm submit benchmarks/suggest_real.yaml          # 14 tasks, 3 seeds, MiniLM: hours on a CPU; needs the data
    python benchmarks/suggest_real.py [--runs DIR] [--data DIR]

Before it gathers the grid, it asks `suggest` for the first task, so that every source has read every target. The tables
are written to benchmarks/results/suggest_real.json as they are. The paper's have one run per pair, so no ceiling.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import empslurm
from empslurm.analysis.source_selection import MEASURES, Quality
from empslurm.report.notebook import Study
from empslurm.report.source_choice import SourceChoice
from empslurm.report.source_choice_tables import sentences

MANIFEST = Path(__file__).with_suffix(".yaml")
RESULTS = Path(__file__).parent / "results" / "suggest_real.json"


def described(study: Study) -> dict[str, Any]:
    """The tables of a study with one setting."""
    (group,) = study.contents.groups
    found: SourceChoice | None = group.analyses.source_choice
    if found is None:
        raise RuntimeError(f"there must be targets to judge: {group.analyses.lacking}")
    ceiling = [] if found.ceiling is None else [found.ceiling]
    runs = group.analyses.group.runs
    seeds = runs[runs["kind"] == "transfer"].groupby("target")["seed"].nunique()
    return {
        "targets": len(found.targets),
        "sources": found.n_sources,
        "seeds_of_targets": {target: int(seeds[target]) for target in found.targets},
        "cells": study.contents.gathered.n_done,
        "sentences": sentences(found),
        "over_popularity": [round(value, 3) for value in found.over_popularity],
        "targets_left_out": {one.way: row(one) for one in (*found.targets_left_out, *ceiling)},
        "sources_left_out": {one.way: row(one) for one in found.sources_left_out},
    }


def row(one: Quality) -> dict[str, list[float | None]]:
    """Mean and 95 % interval of every measure."""
    values = zip(MEASURES, one.mean, one.low, one.high, strict=True)
    return {name: [None if value != value else round(float(value), 3) for value in own] for name, *own in values}


def main() -> None:
    """Ask, gather, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    roots = {"runs": options.runs, "data": options.data}
    started = time.monotonic()
    empslurm.suggest(empslurm.load_manifest(MANIFEST).tasks[0], grids=[MANIFEST], **roots)
    asked = time.monotonic() - started
    found = {
        "grid": {**described(empslurm.gathered(MANIFEST, **roots)), "suggest_s": round(asked, 1)},
        "paper": described(empslurm.published()),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
