"""Train packs of a submission. Run on a node through `accelerate launch`.

accelerate launch jobs/train.py --runs RUNS --submission FILE [--pack N ...] [--without CELL ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from empslurm.cells import TrialCell
from empslurm.errors import EmpslurmError
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import job_identity, liveness
from empslurm.launch.local import EXIT_INTERRUPTED
from empslurm.launch.states import queue_of
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if every cell is done or run by others, 1 if a cell failed, 75 if interrupted and to be resumed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="runs root")
    parser.add_argument("--submission", type=Path, required=True, metavar="FILE", help="submission.jsonl")
    parser.add_argument(
        "--pack",
        type=int,
        action="append",
        metavar="N",
        help="train the pack with this index in the submission; default: all",
    )
    parser.add_argument("--without", action="append", default=[], metavar="CELL", help="leave out this cell of a pack")
    parser.add_argument(
        "--checkpoint-minutes", type=float, default=5.0, metavar="M", help="minutes between checkpoints; default: 5"
    )
    parser.add_argument("--gpu", action="store_true", help="fail every cell if no GPU can be used")
    parser.add_argument(
        "--memory-share",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the GPU memory that this process may use",
    )
    parser.add_argument(
        "--tracker",
        action="append",
        default=[],
        metavar="NAME",
        help="record loss curves with this tracker of accelerate",
    )
    options = parser.parse_args(arguments)

    from empslurm.train.loop import Settings
    from empslurm.train.run import run_packs

    root = RunsRoot(options.runs)
    try:
        submitted = submissions.load(options.submission, options.pack)
        chosen = [pack for pack in (pack.without(options.without) for pack in submitted.packs) if pack.cells]
        tally = run_packs(
            chosen,
            root=root,
            data_root=submitted.data_root,
            registry=registry(submitted.cards),
            settings=Settings(checkpoint_every_s=options.checkpoint_minutes * 60, memory_share=options.memory_share),
            gpu=options.gpu,
            trackers=options.tracker,
            alive=liveness(queue_of(root)),
            identity=job_identity(),
            say=lambda line: print(line, flush=True),
            others=_trials(options.submission) if any(isinstance(cell, TrialCell) for cell in submitted.cells) else (),
        )
    except EmpslurmError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    if tally.interrupted:
        return EXIT_INTERRUPTED
    return 1 if tally.failed else 0


def _trials(submission: Path) -> tuple[TrialCell, ...]:
    """All trials of the submission, including those of other processes."""
    return tuple(cell for cell in submissions.load(submission).cells if isinstance(cell, TrialCell))


if __name__ == "__main__":
    sys.exit(main())
