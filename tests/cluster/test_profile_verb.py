"""`profile` on a real Slurm: a grid runs with the profile that it writes."""

import json
from pathlib import Path

import pytest

from empslurm.launch.profile import load_profile
from empslurm.launch.site.facts import torch_has_gpus
from tests.cluster.conftest import Cluster
from tests.cluster.project import create

pytestmark = pytest.mark.cluster


def test_a_grid_runs_with_the_profile_that_is_written(cluster: Cluster, tmp_path: Path) -> None:
    project = create(tmp_path)
    document = project.json("profile", "here2")
    assert document["file"] == "slurm/here2.yaml"
    profile = load_profile(project.path / "slurm" / "here2.yaml")
    assert (profile.partition, profile.qos, profile.exclusive, profile.requeues) == ("batch", None, False, 10)
    assert profile.account == ("root" if cluster.has_accounting() else None)
    assert profile.time == 480
    assert {item["partition"] for item in document["alternatives"]["partitions"]} == {"scavenge", "urgent"}
    # The GPUs of this cluster are device nodes without a device: only a torch for CPUs fits.
    if torch_has_gpus():
        pytest.skip("the torch installed here is built for GPUs, which this cluster only pretends to have")
    assert (profile.gpus, profile.cpus, profile.mem_gb) == (0, 4, 3.5)
    assert "built for CPUs only" in document["warnings"][0]
    report = project.json("doctor", "--profile", "here2", "--probe")
    assert (report["ok"], [check["what"] for check in report["checks"] if check["ok"] is False]) == (True, [])
    project.manifest("small", ["epitome_er", "news_empathy"], [1])
    project.call("submit", "small", "--profile", "here2")
    cluster.wait("the queue is empty", lambda: not cluster.jobs(), 900)
    assert project.totals("small") == {"done": 4}


def test_another_partition_and_its_own_file_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    project = create(tmp_path)
    project.call("profile", "here3", "--partition", "scavenge")
    text = (project.path / "slurm" / "here3.yaml").read_text()
    assert load_profile(project.path / "slurm" / "here3.yaml").partition == "scavenge"
    said, _ = project.call("profile", "here3", "--json", expect=2)
    assert "must not exist, but does" in json.loads(said)["error"]["problems"][0]
    assert (project.path / "slurm" / "here3.yaml").read_text() == text
