"""Run packs on this machine: one accelerate-launched process trains them all, one after another."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from empslurm.errors import UsageError
from empslurm.launch.submission import Submission
from empslurm.plan import Pack
from empslurm.store import RunsRoot

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: the state is saved, starting again goes on
JOB = Path(__file__).resolve().parents[2] / "jobs" / "train.py"


LOG_VARIABLE = "EMPSLURM_LOG"


def job_identity() -> dict[str, Any]:
    """Job id and restart count as Slurm tells them (nothing outside a job), and the log file as the launcher does."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0)
    return {"job_id": job_id, "restart_count": restarts, "log": os.environ.get(LOG_VARIABLE)}


def launch_command(precision: str, n_processes: int, arguments: Sequence[str], port: int | None = None) -> list[str]:
    """The `accelerate launch` command line of one train process; every choice explicit, no user configuration read."""
    if not JOB.is_file():
        raise UsageError(
            f"{JOB} must be there to train, but is missing; run empslurm from its checkout (pip install -e .)"
        )
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--num_processes", str(n_processes), "--num_machines", "1", "--dynamo_backend", "no"]
    command += ["--mixed_precision", "bf16" if precision == "bf16" else "no"]
    if port is not None:
        command += ["--main_process_port", str(port)]
    return [*command, str(JOB), *arguments]


def job_arguments(
    root: RunsRoot, submission: Submission, places: Sequence[int], checkpoint_minutes: float
) -> list[str]:
    """The arguments of jobs/train.py for the packs at `places`."""
    arguments = ["--runs", str(root.path.resolve()), "--submission", str(submission.path(root).resolve())]
    for place in places:
        arguments += ["--pack", str(place)]
    return [*arguments, "--checkpoint-minutes", str(checkpoint_minutes)]


def offline_environment() -> dict[str, str]:
    """Jobs never touch the network: everything was prepared before."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


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
    by_precision = itertools.groupby(enumerate(submission.packs), key=lambda item: _precision(item[1]))
    for number, (precision, group) in enumerate(by_precision):
        places = [place for place, _ in group]
        log = submission.path(root).with_name(f"local-{number}.log")
        command = launch_command(precision, n_processes, job_arguments(root, submission, places, checkpoint_minutes))
        with open(log, "ab") as stream:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**offline_environment(), LOG_VARIABLE: str(log.resolve())},
                start_new_session=True,
            )
            try:
                watch(process, log)
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                return EXIT_INTERRUPTED
        worst = max(worst, _status(process.wait()))
    return worst


def _precision(pack: Pack) -> str:
    return pack.cells[0].training.precision


def _status(code: int) -> int:
    """accelerate turns a child's 75 into 1 or a traceback of its own; both are for the states to tell apart."""
    return 0 if code == 0 else (EXIT_INTERRUPTED if code in (EXIT_INTERRUPTED, -signal.SIGTERM) else 1)
