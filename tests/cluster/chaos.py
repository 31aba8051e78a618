"""Failures that the suite must survive, in runs too long for the tests: python -m tests.cluster.chaos [NAME ...]

grid           an array of 20 packs over four nodes equals a local run, bit for bit
chaos          one grid meets every failure of jobs, and its numbers equal those of an undisturbed run
limits         MaxArraySize 11 and MaxSubmitJobs 5 with 72 cells: all run, none twice
no-accounting  the grid of the first run without sacct, and a killed job is seen as lost within a minute

Needs the throw-away cluster (make cluster-up). Writes benchmarks/results/cluster.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.conftest import Cluster, find_cluster
from tests.cluster.project import ROOT, Project, create

RESULTS = ROOT / "benchmarks" / "results" / "cluster.json"
LONG_S = 3600.0
TASKS = ("epitome_er", "empdial_ei", "news_empathy", "conv_emopol", "epitome_ex", "epitome_ip")
SHORT = "{epochs: 2, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}"
LONG = SHORT.replace("epochs: 2", "epochs: 100")
# Answers late, so that the submitting process can be killed after Slurm accepted the array and before it is noted.
LATE_SBATCH = """#!/bin/sh
answer=$({sbatch} "$@") || exit $?
[ -e {flag} ] || {{ touch {flag}; sleep 15; }}
echo "$answer"
"""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def ended(cluster: Cluster) -> None:
    cluster.wait("the queue is empty", lambda: not cluster.jobs(), LONG_S)


def training(project: Project) -> list[str]:
    """Cells that have a checkpoint and no result."""
    return [
        path.name
        for path in project.cells()
        if list((path / "checkpoint").glob("*")) and not (path / "result.json").exists()
    ]


def claims(project: Project) -> dict[str, int]:
    """How often each cell was taken."""
    return {path.name: len(list((path / "claims").glob("*.json"))) for path in project.cells()}


def run_to_the_end(project: Project, cluster: Cluster, manifest: str, profile: str = "here") -> int:
    """Submit until everything is done; return the number of submissions."""
    for attempt in range(1, 6):
        ended(cluster)
        if set(project.totals(manifest)) == {"done"}:
            return attempt - 1
        project.call("submit", manifest, "--profile", profile)
    raise AssertionError(f"not done: {project.totals(manifest)}")


def grid_manifest(project: Project) -> None:
    """25 cells, each a pack of its own."""
    project.manifest("grid", TASKS[:4], range(1, 6), SHORT, pairs="[epitome_er -> news_empathy]")
    project.profile(cpus=2)


def grid(project: Project, cluster: Cluster) -> dict[str, Any]:
    grid_manifest(project)
    twin = project.start_twin("grid")
    start = time.monotonic()
    sent = project.json("submit", "grid", "--profile", "here")
    ended(cluster)
    took_s = time.monotonic() - start
    assert project.totals("grid") == {"done": 25}, project.totals("grid")
    nodes = {json.loads(path.read_text())["host"] for path in project.runs.glob("cells/*/claims/*.json")}
    assert project.equals(*twin)
    return {"n_cells": 25, "n_packs": sent["packs"], "nodes": sorted(nodes), "equal": True, "cluster_s": round(took_s)}


def chaos(project: Project, cluster: Cluster) -> dict[str, Any]:
    project.manifest("storm", TASKS[:3], (1, 2), LONG)
    project.profile(cpus=2)
    twin = project.start_twin("storm")
    start = time.monotonic()
    _kill_submitter(project, cluster)
    cluster.wait("cells train", lambda: len(training(project)) >= 4, LONG_S)
    events = _torment(project, cluster)
    rounds = run_to_the_end(project, cluster, "storm")
    took_s = time.monotonic() - start
    assert project.totals("storm") == {"done": 18}
    assert project.equals(*twin)
    taken = claims(project)
    return {
        "n_cells": 18,
        "equal": True,
        "events": events,
        "submits_after": rounds,
        "claims": sum(taken.values()),
        "cells_taken_more_than_once": sum(n > 1 for n in taken.values()),
        "ends": project.json("status", "storm")["spent"]["ends"],
        "s": round(took_s),
    }


def _kill_submitter(project: Project, cluster: Cluster) -> None:
    """Kill the first `submit` after Slurm has its array and before it knows; the second `submit` continues."""
    shim = project.path / "bin"
    shim.mkdir()
    flag = project.path / "flag"
    sbatch = cluster.run("which", "sbatch")
    (shim / "sbatch").write_text(LATE_SBATCH.format(sbatch=sbatch, flag=flag))
    (shim / "sbatch").chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{shim}:{before}"
    process = project.start("submit", "storm", "--profile", "here")
    os.environ["PATH"] = before
    cluster.wait("sbatch has been called", flag.exists, LONG_S)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    say(f"the submitting process is killed; Slurm has {sorted(cluster.jobs())}")
    assert cluster.jobs()
    assert not list(project.runs.glob("submissions/*/arrays/*.job-*"))
    n_before = len(cluster.jobs())
    _, told = project.call("submit", "storm", "--profile", "here")
    assert "had reached Slurm" in told, told
    say(f"the next submit: {told.strip().splitlines()[-2:]}")
    names = cluster.run("squeue", "-h", "-r", "-o", "%j").split()
    assert sum(name.startswith("storm-baseline") for name in names) == n_before == 6


def _torment(project: Project, cluster: Cluster) -> list[str]:
    """One failure after another, each while a cell trains."""
    events = ["the submitting process killed between sbatch and its note"]

    def next_job() -> tuple[str, str]:
        """A running job whose cell has a checkpoint, and its node; a different one each time if there are several."""
        found: list[tuple[str, str]] = []

        def look() -> bool:
            held = {_job(project, cell) for cell in training(project)}
            up = [job for job, state in cluster.jobs().items() if state == "RUNNING" and job in held]
            fresh = [job for job in up if job not in used] or up
            found[:] = [(job, cluster.node_of(job)) for job in fresh[:1]]
            return bool(found) and found[0][1].startswith("node")

        cluster.wait("a cell trains", look, LONG_S)
        used.add(found[0][0])
        return found[0]

    used: set[str] = set()

    def note(text: str) -> None:
        events.append(text)
        say(text)

    def kill_trainer() -> None:
        for place in range(12):
            number = project.trainer(f"--pack {place} ")
            if number is not None:
                os.kill(number, signal.SIGKILL)
                note(f"kill -9 of the training process of pack {place}")
                return

    job, node = next_job()
    kill_trainer()
    job, node = next_job()
    cluster.requeue(job)
    note(f"scontrol requeue of {job} on {node}")
    job, node = next_job()
    cluster.run("scontrol", "update", f"jobid={job}", "timelimit=2")
    note(f"time limit of {job} cut to two minutes")
    timed = job
    job, node = next_job()
    cluster.preempt(node)
    note(f"preemption with 15 s of grace of all on {node}")
    job, node = next_job()
    cluster.controller_stop()
    time.sleep(10)
    cluster.controller_start()
    note("slurmctld stopped for 10 s")
    pending = [job for job, state in cluster.jobs().items() if state == "PENDING"]
    for job in pending:
        cluster.run("scontrol", "update", f"jobid={job}", "partition=scavenge")
    note(f"{len(pending)} waiting jobs moved to the partition that is preempted without grace")
    job, node = next_job()
    cluster.node_kill(node)
    note(f"{node} killed")
    time.sleep(5)
    cluster.node_start(node)

    def restarted(job: str) -> bool:
        return "Restarts=0" not in cluster.run("scontrol", "show", "job", job)

    def scavenging() -> bool:
        held = {_job(project, cell) for cell in training(project)}
        lines = cluster.run("squeue", "-h", "-r", "-o", "%i %P %T %N").splitlines()
        rows = [line.split() for line in lines]
        found[:] = [row[3] for row in rows if row[1:3] == ["scavenge", "RUNNING"] and row[0] in held]
        return bool(found)

    found: list[str] = []
    # The job has reached its limit and may start slowly: its next starts get their usual time again.
    cluster.wait("the limit is met", lambda: cluster.jobs().get(timed) != "RUNNING" or restarted(timed), LONG_S)
    if timed in cluster.jobs():
        cluster.run("scontrol", "update", f"jobid={timed}", "timelimit=20")
    cluster.wait("a cell trains in scavenge", scavenging, LONG_S)
    cluster.preempt(found[0])
    note(f"preemption without grace on {found[0]}")
    return events


def _job(project: Project, cell: str) -> str:
    newest = sorted((project.runs / "cells" / cell / "claims").glob("*.json"))[-1]
    return str(json.loads(newest.read_text())["job_id"])


def limits(project: Project, cluster: Cluster) -> dict[str, Any]:
    project.manifest("many", TASKS, (1, 2), SHORT)
    with cluster.configured(max_array=11, max_submit=5):
        start = time.monotonic()
        _, told = project.call("submit", "many", "--profile", "here", "--no-wait")
        left = [line for line in told.splitlines() if "wait" in line]
        assert len(cluster.jobs()) <= 5
        say(f"with --no-wait {len(cluster.jobs())} jobs are queued {left}")
        process = project.start("submit", "many", "--profile", "here")
        most = 0
        while process.poll() is None:
            most = max(most, len(cluster.jobs()))
            time.sleep(1)
        told = process.communicate()[1]
        assert process.returncode == 0, told
        say(f"submit has returned; most jobs at once {most}; it said {told.strip().splitlines()[-1]!r}")
        ended(cluster)
        took_s = time.monotonic() - start
    assert project.totals("many") == {"done": 72}, project.totals("many")
    assert most <= 5
    assert set(claims(project).values()) == {1}
    waited = sum("wait for room" in line for line in told.splitlines())
    return {"n_cells": 72, "most_jobs_at_once": most, "cells_run_twice": 0, "waits": waited, "s": round(took_s)}


def no_accounting(project: Project, cluster: Cluster) -> dict[str, Any]:
    grid_manifest(project)
    with cluster.configured(accounting=False):
        assert cluster.refused("sacct", "-X", "-n")
        sent = project.json("submit", "grid", "--profile", "here")
        ended(cluster)
        assert project.totals("grid") == {"done": 25}, project.totals("grid")
        assert set(claims(project).values()) == {1}
        say(f"the grid's {sent['packs']} packs ran without accounting")
        project.manifest("storm", TASKS[:2], (1,), LONG)
        project.call("submit", "storm", "--profile", "here")
        cluster.wait("a cell trains", lambda: bool(training(project)), LONG_S)
        (cell, *_) = training(project)
        job = _job(project, cell)
        cluster.run("scancel", "--signal=KILL", job)
        start = time.monotonic()
        seen: Callable[[], bool] = lambda: project.totals("storm").get("lost", 0) >= 1  # noqa: E731
        cluster.wait("the killed job is seen as lost", seen, 60)
        seen_s = time.monotonic() - start
        say(f"killed job {job} seen as lost after {seen_s:.0f} s")
        rounds = run_to_the_end(project, cluster, "storm")
        assert project.totals("storm") == {"done": 4}
    return {"n_packs": sent["packs"], "n_cells": 29, "lost_seen_after_s": round(seen_s), "submits_after": rounds}


RUNS = {"grid": grid, "chaos": chaos, "limits": limits, "no-accounting": no_accounting}


def run(name: str, cluster: Cluster) -> None:
    """One of the runs, in a folder that is kept if it fails."""
    say(f"---- {name}")
    cluster.clear()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = create(Path(folder) / "project")
        try:
            result = RUNS[name](project, cluster)
        except BaseException:
            kept = Path(tempfile.mkdtemp()) / "project"
            project.path.rename(kept)
            say(f"kept: {kept}")
            raise
    say(json.dumps(result))
    told = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**told, name: result}, indent=1) + "\n")


def main(names: list[str]) -> None:
    cluster = find_cluster()
    if cluster is None:
        sys.exit("no Slurm cluster answers: run `make cluster-up`")
    os.environ["SLURM_CONF"] = str(cluster.state / "etc" / "slurm.conf")
    with cluster.alone():
        for name in names or list(RUNS):
            run(name, cluster)
        cluster.clear()


if __name__ == "__main__":
    main(sys.argv[1:])
