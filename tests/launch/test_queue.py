"""squeue's answer is read by columns, and a claim's life follows from it."""

import os
import socket

import pytest

from empslurm.launch.liveness import Queue, liveness
from empslurm.launch.queue import COLUMNS, Job, parse
from empslurm.store import Claim, process_start


def line(*values: str) -> str:
    return "".join(value.ljust(width) for value, width in zip(values, COLUMNS.values(), strict=True))


def claim(**changes: object) -> Claim:
    given = {"number": 1, "nonce": "n", "host": "node1", "pid": 1, "process_start": 1.0, "started": 0.0}
    return Claim(**{**given, "job_id": "7_1", "restart_count": 1, **changes})  # type: ignore[arg-type]


def test_elements_and_single_jobs_are_told_apart() -> None:
    jobs = parse(
        [
            line("7", "1", "9", "RUNNING", "2", "None", "node3", "small.ab"),
            line("8", "N/A", "8", "PENDING", "0", "Dependency", "", "small.cd"),
        ]
    )
    assert jobs["7_1"].why == "job 7_1 is running on node3"
    assert (jobs["7_1"].restarts, jobs["7_1"].runs) == (2, True)
    assert jobs["8"].why == "job 8 is pending (Dependency)"


@pytest.mark.parametrize(
    ("state", "restarts", "lives"),
    [("RUNNING", 1, True), ("COMPLETING", 1, True), ("RUNNING", 2, False), ("PENDING", 1, False), (None, 0, False)],
)
def test_a_claim_lives_while_its_incarnation_of_the_job_runs(state: str | None, restarts: int, lives: bool) -> None:
    job = Job(id="7_1", state=state or "", restarts=restarts, reason="", node="node1", name="x")
    alive = liveness(Queue(lambda: {"7_1": job} if state else {}))
    assert alive(claim()) is lives


def test_nobody_can_tell_when_squeue_is_silent() -> None:
    assert liveness(Queue(lambda: None))(claim()) is None


def test_within_ones_own_job_the_process_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")

    def never() -> None:
        raise AssertionError("squeue is not needed")

    alive = liveness(Queue(never))  # type: ignore[arg-type]
    own = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": process_start(os.getpid())}
    assert alive(claim(**own)) is True
    assert alive(claim(**{**own, "process_start": 0.0})) is False
    assert alive(claim(**{**own, "restart_count": 0})) is False
