"""submit, status, resume, cancel and logs through a real Slurm, with real training of a tiny model."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.project import Project

pytestmark = pytest.mark.cluster

# About ten seconds of training: time for an interruption.
SLOW = "{epochs: 80, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}"


def running(project: Project, cluster: Cluster, n: int = 1, limit_s: float = 600.0) -> list[Path]:
    """Cells that have a checkpoint and no result."""
    found: list[Path] = []

    def enough() -> bool:
        found[:] = [
            path
            for path in project.cells()
            if list((path / "checkpoint").glob("*.ckpt")) and not (path / "result.json").exists()
        ]
        return len(found) >= n

    cluster.wait(f"{n} cells train", enough, limit_s)
    return found


def journal(project: Project, place: int) -> list[dict[str, object]]:
    (path,) = project.runs.glob(f"submissions/*/packs/{place:04d}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_grid_runs_as_arrays_and_equals_a_local_run(project: Project, cluster: Cluster) -> None:
    project.manifest("small", ["epitome_er", "news_empathy"], [1, 2])
    twin = project.start_twin("small")
    sent = project.json("submit", "small", "--profile", "here")
    assert (sent["submitted"], sent["packs"], sent["packs_left"]) == (8, 8, 0)
    # Baselines share one array; each transfer waits for its own source and for nothing else.
    waits = cluster.run("squeue", "-h", "-o", "%E", "-t", "PENDING", "-n", names(cluster, "small-transfer"))
    assert sorted(waits.replace("(unfulfilled)", "").split()) == [f"afterany:{sent['jobs'][0]}_{n}" for n in range(4)]
    again, told = project.call("submit", "small", "--profile", "here")
    assert "nothing more to run" in again
    assert "8 skipped: is queued" in told or "running" in told
    cluster.wait_empty()
    assert project.totals("small") == {"done": 8}
    assert project.equals(*twin)


def names(cluster: Cluster, prefix: str) -> str:
    found = cluster.run("squeue", "-h", "-o", "%j").split()
    return ",".join({name for name in found if name.startswith(prefix)})


def test_jobs_run_the_code_that_was_submitted(project: Project, cluster: Cluster) -> None:
    project.manifest("one", ["epitome_er"], [1])
    sent = project.json("submit", "one", "--profile", "here")
    (copy,) = (project.runs / "code").iterdir()
    (script,) = project.runs.glob("submissions/*/arrays/0001/*_submission.sh")
    assert f"export PYTHONPATH={copy} PYTHONSAFEPATH=1" in script.read_text()
    cluster.wait_empty()
    (cell,) = project.cells()
    origin = json.loads((cell / "output-0001" / "provenance.json").read_text())
    assert origin["slurm"]["SLURM_JOB_ID"] == sent["jobs"][0]
    assert origin["code"] == json.loads((copy / "code.json").read_text())
    (log,) = project.runs.glob("submissions/*/arrays/0001/*_log.out")
    assert project.json("logs", "epitome_er")["file"] == str(log)
    assert "is done" in project.json("logs", sent["jobs"][0])["text"]


def test_what_interrupts_a_job_does_not_change_its_numbers(project: Project, cluster: Cluster) -> None:
    tasks, seeds = ["epitome_er", "news_empathy"], [1, 2]
    project.manifest("slow", tasks, seeds, SLOW, pairs="[epitome_er -> news_empathy]")
    project.profile(cpus=2)  # two elements per node, so that a lost node leaves the other two undisturbed
    twin = project.start_twin("slow")
    array = project.json("submit", "slow", "--profile", "here")["jobs"][0]
    running(project, cluster, 4)
    killed = project.trainer("--pack 0")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    cluster.signal(f"{array}_1")
    cluster.requeue(f"{array}_2")
    node = cluster.node_of(f"{array}_3")
    cluster.node_kill(node)
    follower = project.start("logs", "epitome_er-s1", "-f")
    cluster.wait_empty()
    cluster.node_start(node)
    assert project.totals("slow") == {"done": 6}
    baselines = [path for path in project.cells() if "--" not in path.name]
    assert [len(list((path / "claims").glob("*.json"))) for path in baselines] == [2, 2, 2, 2]
    assert [event.get("reason") for event in journal(project, 0)] == [None, "killed", None, "done"]
    assert "is done" in follower.communicate(timeout=60)[0]
    assert project.equals(*twin)


def test_cancelled_and_failed_cells_run_again_only_when_asked(project: Project, cluster: Cluster) -> None:
    project.manifest("slow", ["epitome_er", "news_empathy"], [1], SLOW)
    project.call("submit", "slow", "--profile", "here")
    running(project, cluster, 2)
    cancelled = project.json("cancel", "slow")
    assert (len(cancelled["jobs"]), cancelled["n_running"]) == (4, 2)
    cluster.wait_empty()
    assert project.totals("slow") == {"lost": 2, "pending": 2}
    # A cell that failed before stays failed, and its transfer is not sent.
    cell = next(path for path in project.cells() if path.name.startswith("epitome_er-"))
    (claim,) = (cell / "claims").glob("*.json")
    number = json.loads(claim.read_text())["number"]
    error = {"class": "error", "message": "a sentence", "traceback": "", "claim": number, "time": time.time()}
    (cell / "error.json").write_text(json.dumps(error))
    sent = project.json("submit", "slow", "--profile", "here", expect=0)
    assert sent["submitted"] == 2
    cluster.wait_empty()
    assert project.totals("slow") == {"done": 2, "failed": 1, "pending": 1}
    assert project.json("status", "slow")["failed"] == [{"id": cell.name, "class": "error", "why": "a sentence"}]
    assert project.json("resume", "slow", "--profile", "here")["submitted"] == 2
    cluster.wait_empty()
    assert project.totals("slow") == {"done": 4}


def test_two_processes_per_cell_on_one_node_do_not_collide(project: Project, cluster: Cluster) -> None:
    project.manifest("pair", ["epitome_er"], [1, 2])
    project.profile(cpus=2, num_processes=2, mem_gb=1.9)
    project.call("submit", "pair", "--profile", "here")
    cluster.wait("both run", lambda: list(cluster.jobs().values()) == ["RUNNING"] * 2)
    assert len({cluster.node_of(job) for job in cluster.jobs()}) == 1
    cluster.wait_empty()
    assert project.totals("pair") == {"done": 2}
    origins = [json.loads((path / "output-0001" / "provenance.json").read_text()) for path in project.cells()]
    assert [origin["n_processes"] for origin in origins] == [2, 2]
