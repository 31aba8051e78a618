"""A stand-in for jobs/train.py: notes what it was started with, finishes its cells, trains nothing.

A file `together` beside it may hold a number: that many packs of the first wave must run before any of them ends.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from empslurm.cells import Cell
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import job_identity, liveness
from empslurm.launch.states import queue_of
from empslurm.store.runs import RunsRoot

VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "ACCELERATE_MIXED_PRECISION")
PATIENCE_S = 120


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--submission", type=Path)
    parser.add_argument("--pack", type=int, action="append")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--checkpoint-minutes", type=float)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--memory-share", type=float, default=1.0)
    parser.add_argument("--tracker", action="append")
    given = parser.parse_args()
    packs = submissions.load(given.submission, given.pack).packs
    note = {
        "packs": given.pack,
        "gpu": given.gpu,
        "memory_share": given.memory_share,
        "trackers": given.tracker,
        "start": time.time(),
        **{name: os.environ.get(name) for name in VARIABLES},
    }
    folder = Path(__file__).parent
    path = folder / f"note-{given.pack[0]}.json"
    path.write_text(json.dumps(note))
    if packs[0].wave == 0 and (folder / "together").exists() and not everybody_is_here(folder):
        return 1
    for pack in packs:
        for cell in pack.cells:
            finish(RunsRoot(given.runs), cell)
    path.write_text(json.dumps({**note, "end": time.time()}))
    return 0


def everybody_is_here(folder: Path) -> bool:
    """Whether enough others have started and none of them has ended."""
    end = time.monotonic() + PATIENCE_S
    while len(list(folder.glob("note-*.json"))) < int((folder / "together").read_text()):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def finish(root: RunsRoot, cell: Cell) -> None:
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(liveness(queue_of(root)), **job_identity())
    assert claim is not None
    folder.output(claim).mkdir()
    (folder.output(claim) / "provenance.json").write_text("{}")
    folder.save(claim, {})
    folder.release(claim)


if __name__ == "__main__":
    sys.exit(main())
