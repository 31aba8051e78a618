"""squeue's answer is read by columns, and shows whether a claim is alive."""

import itertools
import os
import socket
import time
from functools import partial

import pytest

from empslurm.launch.liveness import liveness
from empslurm.launch.queue import COLUMNS, Job, Queue, parse
from empslurm.store.claims import Claim, process_start

NAME = "small.0123abcd"


def line(*values: str) -> str:
    return "".join(value.ljust(width) for value, width in zip(values, COLUMNS.values(), strict=True))


def claim(**changes: object) -> Claim:
    given = {"number": 1, "nonce": "n", "host": "node1", "pid": 1, "process_start": 1.0, "started": 0.0}
    return Claim(**{**given, "job_id": "7_1", "job_name": NAME, "restart_count": 1, **changes})  # type: ignore[arg-type]


def test_elements_and_single_jobs_are_distinguished() -> None:
    jobs = parse(
        [
            line("7", "1", "9", "RUNNING", "2", "None", "node3", "small.ab", "alpha"),
            line("8", "N/A", "8", "PENDING", "0", "Dependency", "", "small.cd", "N/A"),
        ]
    )
    assert jobs["7_1"].why == "job 7_1 is running on node3"
    assert (jobs["7_1"].restarts, jobs["7_1"].runs) == (2, True)
    assert jobs["8"].why == "job 8 is pending (Dependency)"
    assert (jobs["7_1"].cluster, jobs["8"].cluster) == ("alpha", None)


@pytest.mark.parametrize(
    ("state", "restarts", "lives"),
    [
        ("RUNNING", 1, True),
        ("COMPLETING", 1, True),
        ("RUNNING", 2, False),
        ("PENDING", 1, False),
        ("NODE_FAIL", 1, False),
        ("PENDING", 0, None),  # the answer is older than the claim's start
        (None, 0, None),  # not shown, perhaps hidden from this user
    ],
)
def test_a_claim_lives_while_its_incarnation_of_the_job_runs(
    state: str | None, restarts: int, lives: bool | None
) -> None:
    job = Job(id="7_1", state=state or "", restarts=restarts, reason="", node="node1", name=NAME)
    alive = liveness(Queue(lambda: {"7_1": job} if state else {}))
    assert alive(claim()) is lives


def test_a_job_of_another_name_says_nothing_of_a_claim() -> None:
    """Ids start at 1 again when a controller loses its state, and two clusters may share a file system."""
    for state in ("RUNNING", "COMPLETED"):
        job = Job(id="7_1", state=state, restarts=1, reason="", node="node1", name="somebody.else")
        jobs = {"7_1": job}
        assert liveness(Queue(partial(dict, jobs)))(claim()) is None
        assert liveness(Queue(partial(dict, jobs)))(claim(job_name=None)) is None
    elsewhere = Job(id="7_1", state="COMPLETED", restarts=1, reason="", node="", name=NAME, cluster="beta")
    assert liveness(Queue(lambda: {"7_1": elsewhere}))(claim(cluster="alpha")) is None
    assert liveness(Queue(lambda: {"7_1": elsewhere}))(claim(cluster="beta")) is False
    ours = Job(id="7_1", state="RUNNING", restarts=1, reason="", node="node1", name=NAME)
    assert liveness(Queue(lambda: {"7_1": ours}))(claim(job_name=None)) is True  # written by an earlier version


def test_only_an_answer_younger_than_the_claim_can_kill_it() -> None:
    """A job that was pending when squeue was asked may have started since."""
    job = Job(id="7_1", state="PENDING", restarts=1, reason="", node="", name=NAME)
    asked: list[int] = []

    def answer() -> dict[str, Job]:
        asked.append(1)
        return {"7_1": job}

    paced = Queue(answer, every_s=60.0)
    assert liveness(paced)(claim()) is False
    assert liveness(paced)(claim(started=time.time())) is None
    assert len(asked) == 1
    eager = Queue(answer)
    assert liveness(eager)(claim()) is False
    assert liveness(eager)(claim(started=time.time())) is False
    assert len(asked) == 3


def test_a_slow_controller_is_asked_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    asked: list[float] = []

    def ask() -> dict[str, Job]:
        asked.append(now[0])
        now[0] += 3.0
        return {}

    paced = Queue(ask, every_s=15.0)
    for _ in range(90):
        paced.look(now[0])
        now[0] += 1.0
    assert [later - earlier for earlier, later in itertools.pairwise(asked)] == [30.0, 30.0, 30.0]


def test_nothing_is_known_when_squeue_is_silent() -> None:
    assert liveness(Queue(lambda: None))(claim()) is None


def test_within_this_job_the_process_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("EMPSLURM_ARRAY", "/marker.json")
    monkeypatch.setenv("EMPSLURM_JOB_NAME", NAME)

    def never() -> None:
        raise AssertionError("squeue is not needed")

    alive = liveness(Queue(never))
    own = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": process_start(os.getpid())}
    assert alive(claim(**own)) is True
    assert alive(claim(**{**own, "process_start": 0.0})) is False
    assert alive(claim(**{**own, "restart_count": 0})) is False


def test_a_job_seen_running_counts_as_running_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    jobs = {"7_1": Job(id="7_1", state="RUNNING", restarts=1, reason="", node="node1", name=NAME)}
    alive = liveness(Queue(lambda: dict(jobs)))
    assert alive(claim()) is True
    jobs["7_1"] = Job(id="7_1", state="NODE_FAIL", restarts=1, reason="", node="", name=NAME)
    now[0] += 10
    assert alive(claim()) is True
    now[0] += 60
    assert alive(claim()) is False
