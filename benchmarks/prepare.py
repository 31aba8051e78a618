"""Measure time and memory of `data prepare` over everything in the data root, and of a second call.

    python benchmarks/prepare.py [--data DIR] [--backbone NAME]

A first call into an empty runs root parses every dataset in the data root and tokenises every task at the default
length; a second call finds everything done. Each is a separate process. CPU seconds are given next to wall time, which
other work on the machine changes. Writes benchmarks/results/prepare.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "results" / "prepare.json"
LIMITS = {"first_wall_s": 60.0, "second_wall_s": 2.0, "peak_gb": 1.5}


def call(data: str, runs: Path, backbone: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds and peak memory of one call, and its output."""
    command = [sys.executable, "-m", "empslurm", "--data", data, "--runs", str(runs)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "data", "prepare", "--backbone", backbone, "--json"],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "true"},
    )
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # The peak of all children so far; the first call is the larger one.
    return {"wall_s": wall_s, "cpu_s": cpu_s, "peak_gb": after.ru_maxrss / 1e6}, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("EMPSLURM_DATA", "data"))
    parser.add_argument("--backbone", default="minilm")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        first, said = call(options.data, Path(folder), options.backbone)
        second, again = call(options.data, Path(folder), options.backbone)
    assert again == said
    result = {
        "n_examples": {name: counts["n_examples"] for name, counts in said["datasets"].items()},
        "n_tokens": sum({task["folder"]: task["n_tokens"] for task in said["tasks"].values()}.values()),
        "n_tasks": len(said["tasks"]),
        "n_cores": os.cpu_count(),
        "load_average_before": round(load, 1),
        "first": {name: round(value, 2) for name, value in first.items()},
        "second": {name: round(value, 2) for name, value in second.items()},
        "limits": LIMITS,
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
