"""A cell has one holder at a time: the newest claim, as long as its process lives."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from empslurm import files
from empslurm.store.cell_folder import HEARTBEAT_STALE_S, Progress
from empslurm.store.claims import local_liveness, process_start
from empslurm.store.runs import RunsRoot
from tests.store.cells import dead_claim, finish, make_cell, plant


def test_a_dead_claim_is_lost_and_taken_over_but_a_living_one_is_not(folder):
    plant(folder, dead_claim())
    assert folder.state(local_liveness).state == "lost"
    assert folder.take(local_liveness).number == 2
    assert folder.take(local_liveness) is None


def test_a_reused_pid_is_not_the_same_process(folder):
    started = process_start(os.getpid())
    assert started is not None
    plant(folder, dead_claim(pid=os.getpid(), process_start=started - 1))
    assert folder.state(local_liveness).state == "lost"


def test_a_claim_of_another_host_lives_as_long_as_it_says_so(folder):
    plant(folder, dead_claim(host="elsewhere"))
    assert folder.state(local_liveness).state == "lost"
    folder.write_progress(Progress(time=time.time(), step=1))
    assert folder.state(local_liveness).state == "running"


def test_a_process_that_nobody_sees_lives_as_long_as_it_says_so(folder):
    """Such as a job that Slurm hides from other users, busy for half an hour with work that has no steps."""
    unseen = lambda claim: None  # noqa: E731
    claim = dead_claim(host="elsewhere", job_id="7_1", job_name="theirs.0123abcd")
    plant(folder, claim)
    assert folder.state(unseen).state == "lost"
    folder.beat(claim)
    state = folder.state(unseen)
    assert (state.state, folder.take(unseen)) == ("running", None)
    assert state.why == "job 7_1, which cannot be checked; its last sign of life is 0 s old"
    folder.release(claim)
    assert folder.state(unseen).state == "lost"
    assert not list((folder.path / "claims").glob("*.beat"))


def test_a_job_of_the_same_number_is_not_the_same_job(folder):
    """A controller that lost its state reuses job ids."""
    assert folder.take(lambda claim: True, job_id="7_1", job_name="one.0123abcd") is not None
    again = {"job_id": "7_1", "job_name": "two.4567cdef", "restart_count": 1}
    assert folder.take(lambda claim: True, **again) is None
    assert folder.take(lambda claim: False, **again) is not None


def test_a_done_cell_is_not_taken_even_by_one_who_looked_before_it_was_done(folder, monkeypatch):
    first = folder.take(local_liveness)
    tidy = type(folder).tidy
    looks = []

    def late(self):
        """The first call returns the state before the holder's commit."""
        looks.append(True)
        return tidy(self) if len(looks) > 1 else False

    finish(folder, first)
    folder.release(first)
    monkeypatch.setattr(type(folder), "tidy", late)
    assert folder.take(local_liveness) is None
    assert [claim.number for claim in folder.claims()] == [1, 2]
    monkeypatch.undo()
    assert folder.take(local_liveness) is None
    assert len(folder.claims()) == 2


def test_a_restarted_job_takes_its_own_claim_over_but_never_that_of_a_later_start(folder):
    first = folder.take(lambda claim: True, job_id="7_1")
    second = folder.take(lambda claim: True, job_id="7_1", restart_count=1)
    assert (first.number, second.number) == (1, 2)
    for answer in (True, False, None):
        assert folder.take(lambda claim, known=answer: known, job_id="7_1", restart_count=0) is None
    assert folder.take(lambda claim: True, job_id="8_1", restart_count=5) is None


def test_an_equal_host_name_is_not_the_same_machine(folder):
    """Two containers, or two hosts called localhost, on one file system: process ids say nothing."""
    plant(folder, dead_claim(kernel="another boot", started=time.time()))
    assert folder.state(local_liveness).state == "running"
    assert folder.take(local_liveness) is None


@pytest.mark.parametrize("beat", [time.time() + 10 * HEARTBEAT_STALE_S, 1e300], ids=["tomorrow", "never"])
def test_a_heartbeat_from_the_future_keeps_nobody_alive(folder, beat):
    plant(folder, dead_claim(host="elsewhere"))
    files.write_json(folder.path / "progress.json", {"time": beat})
    assert folder.state(local_liveness).state == "lost"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"number": 1}', files.to_json({**asdict(dead_claim()), "started": "now"})]
    + [files.to_json({**asdict(dead_claim()), key: [1]}) for key in ("nonce", "pid", "job_id", "log")],
)
def test_a_damaged_claim_holds_for_the_time_of_a_heartbeat_and_is_then_taken_over(folder, content):
    path = folder.path / "claims" / "0001.json"
    files.write_bytes(path, content)
    assert folder.state(local_liveness).state == "running"
    os.utime(path, (0, 0))
    assert folder.state(local_liveness).state == "lost"
    assert folder.take(local_liveness).number == 2


def test_a_claim_of_an_earlier_version_has_its_owner(folder):
    """They knew no kernel, no name of the job and no cluster."""
    older = {key: value for key, value in asdict(dead_claim()).items() if key not in ("kernel", "job_name", "cluster")}
    files.write_json(folder.path / "claims" / "0001.json", older)
    assert folder.claim() == dead_claim(kernel="")


def test_the_number_of_a_claim_is_its_files_and_a_newer_version_may_say_more_of_it(folder):
    plant(folder, dead_claim())
    path = folder.path / "claims" / "0001.json"
    written = json.loads(path.read_text())
    for change in ({"number": "7"}, {"number": 9}, {"rack": 4}, {"process_start": 1, "started": 2}):
        path.write_text(json.dumps({**written, **change}))
        assert (folder.claim().number, folder.claim().nonce) == (1, written["nonce"])
    path.write_text(json.dumps({name: value for name, value in written.items() if name != "number"}))
    assert (folder.claim().number, folder.state(local_liveness).state) == (1, "lost")


def test_the_ten_thousandth_claim_comes_after_the_one_before(folder):
    for number in (9_999, 10_000):
        plant(folder, dead_claim(number))
    assert folder.take(local_liveness).number == 10_001


def test_a_release_that_cannot_be_written_hides_nothing(folder, monkeypatch):
    claim = folder.take(local_liveness)
    monkeypatch.setattr(files, "_write_beside", lambda path, data: os.fsync(10**6))
    folder.release(claim)
    assert folder.state(local_liveness).state == "running"


def _work(path, cells, seed, wins):
    """Go through all cells in this process's own order until each is done, with some work between claim and commit."""
    rng = random.Random(seed)
    root = RunsRoot(path)
    left = rng.sample(cells, len(cells))
    while left:
        for cell in list(left):
            folder = root.cell(cell.id)
            folder.create(cell)
            claim = folder.take(local_liveness)
            if claim is not None:
                while (path / "hold").exists():
                    time.sleep(0.002)
                time.sleep(rng.random() * 0.05)
                if finish(folder, claim, b"%d" % os.getpid()):
                    os.write(wins, cell.id.encode() + b"\n")
                folder.release(claim)
            if folder.result() is not None:
                left.remove(cell)


@pytest.mark.heavy
@pytest.mark.parametrize("n_kills", [0, 40])
def test_twenty_processes_commit_each_of_fifty_cells_once(tmp_path, n_kills):
    """Some processes are killed at random moments: their cells are taken over, and still committed once."""
    cells = [make_cell(seed=seed) for seed in range(50)]
    context, rng = multiprocessing.get_context("fork"), random.Random(1)
    wins = os.open(tmp_path / "wins", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    seeds = iter(range(1_000))

    def start():
        worker = context.Process(target=_work, args=(tmp_path, cells, next(seeds), wins))
        worker.start()
        return worker

    (tmp_path / "hold").touch()  # nobody is through before the last kill
    workers, killed = [start() for _ in range(20)], 0
    deadline = time.monotonic() + 120
    while any(worker.is_alive() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(rng.random() * 0.02)
        if killed == n_kills:
            (tmp_path / "hold").unlink(missing_ok=True)
        victim = rng.choice(workers)
        if killed < n_kills and victim.is_alive():
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            workers.remove(victim)
            workers.append(start())
            killed += victim.exitcode == -signal.SIGKILL
    os.close(wins)
    assert [worker.exitcode for worker in workers] == [0] * 20
    committed = (tmp_path / "wins").read_text().splitlines()
    assert len(set(committed)) == len(committed)
    assert len(committed) >= 50 - killed  # a process may die between its commit and its note
    assert killed == n_kills
    for cell in cells:
        folder = RunsRoot(tmp_path).cell(cell.id)
        result = folder.result()
        assert result is not None
        folder.verify(result)
        assert folder.state(local_liveness).state == "done"


def test_a_killed_holder_is_seen_as_lost(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2]);"
        "from tests.store.cells import make_cell; from empslurm.store.claims import local_liveness;"
        "from empslurm.store.runs import RunsRoot; from pathlib import Path;"
        "cell = make_cell(); folder = RunsRoot(Path(sys.argv[1])).cell(cell.id); folder.create(cell);"
        "folder.take(local_liveness); print('held', flush=True); time.sleep(60)"
    )
    repository = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), repository], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    folder = RunsRoot(tmp_path).cell(make_cell().id)
    assert folder.state(local_liveness).state == "running"
    process.kill()
    process.wait()
    process.stdout.close()
    assert folder.state(local_liveness).state == "lost"
