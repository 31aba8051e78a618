"""`cancel` ends a run of this machine from another process: it saves, says so, and leaves no process behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from empslurm.launch import local
from empslurm.launch.submission_dir import SubmissionDir
from empslurm.store.cell_folder import CellState
from empslurm.store.claims import Claim, kernel, local_liveness, process_start
from empslurm.store.runs import RunsRoot
from tests.project import ROOT, Project, create

MANIFEST = """\
name: small
tasks: [epitome_er, news_empathy]
seeds: [1]
backbone: tiny
training: {epochs: 3000, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}
"""
PATIENCE_S = 240


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two manifests with the same cells, which train for minutes."""
    path = tmp_path_factory.mktemp("prepared")
    made = create(path, {"small": MANIFEST, "other": MANIFEST.replace("name: small", "name: other")})
    made.call("data", "sample")
    made.call("prepare", "small")
    return made


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    """The same, for one test only."""
    shutil.copytree(prepared.path, tmp_path / "project", symlinks=True)
    return Project(path=tmp_path / "project")


@pytest.fixture
def submit(project: Project) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `submit` in the background, as in another terminal, and waits until it is training."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "empslurm", "submit", "small", "--profile", "local"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=project.path,
            env={**environment, "EMPSLURM_RUNS": "runs", "EMPSLURM_DATA": "data"},
            # If the tests run under nohup, a hang-up is rightly ignored; in a terminal it is not.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        started.append(process)
        until(lambda: any((cell.path / "checkpoint").exists() or progressed(cell) for cell in cells(project)))
        return process

    yield start
    for process in started:
        process.kill()
        if not process.stdout.closed:  # type: ignore[union-attr]
            process.communicate()
    for claim in claims(project):
        if local_liveness(claim):
            os.kill(claim.pid, signal.SIGKILL)


def progressed(cell: Any) -> bool:
    return bool((cell.path / "progress.json").exists())


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


def cells(project: Project) -> list[Any]:
    root = RunsRoot(project.path / "runs")
    return [root.cell(name) for name in root.ids()] if root.path.exists() else []


def claims(project: Project) -> list[Claim]:
    return [claim for cell in cells(project) if (claim := cell.claim()) is not None]


def test_cancel_ends_a_local_run_which_saves_and_says_so(
    project: Project, submit: Callable[[], subprocess.Popen[str]]
) -> None:
    process = submit()
    told = project.json("cancel", "small")
    assert told["local"] == {"n_ended": 1, "n_saving": 0, "elsewhere": {}, "others": {}}
    assert (told["jobs"], told["n_running"]) == ([], 0)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cancelled: the train processes save what they have and end" in err
    assert "stopped; run the same command" in out
    assert not any(local_liveness(claim) for claim in claims(project))
    assert [path for cell in cells(project) for path in (cell.path / "checkpoint").glob("*")]
    assert not [path for cell in cells(project) for path in cell.path.glob("result.json")]
    assert project.json("cancel", "small")["local"]["n_ended"] == 0


def test_cancel_ends_a_train_process_whose_submit_was_killed(
    project: Project, submit: Callable[[], subprocess.Popen[str]]
) -> None:
    process = submit()
    process.kill()
    process.communicate(timeout=60)
    assert any(local_liveness(claim) for claim in claims(project))
    assert "1 runs on this machine are ended" in project.call("cancel", "small")
    assert not any(local_liveness(claim) for claim in claims(project))
    assert [path for cell in cells(project) for path in (cell.path / "checkpoint").glob("*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_submit_that_is_ended_by_a_signal_leaves_no_train_process_behind(
    project: Project, submit: Callable[[], subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = submit()
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "stopped; run the same command" in out
    assert not any(local_liveness(claim) for claim in claims(project))


def test_another_manifests_run_is_left_alone(project: Project, submit: Callable[[], subprocess.Popen[str]]) -> None:
    process = submit()
    told = project.json("cancel", "other")
    assert told["local"]["n_ended"] == 0
    assert sum(told["local"]["others"].values()) > 0
    assert "which `submit other` did not start" in told["warnings"][0]
    assert process.poll() is None


# ---- staged claims ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own session, as train processes are."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def claim_of(pid: int, folder: Path, **changes: Any) -> Claim:
    given: dict[str, Any] = {
        "number": 1,
        "nonce": "n",
        "host": socket.gethostname(),
        "pid": pid,
        "process_start": process_start(pid),
        "started": time.time(),
        "kernel": kernel(),
        "log": str(folder / "local-0.log"),
    }
    return Claim(**{**given, **changes})


def end(root: RunsRoot, claim: Claim) -> local.Ended:
    states = {"a": CellState(state="running", claim=claim), "b": CellState(state="running", claim=claim)}
    return local.end_runs(root, "demo", states, lambda _: None, grace_s=5)


@pytest.fixture
def folder(root: RunsRoot, made: Any) -> Path:
    return Path(made.folder(root).path.resolve())


def test_a_train_process_of_ours_is_ended(root: RunsRoot, folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
    found = end(root, claim_of(sleeper.pid, folder))
    assert (found.n_ended, found.n_saving) == (1, 0)
    assert sleeper.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"process_start": 1.0}, {}),
        ({"host": "elsewhere"}, {"elsewhere": {"elsewhere": 2}}),
        ({"kernel": "another"}, {"elsewhere": {"HERE": 2}}),
        ({"log": None}, {"others": {"WHO": 2}}),
        ({"log": "/somewhere/local-0.log"}, {"others": {"WHO": 2}}),
        ({"job_id": "12_3"}, {}),
    ],
)
def test_a_process_that_is_not_ours_is_never_ended(
    root: RunsRoot, folder: Path, sleeper: subprocess.Popen[bytes], changes: dict[str, Any], found: dict[str, Any]
) -> None:
    """A reused process id, another machine or container, a process not started here, a Slurm job."""
    claim = claim_of(sleeper.pid, folder, **changes)
    names = {"HERE": socket.gethostname(), "WHO": claim.who}
    expected = {"elsewhere": {}, "others": {}} | found
    seen = end(root, claim)
    assert (seen.n_ended, seen.n_saving) == (0, 0)
    for kind in ("elsewhere", "others"):
        assert getattr(seen, kind) == {names.get(name, name): n for name, n in expected[kind].items()}
    assert sleeper.poll() is None


def test_a_process_that_shares_its_group_with_others_is_left_alone(root: RunsRoot, folder: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert end(root, claim_of(process.pid, folder)).others == {
            f"process {process.pid} on {socket.gethostname()}": 1
        }
        assert process.poll() is None
        process.kill()


def test_a_run_that_takes_long_to_save_is_reported(root: RunsRoot, folder: Path) -> None:
    SubmissionDir(folder).runner.write_text(
        json.dumps(
            {
                "host": socket.gethostname(),
                "kernel": kernel(),
                "pid": os.getpid(),
                "process_start": process_start(os.getpid()),
            }
        )
    )
    found = local.end_runs(root, "demo", {}, lambda _: None, grace_s=0.2)
    assert (found.n_ended, found.n_saving) == (0, 1)


def test_a_runners_note_with_a_whole_number_is_read(root: RunsRoot, folder: Path) -> None:
    note = {"host": socket.gethostname(), "kernel": kernel(), "pid": os.getpid()}
    start = process_start(os.getpid())
    assert start is not None
    SubmissionDir(folder).runner.write_text(json.dumps({**note, "process_start": int(start)}))
    assert local.end_runs(root, "demo", {}, lambda _: None, grace_s=0.1).n_saving == 1


@pytest.mark.parametrize(
    "damage", ["", "[]", '{"pid": "x"}', '{"host": 1, "kernel": 2, "pid": -1, "process_start": 0}']
)
def test_a_damaged_note_of_a_runner_is_no_runner(root: RunsRoot, folder: Path, damage: str) -> None:
    SubmissionDir(folder).runner.write_text(damage)
    assert local.end_runs(root, "demo", {}, lambda _: None).n_ended == 0
