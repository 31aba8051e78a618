"""Node processes as launchers start them: `accelerate launch jobs/train.py`, from sample data to sealed results."""

import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate.utils import is_tensorboard_available

from empslurm.cells import from_identity
from empslurm.cli import main
from empslurm.store import predictions
from empslurm.store.runs import RunsRoot
from empslurm.train import run as train_run
from empslurm.train.run import alike
from jobs.train import main as train_job

MANIFEST = """
name: small
kind: grid
tasks: [epitome_er, news_empathy]
seeds: [1]
backbone: {name: tiny}
adapter: {reduction_factor: 4}
training: {epochs: 2, batch_size: 7, lr: 5.0e-3, max_length: 32, max_train_examples: 40, max_eval_examples: 24}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Sample data, a manifest, a profile of two processes, and the manifest's runs in one process."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "small.yaml").write_text(MANIFEST)
    (folder / "two.yaml").write_text("kind: local\nnum_processes: 2\ntrackers: [tensorboard]\n")
    assert main(["--data", str(folder / "data"), "data", "sample"]) == 0
    run(folder, "one", "local")
    return folder


def run(folder, runs, profile):
    arguments = ["--data", str(folder / "data"), "--runs", str(folder / runs)]
    assert main([*arguments, "submit", str(folder / "small.yaml"), "--profile", profile]) == 0, logs(folder / runs)


def logs(runs):
    return "\n".join(path.read_text() for path in runs.glob("submissions/*/*.log"))


def results(runs):
    root = RunsRoot(runs)
    return {folder.id: (folder.result(), folder) for folder in root.cells()}


def test_a_small_grid_ends_with_sealed_results_their_provenance_and_a_sentence_each(world):
    made = results(world / "one")
    assert sorted(result["kind"] for result, _ in made.values()) == ["baseline", "baseline", "transfer", "transfer"]
    said = logs(world / "one")
    for id, (result, folder) in made.items():
        output = folder.verify(result)
        notes = json.loads((output / "provenance.json").read_text())
        assert (notes["pack_size"], notes["group_size"], notes["n_processes"]) == (1, 1, 1)
        assert notes["wall_s"] > 0
        assert f"{id} is done: test" in said
        assert not (folder.path / "checkpoint").exists()
        lines = (folder.path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == result["history"]


def test_two_processes_give_the_same_results_as_one(world):
    run(world, "two", "/".join((str(world), "two.yaml")))
    one, two = results(world / "one"), results(world / "two")
    assert set(one) == set(two)
    for id, (result, folder) in one.items():
        other, other_folder = two[id]
        losses, others = ([entry["train_loss"] for entry in each["history"]] for each in (result, other))
        np.testing.assert_allclose(losses, others, rtol=1e-4)
        assert result["best_epoch"] == other["best_epoch"]
        ours, theirs = (
            predictions.read(place.verify(each) / predictions.NAME)["test"].outputs
            for each, place in ((result, folder), (other, other_folder))
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
        notes = json.loads((other_folder.verify(other) / "provenance.json").read_text())
        assert notes["n_processes"] == 2


def test_one_of_two_processes_has_the_trackers_of_the_profile(world):
    if not (world / "two").exists():
        run(world, "two", "/".join((str(world), "two.yaml")))
    if is_tensorboard_available():
        assert {path.name for path in (world / "two" / "trackers").iterdir()} == set(results(world / "two"))
    else:
        assert logs(world / "two").count("the tracker tensorboard must be installed where training runs") == 1


def test_a_pack_is_cut_into_cells_that_are_alike(world, tmp_path):
    cells = [from_identity(folder.identity()) for _, folder in results(world / "one").values()]
    assert sorted(len(group) for group in alike(cells, RunsRoot(tmp_path))) == [1, 1, 1, 1]
    assert [len(group) for group in alike([cells[0], cells[0]], RunsRoot(tmp_path))] == [2]


def test_a_process_that_must_have_a_gpu_and_has_none_fails_every_cell_with_the_reason(world, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("The NVIDIA driver on your system is too old")

    (submission,) = (world / "one" / "submissions").glob("*/submission.jsonl")
    runs = world / "broken"
    monkeypatch.setattr("torch.zeros", broken)
    assert train_job(["--runs", str(runs), "--submission", str(submission), "--gpu"]) == 1
    errors = [folder.error() for folder in RunsRoot(runs).cells()]
    assert len(errors) == 4
    for error in errors:
        assert error is not None
        assert error["class"] == "device"
        assert "must have a working GPU" in error["message"]
        assert "The NVIDIA driver on your system is too old" in error["message"]


def test_a_process_says_that_it_lives_while_it_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(train_run, "BEAT_EVERY_S", 0.01)
    folder = RunsRoot(tmp_path).cell("epitome_er-s1-0123456789ab")
    claim = folder.take(lambda _: None)
    beat = folder.path / "claims" / "0001.beat"
    member: Any = SimpleNamespace(folder=folder, claim=claim)
    with train_run.beating([member]):
        end = time.monotonic() + 10
        while not beat.exists() and time.monotonic() < end:
            time.sleep(0.01)
    first = json.loads(beat.read_text())["time"]
    assert abs(first - time.time()) < 10
    time.sleep(0.05)
    assert json.loads(beat.read_text())["time"] == first  # it has ended, so there are no more heartbeats
