"""Claims, commits and computed states."""

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from empslurm import files, ids
from empslurm.cells import Cell, DataIdentity, differences
from empslurm.config import Adapter, Backbone, DataUse, Training
from empslurm.errors import ClaimLostError, DamagedError, StoreError, UnknownCellError
from empslurm.store.runs import HEARTBEAT_STALE_S, Claim, RunsRoot, kernel, local_liveness, process_start


def make_cell(**changes):
    data = DataIdentity(dataset="epitome", raw="0" * 64, split="family-1-0", use=DataUse(), labels="all", fraction=1.0)
    cell = Cell(
        kind="baseline",
        target="epitome_er",
        seed=1,
        data=data,
        backbone=Backbone(name="tiny"),
        backbone_digest="tiny-1",
        adapter=Adapter(),
        training=Training(),
    )
    return replace(cell, **changes)


@pytest.fixture
def folder(tmp_path):
    cell = make_cell()
    made = RunsRoot(tmp_path).cell(cell.id)
    made.create(cell)
    return made


def finish(folder, claim, content=b"weights", result=None):
    files.write_bytes(folder.output(claim) / "adapter" / "adapter.safetensors", content)
    return folder.commit(claim, result or {"test": {"f1_macro": 0.5}})


def dead_claim(number=1, **changes):
    fields = {"nonce": "dead", "host": socket.gethostname(), "pid": 2**22 + 1, "process_start": 1.0, "started": 0.0}
    fields["kernel"] = kernel()
    return Claim(number=number, **{**fields, **changes})


def plant(folder, claim):
    files.create_exclusive(folder.path / "claims" / f"{claim.number:04d}.json", files.to_json(asdict(claim)))


def test_differences_name_the_fields():
    one, two = make_cell(), make_cell(seed=2, training=Training(lr=1e-3))
    found = differences(one.identity(), two.identity())
    assert found == [("seed", 1, 2), ("training.lr", 5e-4, 1e-3)]


def test_a_cell_goes_from_pending_to_done(folder):
    assert folder.state(local_liveness).state == "pending"
    claim = folder.take(local_liveness)
    assert folder.state(local_liveness).state == "running"
    assert folder.take(local_liveness) is None
    assert finish(folder, claim)
    folder.release(claim)
    assert folder.state(local_liveness).state == "done"
    assert folder.verify(folder.result()) == folder.output(claim)


def test_a_failure_is_remembered_until_a_result_comes(folder):
    claim = folder.take(local_liveness)
    folder.fail(claim, kind="data", message="no rows")
    folder.release(claim)
    assert folder.state(local_liveness).why == "data: no rows"
    second = folder.take(local_liveness)
    assert folder.state(local_liveness).state == "running"
    finish(folder, second)
    folder.release(second)
    assert folder.state(local_liveness).state == "done"
    assert folder.error() is None


def test_a_dead_claim_is_lost_and_taken_over_but_a_living_one_is_not(folder):
    plant(folder, dead_claim())
    assert folder.state(local_liveness).state == "lost"
    assert folder.take(local_liveness).number == 2
    assert folder.take(local_liveness) is None


def test_a_reused_pid_is_not_the_same_process(folder):
    plant(folder, dead_claim(pid=os.getpid(), process_start=process_start(os.getpid()) - 1))
    assert folder.state(local_liveness).state == "lost"


def test_a_claim_of_another_host_lives_as_long_as_it_says_so(folder):
    plant(folder, dead_claim(host="elsewhere"))
    assert folder.state(local_liveness).state == "lost"
    folder.write_progress({"step": 1})
    assert folder.state(local_liveness).state == "running"


def test_a_process_that_nobody_sees_lives_as_long_as_it_says_so(folder):
    """Such as a job that Slurm hides from other users, busy for half an hour with what has no steps."""
    unseen = lambda claim: None  # noqa: E731
    claim = dead_claim(host="elsewhere", job_id="7_1", job_name="theirs.0123abcd")
    plant(folder, claim)
    assert folder.state(unseen).state == "lost"
    folder.beat(claim)
    state = folder.state(unseen)
    assert (state.state, folder.take(unseen)) == ("running", None)
    assert state.why == "job 7_1, which cannot be seen; its last sign of life is 0 s old"
    folder.release(claim)
    assert folder.state(unseen).state == "lost"
    assert not list((folder.path / "claims").glob("*.beat"))


def test_a_job_of_the_same_number_is_not_the_same_job(folder):
    """A controller that lost its state gives numbers again."""
    assert folder.take(lambda claim: True, job_id="7_1", job_name="one.0123abcd") is not None
    again = {"job_id": "7_1", "job_name": "two.4567cdef", "restart_count": 1}
    assert folder.take(lambda claim: True, **again) is None
    assert folder.take(lambda claim: False, **again) is not None


def test_the_old_holder_of_a_split_cluster_cannot_commit(folder):
    first = folder.take(local_liveness)
    second = folder.take(lambda claim: False)
    with pytest.raises(ClaimLostError, match="must be held by"):
        finish(folder, first)
    assert finish(folder, second, b"second")
    assert folder.result()["claim"] == 2


def test_two_results_never_mix(folder, monkeypatch):
    """The old incarnation passes its check just before the new one takes over: the first link wins, whole."""
    first = folder.take(local_liveness)
    second = folder.take(lambda claim: False)
    monkeypatch.setattr(type(folder), "check", lambda self, claim: None)
    assert finish(folder, second, b"second")
    assert not finish(folder, first, b"first")
    result = folder.result()
    assert (folder.verify(result) / "adapter" / "adapter.safetensors").read_bytes() == b"second"


@pytest.mark.parametrize(
    "change", [{"test": {"f1_macro": 0.9}}, {"id": "epitome_er-s2-0123456789ab"}, {"seal": "0" * 64}]
)
def test_an_altered_result_is_refused_by_name(folder, change):
    claim = folder.take(local_liveness)
    finish(folder, claim)
    path = folder.path / "result.json"
    value = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps(value))
    with pytest.raises(DamagedError, match=r"result\.json must be the sealed result"):
        folder.result()
    assert folder.state(local_liveness).state == "failed"


def test_an_altered_output_is_refused_by_name(folder):
    claim = folder.take(local_liveness)
    finish(folder, claim)
    (folder.output(claim) / "adapter" / "adapter.safetensors").write_bytes(b"other")
    with pytest.raises(DamagedError, match=r"adapter\.safetensors must match its checksum"):
        folder.verify(folder.result())


def test_a_foreign_identity_is_refused(tmp_path):
    root = RunsRoot(tmp_path)
    one, two = make_cell(), make_cell(seed=2)
    root.cell(one.id).create(two)
    with pytest.raises(DamagedError, match="must hold the identity of"):
        root.cell(one.id).create(one)


def test_cells_are_found_by_an_unambiguous_beginning(tmp_path):
    root = RunsRoot(tmp_path)
    cells = [make_cell(seed=seed) for seed in (1, 2)]
    for cell in cells:
        root.cell(cell.id).create(cell)
    assert root.find("epitome_er-s2").id == cells[1].id
    with pytest.raises(UnknownCellError, match="2 start so"):
        root.find("epitome_er")
    with pytest.raises(UnknownCellError, match="none starts so"):
        root.find("news")
    with pytest.raises(UnknownCellError, match="must look like"):
        root.cell("../../etc/passwd")


def test_a_done_cell_is_not_taken_even_by_one_who_looked_before_it_was_done(folder, monkeypatch):
    first = folder.take(local_liveness)
    tidy = type(folder).tidy
    looks = []

    def late(self):
        """The first look is answered as it was before the holder's commit."""
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


def test_the_ten_thousandth_claim_comes_after_the_one_before(folder):
    for number in (9_999, 10_000):
        plant(folder, dead_claim(number))
    assert folder.take(local_liveness).number == 10_001


@pytest.mark.parametrize(
    "note", [b"[]", b"x", b'{"time": "now", "step": null}', b'{"time": true}', b'{"time": [1], "n_steps": {}}']
)
def test_a_damaged_progress_note_is_no_progress(folder, note):
    plant(folder, dead_claim(host="elsewhere"))
    files.write_bytes(folder.path / "progress.json", note)
    assert folder.progress() == {}
    assert folder.state(local_liveness).state == "lost"


def test_a_kill_right_after_the_commit_leaves_a_done_cell_that_the_next_one_tidies(folder, monkeypatch):
    plant(folder, dead_claim())
    files.write_bytes(folder.path / "output-0001" / "half", b"torn")
    claim = folder.take(local_liveness)
    files.write_bytes(folder.path / "checkpoint" / "step-1.ckpt", b"x")
    files.write_json(folder.path / "error.json", {"class": "data", "message": "no rows", "claim": 1})
    (folder.path / ".progress.json.1.aa.tmp").write_bytes(b"torn")
    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "tidy", lambda self: True)  # killed before it could
        finish(folder, claim)
    assert folder.state(local_liveness).state == "done"
    assert folder.take(local_liveness) is None
    assert sorted(os.listdir(folder.path)) == ["cell.json", "claims", "output-0002", "result.json"]
    folder.verify(folder.result())


def test_an_empty_output_is_not_committed(folder):
    with pytest.raises(StoreError, match="gave, but is empty"):
        folder.commit(folder.take(local_liveness), {})
    assert folder.result() is None


def test_a_release_that_cannot_be_written_hides_nothing(folder, monkeypatch):
    claim = folder.take(local_liveness)
    monkeypatch.setattr(files, "_write_beside", lambda path, data: os.fsync(10**6))
    folder.release(claim)
    assert folder.state(local_liveness).state == "running"


@pytest.mark.parametrize("name", ["extra.bin", "adapter/pytorch_model.bin"])
def test_a_file_that_the_result_does_not_name_is_refused(folder, name):
    claim = folder.take(local_liveness)
    finish(folder, claim)
    (folder.output(claim) / name).write_bytes(b"x")
    with pytest.raises(DamagedError, match=f"{name} must be named in result.json"):
        folder.verify(folder.result())


def test_a_link_in_the_place_of_an_output_is_refused(folder, tmp_path):
    claim = folder.take(local_liveness)
    finish(folder, claim)
    weights = folder.output(claim) / "adapter" / "adapter.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedError, match=r"adapter\.safetensors must be a regular file"):
        folder.verify(folder.result())


def seal(value):
    value = {key: item for key, item in value.items() if key != "seal"}
    return {**value, "seal": ids.digest(value)}


@pytest.mark.parametrize(
    "change",
    [
        {"output": "../../../etc"},
        {"output": "/etc"},
        {"output": "output-0001/../../x"},
        {"output": 1},
        {"files": []},
        {"files": {"adapter/adapter.safetensors": 1}},
    ],
)
def test_a_well_sealed_result_that_points_elsewhere_is_refused(folder, change):
    finish(folder, folder.take(local_liveness))
    files.write_json(folder.path / "result.json", seal({**folder.result(), **change}))
    with pytest.raises(DamagedError, match=r"result\.json must name its output"):
        folder.result()
    assert folder.state(local_liveness).state == "failed"


def test_a_result_of_another_cell_is_refused(folder, tmp_path):
    finish(folder, folder.take(local_liveness))
    other = RunsRoot(tmp_path).cell(make_cell(seed=2).id)
    files.write_bytes(other.path / "result.json", (folder.path / "result.json").read_bytes())
    with pytest.raises(DamagedError, match="must be the sealed result of"):
        other.result()


def test_what_cannot_be_listed_does_not_look_empty(tmp_path):
    (tmp_path / "cells").write_text("")
    with pytest.raises(StoreError, match="must be a folder that can be listed"):
        RunsRoot(tmp_path).cells()
    folder = RunsRoot(tmp_path / "other").cell(make_cell().id)
    files.write_bytes(folder.path / "claims", b"")
    assert folder.state(local_liveness).state == "failed"
    with pytest.raises(StoreError, match="must be a folder that can be listed"):
        folder.take(local_liveness)


def _work(path, cells, seed, wins):
    """Go through all cells in an order of one's own until each is done; a little work between claim and commit."""
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


@pytest.mark.parametrize("n_kills", [0, 40])
def test_twenty_processes_commit_each_of_fifty_cells_once(tmp_path, n_kills):
    """Some of them are killed at random moments: their cells are taken over, and again committed once."""
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
        folder.verify(folder.result())
        assert folder.state(local_liveness).state == "done"


def test_a_killed_holder_is_seen_as_lost(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2]);"
        "from tests.store.test_runs import make_cell; from empslurm.store.runs import *; from pathlib import Path;"
        "cell = make_cell(); folder = RunsRoot(Path(sys.argv[1])).cell(cell.id); folder.create(cell);"
        "folder.take(local_liveness); print('held', flush=True); time.sleep(60)"
    )
    repository = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), repository], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    folder = RunsRoot(tmp_path).cell(make_cell().id)
    assert folder.state(local_liveness).state == "running"
    process.kill()
    process.wait()
    process.stdout.close()
    assert folder.state(local_liveness).state == "lost"
