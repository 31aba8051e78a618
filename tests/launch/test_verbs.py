"""submit, status, cancel and resume with staged answers of Slurm: deaths, other people's jobs, no way to start."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from empslurm.cli import main, status
from empslurm.launch import markers
from empslurm.store.runs import RunsRoot
from tests import inherited, warm

MANIFEST = """
name: small
tasks: [epitome_er, news_empathy]
seeds: [1]
backbone: tiny
training: {epochs: 1, batch_size: 8, max_length: 24, max_train_examples: 16, max_eval_examples: 16}
"""
Call = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    assert main(["--data", str(folder), "data", "sample"]) == 0
    return folder


@pytest.fixture
def call(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run a verb on a small manifest; returns its exit status and JSON document."""
    (tmp_path / "small.yaml").write_text(MANIFEST)
    (tmp_path / "here.yaml").write_text("kind: slurm\ncpus: 1\ntime: 20\n")
    environment = dict(os.environ)

    def call(verb: str, *words: str) -> tuple[int, Any]:
        profile = ["--profile", str(tmp_path / "here.yaml")] if verb in ("submit", "resume") else []
        common = ["--data", str(corpus), "--runs", str(tmp_path / "runs"), "--json"]
        capsys.readouterr()
        code = main([verb, str(tmp_path / "small.yaml"), *profile, *common, *words])
        return code, json.loads(capsys.readouterr().out)

    yield call
    os.environ.clear()
    os.environ.update(environment)


def everything_ended(lab: Path, root: RunsRoot, line: str) -> None:
    """Empty the queue, and give every job a log with a last line."""
    (lab / "taken").write_text("")
    for job_id, array in markers.sent(root):
        for element in array.element_ids(job_id):
            if not array.log(element).exists():
                array.log(element).write_text(f"{line}\n")


def test_other_peoples_jobs_are_left_alone(lab: Path, root: RunsRoot, call: Call) -> None:
    """After a controller lost its state, other jobs get our ids."""
    code, sent = call("submit")
    assert (code, sent["jobs"], sent["never"]) == (0, ["101", "102", "103"], {})
    (lab / "taken").write_text("101 theirs.01234567\n102 wrap\n103 small-baseline.89abcdef\n")
    code, found = call("status")
    assert (code, found["totals"]["pending"], found["queued"]) == (0, 4, [])
    code, cancelled = call("cancel")
    assert (code, cancelled["jobs"]) == (0, [])
    assert not (lab / "cancelled").exists()
    assert call("submit")[1]["submitted"] == 4


def test_a_budget_without_measured_cells_sends_a_pilot_and_then_waits_for_it(lab: Path, call: Call) -> None:
    code, sent = call("submit", "--budget", "40h")
    assert (code, sent["submitted"], sent["budget"]["pilot"]) == (0, 2, True)
    assert sent["packs"] == 2
    code, again = call("submit", "--budget", "40h")
    assert (code, again["submitted"], again["budget"]["cells"]) == (0, 0, [])
    assert "run or are queued" in again["budget"]["sentences"][-1]


def test_squeue_is_asked_for_our_own_jobs(lab: Path, root: RunsRoot, call: Call) -> None:
    call("submit")
    (lab / "queue-asked").unlink()
    call("status")
    (asked,) = (lab / "queue-asked").read_text().splitlines()
    names = {array.name for _, array in markers.sent(root)}
    assert f"--user={os.getuid()}" in asked.split()
    assert f"--name={','.join(sorted(names))}" in asked.split()
    assert {"--all", "--states=all"} <= set(asked.split())


def test_nothing_is_asked_where_nothing_was_sent(lab: Path, call: Call) -> None:
    assert call("status")[0] == 0
    assert not (lab / "queue-asked").exists()


def test_jobs_that_can_never_start_are_no_success(lab: Path, call: Call) -> None:
    (lab / "reason").write_text("PartitionTimeLimit")
    code, sent = call("submit")
    assert code == 1
    assert list(sent["never"]) == ["PartitionTimeLimit"]
    code, found = call("status", "--watch")  # `--watch` ends too
    assert code == 1
    (never,) = found["never"]
    assert (never["reason"], never["n_cells"], "lower `time`" in never["fix"]) == ("PartitionTimeLimit", 4, True)


def test_watching_asks_slurm_rarely_and_looks_at_files_often(
    lab: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status.ASK_EVERY_S >= 15
    call("submit")
    (lab / "queue-asked").unlink()
    looked: list[float] = []
    real = status.summary

    def noted(*arguments: Any) -> Any:
        looked.append(time.time())
        return real(*arguments)

    monkeypatch.setattr(status, "summary", noted)
    monkeypatch.setattr(status, "ASK_EVERY_S", 1.0)
    monkeypatch.setattr(status, "REFRESH_S", 0.05)
    # The reason applies at once, but squeue reports it only at the next question.
    timer = threading.Timer(2.5, lambda: (lab / "reason").write_text("JobHeldAdmin"))
    timer.start()
    begin = time.monotonic()
    assert call("status", "--watch")[0] == 1
    n_asked = len((lab / "queue-asked").read_text().splitlines())
    assert len(looked) > 3 * n_asked
    assert 2 <= n_asked <= (time.monotonic() - begin) / 1.0 + 2


def test_early_deaths_are_shown_and_stop_the_third_try(lab: Path, root: RunsRoot, call: Call, tmp_path: Path) -> None:
    call("submit")
    everything_ended(lab, root, "slurm_script: line 30: module: command not found")
    code, found = call("status")
    assert (code, found["totals"]["pending"], len(found["died_early"])) == (0, 4, 4)
    why = "ended before it started: slurm_script: line 30: module: command not found"
    assert all(item["why"].endswith(why) for item in found["died_early"])
    code, sent = call("submit")  # a second try may help
    assert (code, sent["submitted"]) == (0, 4)
    everything_ended(lab, root, "slurm_script: line 30: module: command not found")
    code, refused = call("submit")
    assert code == 1
    assert "ended before they started, both saying: slurm_script: line 30: module: command" in json.dumps(refused)
    code, sent = call("resume")
    assert (code, sent["submitted"]) == (0, 4)
    everything_ended(lab, root, "slurm_script: line 30: module: command not found")
    assert call("submit")[0] == 1
    (tmp_path / "here.yaml").write_text("kind: slurm\ncpus: 1\ntime: 20\nsetup: [module load python]\n")
    assert call("submit")[1]["submitted"] == 4  # another profile may help


def test_jobs_of_another_cluster_are_reported(lab: Path, root: RunsRoot, call: Call) -> None:
    call("submit")
    for path in root.submissions.glob("*/arrays/*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "cluster": "other"}))
    (lab / "taken").write_text("101 a.01234567\n")
    code, found = call("status")
    assert code == 0
    assert found["unseen"] == [{"why": "cluster other has or had jobs for them, and this is cluster lab", "n_cells": 4}]


def test_a_runs_root_with_a_percent_sign_is_refused_before_anything_is_sent(
    lab: Path, corpus: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "r 50%job"
    words = ["submit", str(tmp_path / "small.yaml"), "--profile", str(tmp_path / "here.yaml")]
    assert main([*words, "--data", str(corpus), "--runs", str(root)]) == 2
    assert "the runs root must have no % in its path" in capsys.readouterr().err
    assert not (lab / "asked").exists()
    assert not root.exists()


@pytest.mark.parametrize("verb", ["debug", "submit"])
def test_one_process_ignores_an_outer_launchers_ranks(corpus: Path, tmp_path: Path, verb: str) -> None:
    """It must not wait for a second process that never comes."""
    (tmp_path / "one.yaml").write_text(MANIFEST.replace("tasks: [epitome_er, news_empathy]", "tasks: [epitome_er]"))
    words = {"debug": ["--steps", "2"], "submit": ["--profile", "local"]}[verb]
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "local.yaml").write_text("kind: local\n")
    command = ["-m", "empslurm", verb, "one.yaml", *words, "--data", str(corpus), "--runs", "runs"]
    given = {**os.environ, **inherited.RANKS, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = warm.run(command, cwd=tmp_path, env=given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"debug": "2 steps ran", "submit": "small: 1 done"}[verb] in done.stdout
