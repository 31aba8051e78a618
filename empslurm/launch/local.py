"""Run packs on this machine: one accelerate-launched process trains them all, one after another."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from empslurm.launch.process import TrainProcess
from empslurm.launch.submission import Submission
from empslurm.plan import Pack
from empslurm.store import RunsRoot

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: the state is saved, starting again goes on
GRACE_S = 120.0


def job_arguments(
    root: RunsRoot, submission: Submission, places: Sequence[int], checkpoint_minutes: float
) -> list[str]:
    """The arguments of jobs/train.py for the packs at `places`."""
    arguments = ["--runs", str(root.path.resolve()), "--submission", str(submission.path(root).resolve())]
    for place in places:
        arguments += ["--pack", str(place)]
    return [*arguments, "--checkpoint-minutes", str(checkpoint_minutes)]


def run(
    root: RunsRoot,
    submission: Submission,
    *,
    n_processes: int = 1,
    checkpoint_minutes: float = 5.0,
    watch: Callable[[subprocess.Popen[bytes], Path], None],
) -> int:
    """Train all packs of a submission; returns the worst exit status (0 done, 1 some failed, 75 interrupted).

    `watch(process, log)` is called while the process runs and returns when it has ended. Ctrl-C is passed on as TERM,
    so that the cell is saved.
    """
    worst = 0
    groups = itertools.groupby(enumerate(submission.packs), key=lambda item: _mixed_precision(item[1]))
    for number, (mixed_precision, group) in enumerate(groups):
        places = [place for place, _ in group]
        log = submission.path(root).with_name(f"local-{number}.log")
        arguments = job_arguments(root, submission, places, checkpoint_minutes)
        with open(log, "ab") as stream:
            process = TrainProcess(mixed_precision, n_processes, arguments, log=log, stream=stream)
            try:
                watch(process.popen, log)
            except KeyboardInterrupt:
                process.stop(GRACE_S)
                return EXIT_INTERRUPTED
        # accelerate turns a child's 75 into 1; both are for the states to tell apart
        worst = max(worst, 0 if process.popen.wait() == 0 else 1)
        process.close()
    return worst


def _mixed_precision(pack: Pack) -> str:
    return pack.cells[0].mixed_precision
