"""Claims, commits and computed states."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from empslurm import files
from empslurm.cells import Cell, DataIdentity, differences, from_identity
from empslurm.config import Adapter, Backbone, DataUse, SourceUse, Training
from empslurm.errors import ClaimLostError, DamagedError, UnknownCellError
from empslurm.store import Claim, RunsRoot, local_liveness, process_start


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
    return Claim(number=number, **{**fields, **changes})


def plant(folder, claim):
    files.create_exclusive(folder.path / "claims" / f"{claim.number:04d}.json", files.to_json(asdict(claim)))


def test_an_identity_goes_to_json_and_back():
    cell = make_cell(kind="transfer", source="news_empathy", source_use=SourceUse(), parent="x")
    assert from_identity(json.loads(json.dumps(cell.identity()))) == cell
    with pytest.raises(DamagedError, match="must hold the fields of this version"):
        from_identity({**cell.identity(), "colour": "red"})


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


def _work(path, cells, wins):
    root = RunsRoot(path)
    for cell in cells:
        folder = root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(local_liveness)
        if claim is not None and folder.result() is None:
            finish(folder, claim, str(os.getpid()).encode())
            wins.put(cell.id)
            folder.release(claim)


def test_twenty_processes_commit_each_of_fifty_cells_once(tmp_path):
    cells = [make_cell(seed=seed) for seed in range(50)]
    context = multiprocessing.get_context("fork")
    wins = context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, cells, wins)) for _ in range(20)]
    for worker in workers:
        worker.start()
    committed = [wins.get(timeout=60) for _ in cells]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sorted(committed) == sorted(cell.id for cell in cells)
    assert wins.empty()
    for cell in cells:
        folder = RunsRoot(tmp_path).cell(cell.id)
        folder.verify(folder.result())


def test_a_killed_holder_is_seen_as_lost(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2]);"
        "from tests.test_store import make_cell; from empslurm.store import *; from pathlib import Path;"
        "cell = make_cell(); folder = RunsRoot(Path(sys.argv[1])).cell(cell.id); folder.create(cell);"
        "folder.take(local_liveness); print('held', flush=True); time.sleep(60)"
    )
    repository = os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), repository], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    folder = RunsRoot(tmp_path).cell(make_cell().id)
    assert folder.state(local_liveness).state == "running"
    process.kill()
    process.wait()
    process.stdout.close()
    assert folder.state(local_liveness).state == "lost"
