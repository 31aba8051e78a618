"""A cell's computed state, and results: they are sealed, and refused after any change."""

import json
import os

import pytest

from empslurm import files, ids
from empslurm.errors import ClaimLostError, DamagedError, StoreError
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from tests.store.cells import dead_claim, finish, make_cell, plant


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


def test_the_old_holder_of_a_split_cluster_cannot_commit(folder):
    first = folder.take(local_liveness)
    second = folder.take(lambda claim: False)
    with pytest.raises(ClaimLostError, match="is now held by"):
        finish(folder, first)
    assert finish(folder, second, b"second")
    assert folder.result()["claim"] == 2


def test_two_results_never_mix(folder, monkeypatch):
    """The old holder passes its check just before the new one takes over: the first link wins, as a whole."""
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


@pytest.mark.parametrize(
    "note", [b"[]", b"x", b'{"time": "now", "step": null}', b'{"time": true}', b'{"time": [1], "n_steps": {}}']
)
def test_a_damaged_progress_note_is_no_progress(folder, note):
    plant(folder, dead_claim(host="elsewhere"))
    files.write_bytes(folder.path / "progress.json", note)
    assert folder.progress() is None
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
    with pytest.raises(StoreError, match=r"must hold the files of .*, but is empty"):
        folder.save(folder.take(local_liveness), {})
    assert folder.result() is None


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
