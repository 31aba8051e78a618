"""The throw-away Slurm cluster does what the tests of launching rely on."""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import OTHER_USER, USER, Cluster

pytestmark = pytest.mark.cluster

# Prints its node and restart count; only its first run stays for a minute.
RUNS = 'echo $(hostname) ${SLURM_RESTART_COUNT:-0} >> %s; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60'


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_all_nodes_are_idle_in_every_partition(cluster: Cluster) -> None:
    assert set(cluster.nodes().values()) == {"idle"}
    assert len(cluster.nodes()) == 4
    assert cluster.run("sinfo", "-h", "-o", "%P %D").split("\n") == ["batch* 4", "scavenge 4", "urgent 4"]


def test_an_array_runs_on_all_nodes_with_a_gpu_each(cluster: Cluster, tmp_path: Path) -> None:
    script = f"echo $(hostname) $CUDA_VISIBLE_DEVICES > {tmp_path}/$SLURM_ARRAY_TASK_ID; sleep 2"
    array = cluster.submit(script, "--array=0-7", "--gres=gpu:1")
    cluster.wait("every element has started", lambda: sum(bool(lines(file)) for file in tmp_path.iterdir()) == 8)
    seen = {tuple(lines(file)[0].split()) for file in tmp_path.iterdir()}
    assert seen == {(node, gpu) for node in cluster.nodes() for gpu in ("0", "1")}
    cluster.wait_ended(array)


def test_jobs_of_a_killed_node_and_requeued_jobs_start_again(cluster: Cluster, tmp_path: Path) -> None:
    killed, requeued = (cluster.submit(RUNS % (tmp_path / name)) for name in ("killed", "requeued"))
    cluster.wait("both run", lambda: all(lines(tmp_path / name) for name in ("killed", "requeued")))
    node = cluster.node_of(killed)
    cluster.requeue(requeued)
    cluster.node_kill(node)
    assert cluster.nodes()[node].startswith("down")
    cluster.wait_ended(killed)
    cluster.wait_ended(requeued)
    first, again = lines(tmp_path / "killed")
    assert first == f"{node} 0"
    assert again.endswith(" 1")
    assert not again.startswith(node)
    assert [line.split()[1] for line in lines(tmp_path / "requeued")] == ["0", "1"]
    cluster.node_start(node)
    cluster.wait("the node is back", lambda: cluster.nodes()[node] == "idle")


@pytest.mark.parametrize("partition", ["batch", "scavenge"])
def test_a_preempted_job_is_warned_and_queued_again(cluster: Cluster, tmp_path: Path, partition: str) -> None:
    seen = tmp_path / "seen"
    # A job that just ends in its grace time is not queued again: it must ask for that.
    script = (
        f"trap 'echo warned >> {seen}; scontrol requeue $SLURM_JOB_ID' USR2; echo started >> {seen}; sleep 60 & wait"
    )
    job = cluster.submit(script, f"--partition={partition}", "--signal=B:USR2@10", "--nodelist=node3")
    cluster.wait("it runs", lambda: lines(seen) == ["started"])
    cluster.preempt("node3")
    cluster.wait("it is queued again", lambda: cluster.jobs(job) == {job: "PENDING"})
    if partition == "batch":  # Without a grace time the end may come before the trap.
        assert lines(seen)[1:] == ["warned"]
    cluster.clear()


def test_a_job_outlives_its_daemons(cluster: Cluster, tmp_path: Path) -> None:
    job = cluster.submit(f"echo started > {tmp_path}/seen; sleep 3; echo ended >> {tmp_path}/seen")
    cluster.wait("it runs", lambda: lines(tmp_path / "seen") == ["started"])
    node = cluster.node_of(job)
    cluster.slurmd_kill(node)
    cluster.controller_stop()
    cluster.controller_start()
    cluster.slurmd_start(node)
    cluster.wait_ended(job)
    assert lines(tmp_path / "seen") == ["started", "ended"]


def test_limits_refuse_with_known_words(cluster: Cluster) -> None:
    with cluster.configured(max_array=11, max_submit=5):
        sbatch = ("sbatch", "--wrap=sleep 60")
        assert "Invalid job array specification" in cluster.refused(*sbatch, "--array=0-11")
        assert "AssocMaxSubmitJobLimit" in cluster.refused(*sbatch, "--array=0-5")
        assert cluster.jobs() == {}
        cluster.run(*sbatch, "--array=0-4", "--output=/dev/null")
        assert "Job violates accounting/QOS policy" in cluster.refused(*sbatch)
    assert cluster.jobs() == {}


def sacct_agrees(cluster: Cluster, accounting: bool) -> bool:
    if accounting:
        return cluster.run("sacct", "-X", "-n", "-S", "now-1hour", "-o", "JobID") != ""
    return cluster.refused("sacct", "-X", "-n") == "Slurm accounting storage is disabled"


def test_sacct_answers_with_accounting_only(cluster: Cluster) -> None:
    accounting = cluster.has_accounting()
    cluster.wait("sacct agrees", lambda: sacct_agrees(cluster, accounting))
    with cluster.configured(accounting=not accounting):
        assert cluster.has_accounting() is not accounting
        cluster.wait_ended(cluster.submit("true"))
        cluster.wait("sacct agrees", lambda: sacct_agrees(cluster, not accounting))


def test_lines_of_slurm_conf_are_replaced(cluster: Cluster) -> None:
    partition = "PartitionName=batch Default=YES PriorityTier=10 MaxTime=10"
    with cluster.configured(extra=f"JobRequeue=0\nEnforcePartLimits=NO\n{partition}\n"):
        assert (cluster.setting("JobRequeue"), cluster.setting("EnforcePartLimits")) == ("0", "NO")
        # For the first moments the reason is PartitionConfig.
        long = cluster.submit("true", "--time=11")
        cluster.wait("it waits", lambda: reason(cluster, long) == "PartitionTimeLimit")
        # A lost node does not queue the job again, and a request by hand is refused.
        short = cluster.submit("sleep 60", "--time=10")
        cluster.wait_running(short)
        assert "Requested operation is presently disabled" in cluster.refused("scontrol", "requeue", short)
    assert cluster.setting("JobRequeue") == "1"
    assert cluster.run("sinfo", "-h", "-p", "batch", "-o", "%l") == "infinite"


def reason(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "-h", "-j", job, "-o", "%r")


def test_wckeys_are_checked(cluster: Cluster) -> None:
    extra = "TrackWCKey=yes\nAccountingStorageEnforce=wckeys,limits,qos\n"
    with cluster.configured(extra=extra):
        if "paper" not in cluster.run("sacctmgr", "-n", "-P", "show", "wckey", "format=wckey").split():
            cluster.run("sacctmgr", "-i", "add", "user", "root", "wckeys=paper")
        assert "Invalid wckey specification" in cluster.refused("sbatch", "--wckey=unheard", "--wrap=true")
        # Without a key the job gets the user's default, marked by a star: the first key that a user got.
        jobs = [cluster.submit("sleep 60"), cluster.submit("sleep 60", "--wckey=paper")]
        keys = [cluster.run("squeue", "-h", "-j", job, "-O", "WCKey") for job in jobs]
        assert keys in (["*paper", "paper"], ["*", "paper"])


def test_two_users_do_not_see_each_other(cluster: Cluster, shared: Path) -> None:
    who = f"id -un > {shared}/$SLURM_JOB_ID; {sys.executable} -c 'import torch' && echo torch >> {shared}/$SLURM_JOB_ID"
    with cluster.configured(extra="PrivateData=jobs\n"):
        asked = {name: cluster.as_user(name) for name in (USER, OTHER_USER)}
        sbatch = ("sbatch", "--parsable", "--output=/dev/null", f"--wrap={who}; sleep 60")
        jobs = {name: cluster.run(*prefix, *sbatch) for name, prefix in asked.items()}
        cluster.wait("both run", lambda: all(lines(shared / job)[1:] == ["torch"] for job in jobs.values()))
        assert {name: lines(shared / job)[0] for name, job in jobs.items()} == {name: name for name in jobs}
        assert {name: cluster.run(*asked[name], "squeue", "-h", "-o", "%i") for name in jobs} == jobs
        assert "Invalid job id" in cluster.refused(*asked[USER], "scontrol", "show", "job", jobs[OTHER_USER])
        history = (*asked[USER], "sacct", "-X", "-n", "-P", "-S", "now-1hour", "-o", "User")
        cluster.wait("sacct knows it", lambda: USER in cluster.run(*history))
        assert set(cluster.run(*history).split()) == {USER}
        assert set(cluster.jobs()) == set(jobs.values())


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may write to; `tmp_path` is closed to all but one."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield Path(path)


def test_a_controller_that_lost_its_state_counts_again(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.configured(extra="FirstJobId=700\n"):
        script = f"echo started > {tmp_path}/seen; sleep 5; echo ended >> {tmp_path}/seen"
        cluster.controller_loses_its_state()
        assert cluster.submit(script) == "700"
        cluster.wait("it runs", lambda: lines(tmp_path / "seen") == ["started"])
        cluster.controller_loses_its_state()
        assert cluster.jobs() == {}
        assert set(cluster.nodes().values()) == {"idle"}
        assert cluster.submit("sleep 60") == "700"
        time.sleep(5)
        assert lines(tmp_path / "seen") == ["started"]
