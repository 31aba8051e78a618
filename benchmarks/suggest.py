"""Time and memory of the first call of `empslurm suggest`, with nothing kept from earlier ones.

    python benchmarks/suggest.py [--sizes 18x1000 50x10000]

SOURCESxTEXTS: so many sources, whose adapters are trained on a few invented texts each, on MiniLM, and a target with
so many training texts of about 40 tokens. `suggest` draws at most 1,000 of them. Each size is written to
benchmarks/results/suggest.json as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scratch import Scratch, scratch

RESULTS = Path(__file__).parent / "results" / "suggest.json"
WORDS = 12  # of a text: about 40 tokens, since invented words are several
OTHER_PARTS = 1.5  # validation and test part are drawn from the rows that are left


def write_task(project: Scratch, name: str, n_rows: int, rng: np.random.Generator) -> None:
    """A card and a table of invented words; the label follows from the first word."""
    lexicon = [f"{start}{end}" for start in "bdfgklmnprst" for end in ("aro", "ilo", "une", "eck", "ost", "ib")]
    rows = ["text,label"]
    for _ in range(n_rows):
        words = rng.choice(lexicon, size=WORDS)
        rows.append(f"{' '.join(words)},{'up' if lexicon.index(words[0]) % 2 else 'down'}")
    (project.data / name).mkdir(parents=True)
    (project.data / name / "table.csv").write_text("\n".join(rows) + "\n")
    card = {
        "id": name,
        "title": name,
        "file": "table.csv",
        "format": "csv",
        "columns": {"text": "text", "label": "label"},
        "kind": "classification",
        "labels": ["down", "up"],
        "data_source": "invented",
        "language_setting": "narrative",
        "citation": "Invented words.",
        "licence": "CC0",
    }
    (project.path / "cards" / f"{name}.yaml").write_text(yaml.safe_dump(card))


def measure(n_sources: int, n_texts: int) -> dict[str, Any]:
    """Train the sources for one step each, then time `suggest` on a target that was never seen."""
    rng = np.random.default_rng(n_sources)
    with scratch(None) as project:
        (project.path / "cards").mkdir()
        sources = [f"source_{number:02d}" for number in range(n_sources)]
        for name in sources:
            write_task(project, name, 80, rng)
        write_task(project, "target", round(OTHER_PARTS * n_texts), rng)
        training = {"epochs": 1, "batch_size": 16, "max_length": 96, "max_train_examples": 16, "max_eval_examples": 16}
        sections = {
            "tasks": sources,
            "pairs": "none",
            "cards": ["../cards"],
            "backbone": "minilm",
            "training": training,
        }
        project.write_manifest("sources", sections)
        project.call("runs", "submit", "sources", "--profile", "small")
        words = project.command("runs", "suggest", "target", "--from", "sources", "--json")
        started = time.monotonic()
        done = subprocess.run(words, cwd=project.path, stdout=subprocess.PIPE, text=True, check=True)
        wall_s = time.monotonic() - started
        told = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert len(told["rankings"][0]["sources"]) == n_sources
    return {
        "n_sources": n_sources,
        "n_training_texts": n_texts,
        "n_read": told["n_texts"]["target"],
        "wall_s": round(wall_s, 1),
        "reading_s": round(told["seconds_now"], 1),
        "peak_gib": round(peak, 2),  # the largest process so far, training of the sources included
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    """Measure every size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["18x1000", "50x10000"])
    options = parser.parse_args()
    there = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for size in options.sizes:
        n_sources, n_texts = map(int, size.split("x"))
        there[size] = measure(n_sources, n_texts)
        RESULTS.write_text(json.dumps(there, indent=1) + "\n")
        print(size, there[size], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
