"""What happens to a grid at real sites: other jobs with our ids, inherited variables, hidden users, early deaths."""

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import inherited
from tests.cluster.conftest import OTHER_USER, USER, Cluster
from tests.cluster.project import Project, create

pytestmark = pytest.mark.cluster

TASKS = ("epitome_er", "news_empathy")
# About ten seconds of training: time for an interruption.
SLOW = "{epochs: 80, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}"
INHERITED = {**inherited.SLURM, **inherited.RANKS}


def claims(project: Project) -> list[int]:
    """How often each cell was taken."""
    return [len(list((path / "claims").glob("*.json"))) for path in project.cells()]


def training(project: Project) -> list[str]:
    """Cells that have a checkpoint and no result."""
    cells = [path for path in project.cells() if list((path / "checkpoint").glob("*.ckpt"))]
    return [path.name for path in cells if not (path / "result.json").exists()]


# ---- whose job it is -------------------------------------------------------------------------------------------------


def test_numbers_that_start_again_make_nobodys_job_ours(project: Project, cluster: Cluster) -> None:
    project.manifest("small", TASKS, [1])
    with cluster.configured(extra="FirstJobId=700\n"):
        cluster.controller_loses_its_state()
        sent = project.json("submit", "small", "--profile", "here")
        assert sent["jobs"][0] == "700"
        cluster.controller_loses_its_state()
        theirs = [cluster.submit("sleep 300", "--array=0-3", "--mem=100M") for _ in range(2)]
        theirs += [cluster.submit("sleep 300", "--mem=100M") for _ in range(3)]
        assert set(sent["jobs"]) <= set(theirs)
        before = cluster.jobs()
        found = project.json("status", "small")
        assert (found["queued"], found["totals"]["running"]) == ([], 0)
        assert project.json("cancel", "small")["jobs"] == []
        assert cluster.jobs().keys() == before.keys()
        cluster.run("scancel", *theirs)
        cluster.wait_empty()
        # Jobs that ran when the controller lost its state fall silent, and are lost after a while; the rest is sent.
        for path in project.runs.glob("cells/*/claims/*.json"):
            silence(path)
        project.call("submit", "small", "--profile", "here")
        cluster.wait_empty()
        assert project.totals("small") == {"done": 4}


def silence(claim: Path) -> None:
    """Make a claim look as if its last heartbeat was a quarter of an hour ago."""
    value = json.loads(claim.read_text())
    claim.write_text(json.dumps({**value, "started": value["started"] - 1000}))
    for path in (claim.with_suffix(".beat"), claim.parents[1] / "progress.json"):
        path.unlink(missing_ok=True)


@pytest.fixture
def shared(cluster: Cluster) -> Iterator[Project]:
    """A runs root that two users write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        project = create(Path(folder) / "project")
        project.manifest("slow", TASKS, [1], SLOW.replace("epochs: 80", "epochs: 300"))  # as long as several verbs take
        project.profile(umask="'000'")
        cluster.run("chmod", "-R", "a+rwX", project.path)
        yield project


def call_as(cluster: Cluster, user: str, project: Project, *words: str) -> Any:
    """Run a verb as an ordinary user."""
    variables = [f"{name}={value}" for name, value in project.environment().items() if name.startswith(OURS)]
    command = shlex.join(
        [*cluster.as_user(user), "env", *variables, sys.executable, "-m", "empslurm", *words, "--json"]
    )
    return json.loads(cluster.run("bash", "-c", f"cd {shlex.quote(str(project.path))} && {command}"))


OURS = ("EMPSLURM", "PYTHON", "OMP", "SLURM_CONF", "PATH", "COLUMNS")


def test_another_users_hidden_jobs_keep_their_cells_while_they_live(shared: Project, cluster: Cluster) -> None:
    with cluster.configured(extra="PrivateData=jobs\n"):
        sent = call_as(cluster, USER, shared, "submit", "slow", "--profile", "here")
        assert sent["submitted"] == 4
        cluster.wait("both baselines train", lambda: len(training(shared)) == 2, 300)
        assert cluster.run(*cluster.as_user(OTHER_USER), "squeue", "-h") == ""
        seen = call_as(cluster, OTHER_USER, shared, "status", "slow")
        assert seen["totals"]["running"] == 2
        assert seen["unseen"] == [
            {"why": f"{USER} has or had jobs for them, which this cluster hides from other users", "n_cells": 2}
        ]
        # Jobs that are hidden from this user may be queued twice, but their cells are claimed once.
        again = call_as(cluster, OTHER_USER, shared, "submit", "slow", "--profile", "here")
        assert again["submitted"] == 2
        cancelled = call_as(cluster, OTHER_USER, shared, "cancel", "slow")
        assert len(cancelled["jobs"]) == 2
        assert claims(shared) == [1, 1]
        # Jobs that end with their nodes leave silent claims, which any user may take over.
        nodes = {cluster.node_of(f"{sent['jobs'][0]}_{place}") for place in (0, 1)}
        for node in nodes:
            cluster.node_kill(node)
        cluster.run("scancel", *sent["jobs"])
        cluster.wait_empty()
        for node in nodes:
            cluster.node_start(node)
        assert call_as(cluster, OTHER_USER, shared, "status", "slow")["totals"]["running"] == 2
        for path in shared.runs.glob("cells/*/claims/*.json"):
            silence(path)
        assert call_as(cluster, OTHER_USER, shared, "submit", "slow", "--profile", "here")["submitted"] == 4
        cluster.wait_empty()
        assert call_as(cluster, USER, shared, "status", "slow")["totals"]["done"] == 4
        assert sorted(claims(shared)) == [1, 1, 2, 2]


# ---- what is inherited -----------------------------------------------------------------------------------------------


def test_variables_of_the_users_shell_rule_nothing(
    project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.manifest("small", TASKS, [1])
    twin = project.start_twin("small")
    for name, value in INHERITED.items():
        monkeypatch.setenv(name, value)
    sent = project.json("submit", "small", "--profile", "here")
    running = project.json("status", "small")["totals"]
    assert running["lost"] == running["pending"] == 0
    assert project.json("submit", "small", "--profile", "here")["submitted"] == 0
    for name in INHERITED:
        monkeypatch.delenv(name)
    shown = cluster.run("scontrol", "show", "job", sent["jobs"][0])
    assert "Partition=batch" in shown
    assert "TimeLimit=00:20:00" in shown
    assert "Requeue=1" in shown
    cluster.wait_empty()
    assert project.totals("small") == {"done": 4}
    assert claims(project) == [1] * 4
    assert project.equals(*twin)


def inside(project: Project, *words: str) -> str:
    """The shell line that calls a verb in the project's folder."""
    variables = [f"{name}={value}" for name, value in project.environment().items() if name.startswith(OURS)]
    return f"cd {project.path} && env {shlex.join([*variables, sys.executable, '-m', 'empslurm', *words])}"


def test_submitting_from_an_interactive_allocation(project: Project, cluster: Cluster) -> None:
    project.manifest("small", TASKS, [1])
    submit = inside(project, "submit", "small", "--profile", "here")
    cluster.run("salloc", "--quiet", "--ntasks=1", "--mem-per-cpu=300", "bash", "-c", submit)
    cluster.wait_empty()
    assert project.totals("small") == {"done": 4}
    assert claims(project) == [1] * 4


def test_submitting_from_elements_of_an_array(project: Project, cluster: Cluster) -> None:
    """Like a driver script that sends one study per element; no cell trains under the driver's own job id."""
    for index in (0, 5):
        project.manifest(f"study{index}", TASKS, [index + 1])
    submit = inside(project, "submit", "study$SLURM_ARRAY_TASK_ID", "--profile", "here").replace("'", '"')
    log = project.path / "driver-%a.log"
    driver = cluster.run("sbatch", "--parsable", "--array=0,5", "--mem=900", f"--output={log}", f"--wrap={submit}")
    cluster.wait_ended(driver, 300)
    cluster.wait_empty()
    for index in (0, 5):
        assert project.totals(f"study{index}") == {"done": 4}, (project.path / f"driver-{index}.log").read_text()
    assert claims(project) == [1] * 8
    takers = {json.loads(path.read_text())["job_id"] for path in project.runs.glob("cells/*/claims/*.json")}
    assert not {job for job in takers if job.startswith(f"{driver}_")}


# ---- jobs that die early, or never start -----------------------------------------------------------------------------


def test_jobs_that_die_before_they_start_are_shown_and_stop_the_third_try(project: Project, cluster: Cluster) -> None:
    project.manifest("one", ["epitome_er"], [1])
    project.profile(setup="['export SLURM_MEM_PER_CPU=300']")  # as a site's start-up file may do
    for _ in range(2):
        sent = project.json("submit", "one", "--profile", "here")
        cluster.wait_empty()
        (death,) = project.json("status", "one")["died_early"]
        assert death["job"] == f"{sent['jobs'][0]}_0"
        assert "ended before it started: srun: fatal: SLURM_MEM_PER_CPU" in death["why"]
    assert "mutually exclusive" in project.call("logs", sent["jobs"][0])[0]
    _, told = project.call("submit", "one", "--profile", "here", expect=1)
    assert "ended before they started, both saying: srun: fatal" in told
    project.profile()
    project.call("submit", "one", "--profile", "here")
    cluster.wait_empty()
    assert project.totals("one") == {"done": 1}


def test_a_copy_of_the_code_that_lost_files_is_restored(project: Project, cluster: Cluster) -> None:
    for name, seed in (("first", 1), ("second", 2)):
        project.manifest(name, ["epitome_er"], [seed])
    project.call("submit", "first", "--profile", "here")
    cluster.wait_empty()
    (copy,) = (project.runs / "code").iterdir()
    (copy / "empslurm" / "train" / "loop.py").unlink()
    project.call("submit", "second", "--profile", "here")
    cluster.wait_empty()
    assert project.totals("second") == {"done": 1}
    assert claims(project) == [1, 1]


def test_jobs_that_can_never_start_are_reported_at_once(project: Project, cluster: Cluster) -> None:
    project.manifest("one", ["epitome_er"], [1])
    extra = "EnforcePartLimits=NO\nPartitionName=batch Default=YES PriorityTier=10 MaxTime=10\n"
    with cluster.configured(extra=extra):
        said, _ = project.call("submit", "one", "--profile", "here", expect=1)
        assert "can never start, PartitionTimeLimit: lower `time` in the profile" in said
        (never,) = project.json("status", "one", "--watch", expect=1)["never"]
        assert (never["reason"], never["n_cells"]) == ("PartitionTimeLimit", 1)
        assert len(project.json("cancel", "one")["jobs"]) == 1


def test_sites_with_wckeys_take_jobs_that_name_none_or_their_own(project: Project, cluster: Cluster) -> None:
    with cluster.configured(extra="TrackWCKey=yes\nAccountingStorageEnforce=wckeys,limits,qos\n"):
        if "paper" not in cluster.run("sacctmgr", "-n", "-P", "show", "wckey", "format=wckey").split():
            cluster.run("sacctmgr", "-i", "add", "user", "root", "wckeys=paper")
        for name, seed, profile in (("none", 1, {}), ("own", 2, {"wckey": "paper"})):
            project.manifest(name, ["epitome_er"], [seed])
            project.profile(**profile)
            (job,) = project.json("submit", name, "--profile", "here")["jobs"]
            assert cluster.run("squeue", "-h", "-j", job, "-O", "WCKey:20").strip() in ("paper", "*paper", "*")
        cluster.wait_empty()


# ---- stopping --------------------------------------------------------------------------------------------------------


def test_cancel_ends_a_submission_that_waits_for_room(project: Project, cluster: Cluster) -> None:
    project.manifest("slow", TASKS, [1, 2], SLOW)
    with cluster.configured(max_submit=2):
        waiting = project.start("submit", "slow", "--profile", "here")
        cluster.wait("the queue is full", lambda: len(cluster.jobs()) == 2, 120)
        time.sleep(1)
        project.call("cancel", "slow")
        said, told = waiting.communicate(timeout=60)
        assert (waiting.returncode, "cancelled while it was being sent" in said) == (1, True), said + told
        cluster.wait_empty(60)
        time.sleep(2)
        assert cluster.jobs() == {}


def test_where_nothing_may_be_queued_again_the_next_submit_goes_on(project: Project, cluster: Cluster) -> None:
    project.manifest("slow", ["epitome_er"], [1, 2], SLOW)
    project.profile(requeues=0)
    twin = project.start_twin("slow")
    (array,) = project.json("submit", "slow", "--profile", "here")["jobs"]
    assert "Requeue=0" in cluster.run("scontrol", "show", "job", array)
    cluster.wait("both train", lambda: len(training(project)) == 2, 300)
    cluster.signal(array)
    cluster.wait_empty()
    found = project.json("status", "slow")
    assert (found["totals"]["lost"], len(found["saved"])) == (2, 2)
    assert "2 cells were saved when their jobs ended" in project.call("status", "slow")[0]
    assert not [path for path in project.runs.rglob("*_log.out") if "Traceback" in path.read_text()]
    project.call("submit", "slow", "--profile", "here")
    cluster.wait_empty()
    assert project.totals("slow") == {"done": 2}
    assert project.equals(*twin)


def test_a_signal_to_the_batch_shell_ends_nothing(project: Project, cluster: Cluster) -> None:
    project.manifest("slow", ["epitome_er"], [1], SLOW)
    (array,) = project.json("submit", "slow", "--profile", "here")["jobs"]
    cluster.wait("it trains", lambda: len(training(project)) == 1, 300)
    cluster.run("scancel", "--batch", "--signal=USR2", array)
    cluster.wait_empty()
    assert (project.totals("slow"), claims(project)) == ({"done": 1}, [1])


# ---- whole nodes, images, and the message at the end -----------------------------------------------------------------


def test_one_job_fills_a_whole_node_and_training_has_its_own_python(project: Project, cluster: Cluster) -> None:
    project.manifest("whole", TASKS, [1, 2], pairs="[epitome_er -> news_empathy]")
    twin = project.start_twin("whole")
    mark = project.path / "trained-by"
    image = project.path / "image"
    image.write_text(f'#!/bin/sh\necho "$@" >> {mark}\nshift\nexec {sys.executable} "$@"\n')
    image.chmod(0o755)
    message = project.path / "message"
    project.profile(
        exclusive="true",
        cpus_per_pack=2,
        array_parallelism=1,
        mem_gb=3,
        python=f"{image} python",
        at_end=f'echo "$EMPSLURM_MESSAGE" >> {message}',
    )
    sent = project.json("submit", "whole", "--profile", "here")
    assert len(sent["jobs"]) == 3  # baselines; transfers of each seed
    cluster.wait_empty()
    assert project.totals("whole") == {"done": 6}
    assert project.equals(*twin)
    starts, ends = events(project, 0), events(project, 1)
    assert {starts[0]["host"], starts[0]["job"]} == {ends[0]["host"], ends[0]["job"]}
    assert max(starts[0]["time"], ends[0]["time"]) < min(starts[1]["time"], ends[1]["time"])  # both at once
    lines = mark.read_text().splitlines()
    assert len(lines) == 6
    assert all("-m accelerate.commands.launch" in line for line in lines)
    assert message.read_text() == "whole: 6 done\n"


def events(project: Project, place: int) -> list[dict[str, Any]]:
    (path,) = project.runs.glob(f"submissions/*/packs/{place:04d}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
