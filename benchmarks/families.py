"""Measure the speed of training for every family of encoders, beside the fair rival, interleaved in one run.

    python benchmarks/families.py --rounds 4 --threads 2 --precisions fp32_medium bf16

The rival is AdapterTrainer where `adapters` has the family, else plain transformers' Trainer with bottlenecks written
out; both pad to the longest text of a batch and group texts by length. The base size of every family, with random
weights. Results: benchmarks/results/families.json, which keeps what another run measured. On a shared machine, the
ratios of processor time vary less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from engine import SHAPES, Engine, Way, workload
from rivals import Apart
from training import machine, rates, rival_precision, say

from empslurm.launch.node.process import KEPT_MEMORY
from empslurm.train.model.families import family

RESULTS = Path(__file__).parent / "results" / "families.json"
STEPS = 2  # of a round; an epoch has 50
PRECISIONS = ("fp32_medium", "bf16")  # the first is what a manifest has by default
FAMILIES = tuple(name for name in SHAPES if name != "tiny")  # RoBERTa also with fewer layers


def measured(name: str, precision: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Rates of one shape, and the ratios of ours to the rival's, per round: median and range."""
    data = workload(32 * 50)
    rival = Apart(name, len(data.table.ids), fair=True, precision=rival_precision(precision, device))
    ours, theirs = Engine(name, Way(name=precision, precision=precision), data, device), []
    own = []
    rival.steps(1)  # after this, its process has started
    ours.steps(1)
    for _ in range(options.rounds):
        theirs.append(rival.steps(options.steps))
        own.append(ours.steps(options.steps))
    rival.close()
    figures: dict[str, Any] = {
        "family": SHAPES[name][0],
        "rival": "AdapterTrainer" if family(SHAPES[name][0]).layout.in_library else "Trainer, bottleneck written out",
        "ours": rates(own),
        "theirs": rates(theirs),
    }
    for clock in ("wall_s", "cpu_s"):
        ratios = [
            (a.tokens / getattr(a, clock)) / (b.tokens / getattr(b, clock)) for a, b in zip(own, theirs, strict=True)
        ]
        figures[f"ratio_{clock}"] = statistics.median(ratios)
        figures[f"ratio_{clock}_range"] = [min(ratios), max(ratios)]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps in a round; default: {STEPS}")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not KEPT_MEMORY.items() <= os.environ.items():  # the allocator reads them only when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEPT_MEMORY})
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    figures: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for precision in options.precisions:
        section = precision if options.steps == STEPS else f"{precision}, {options.steps} steps"
        own = figures.setdefault(section, {})
        own["machine"] = {**machine(device), "rounds": options.rounds, "steps": options.steps}
        for name in options.shapes:
            own[name] = measured(name, precision, options, device)
            say(
                f"{name}, {precision}: {own[name]['ratio_cpu_s']:.2f} x by processor time, "
                f"{own[name]['ratio_wall_s']:.2f} x by wall time, of {own[name]['rival']}"
            )
            options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
