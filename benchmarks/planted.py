"""Check that the effects planted in the invented corpus exist and that the demo finds them.

    python benchmarks/planted.py [--corpora N] [--seeds N] [--parts demo harms]

- demo: `empslurm demo` on corpora 1 to N: how many planted helps and harms are found, and how many pairs without an
  effect get a verdict of helps or harms, by corpus and in total.
- harms: the harmful pairs of corpus 1 with N new seeds: the mean difference within seeds, with its 95 % interval
  (Student's t over seeds), and in how many seeds the source did worse than the baseline.

Each part is written to benchmarks/results/planted.json as soon as it is finished; the other part is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats
from scratch import ROOT, Scratch, scratch

from empslurm.tasks.sample.truth import RELATIONS

RESULTS = Path(__file__).parent / "results" / "planted.json"
MANIFEST = ROOT / "manifests" / "demo.yaml"


def demo(options: argparse.Namespace) -> dict[str, Any]:
    """Run the demo on corpora 1 to N."""
    corpora = {}
    for seed in range(1, options.corpora + 1):
        with tempfile.TemporaryDirectory() as folder:
            roots = ["--data", f"{folder}/data", "--runs", f"{folder}/runs"]
            command = [sys.executable, "-m", "empslurm", *roots, "demo", "--seed", str(seed), "--json"]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(done.stdout)
        effects = {(item["source"], item["target"]): item["effect"] for item in told["planted"]}
        corpora[str(seed)] = {
            "found": told["found"],
            "pairs": [
                {
                    "source": pair["source"],
                    "target": pair["target"],
                    "planted": effects[pair["source"], pair["target"]],
                    "verdict": pair["verdict"],
                    **{name: round(pair[name], 4) for name in ("baseline", "difference", "low", "high")},
                }
                for pair in told["pairs"]
            ],
        }
        print(f"corpus {seed}: {told['found']}", file=sys.stderr, flush=True)
    found = [corpus["found"] for corpus in corpora.values()]
    total = {
        effect: {count: sum(one[effect][count] for one in found) for count in ("n_planted", "n_found")}
        for effect in found[0]
    }
    return {"total": total, "corpora": corpora}


def harms(options: argparse.Namespace) -> dict[str, Any]:
    """Run the harmful pairs of corpus 1 with many seeds."""
    pairs = [(item.source, item.target) for item in RELATIONS if item.effect == "harms"]
    sections = yaml.safe_load(MANIFEST.read_text())
    tasks = [*dict.fromkeys(task for pair in pairs for task in pair)]
    seeds = list(range(1, options.seeds + 1))
    written = {
        "tasks": tasks,
        "pairs": [f"{source} -> {target}" for source, target in pairs],
        "seeds": seeds,
        "training": {
            **sections["training"],
            "per_task": {name: fields for name, fields in sections["training"]["per_task"].items() if name in tasks},
        },
    }
    with scratch(None) as project:
        project.write_manifest("harms", {**sections, **written})
        project.call("runs", "submit", "harms", "--profile", "small")
        scores = _scores(project)
    value = {}
    for source, target in pairs:
        paired = np.array([scores[source, target, seed] - scores[None, target, seed] for seed in seeds])
        half = float(stats.t.ppf(0.975, len(paired) - 1) * stats.sem(paired))
        value[f"{source} -> {target}"] = {
            "baseline": round(float(np.mean([scores[None, target, seed] for seed in seeds])), 4),
            "difference": round(float(paired.mean()), 4),
            "interval": [round(float(paired.mean()) - half, 4), round(float(paired.mean()) + half, 4)],
            "n_worse": int((paired < 0).sum()),
            "n_seeds": len(paired),
        }
    return value


def _scores(project: Scratch) -> dict[tuple[str | None, str, int], float]:
    """Test scores by source (None: baseline), target and seed."""
    return {
        (cell.source_task, cell.target, cell.seed): result["test"][result["metric"]]
        for _, cell, result in project.finished("runs")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=("demo", "harms"), default=["demo", "harms"])
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    for part, run in (("demo", demo), ("harms", harms)):
        if part in options.parts:
            known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            RESULTS.write_text(json.dumps({**known, part: run(options)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
