"""doctor --probe through a real Slurm: a good profile, and profiles that are wrong in one way each."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.project import Project

pytestmark = pytest.mark.cluster

ROOMY: dict[str, Any] = {"mem_gb": 1.5}  # enough for two Pythons that import torch


@pytest.fixture
def project(tmp_path: Path, cluster: Cluster) -> Iterator[Project]:
    (tmp_path / "slurm").mkdir()
    made = Project(path=tmp_path)
    made.profile(**ROOMY)
    yield made
    made.end()


def probe(project: Project, expect: int, name: str = "here") -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON document and its checks by name; checks that the probe leaves neither a job nor a file."""
    value = project.json("doctor", "--profile", name, "--probe", expect=expect)
    assert not (project.runs / "probes").exists()
    return value, {check["what"]: check for check in value["checks"]}


def wrong(checks: dict[str, Any]) -> dict[str, Any]:
    found = {what: check for what, check in checks.items() if check["ok"] is False}
    assert all(check["fix"] for check in found.values()), found
    return found


def test_a_good_profile_is_ready_and_its_node_describes_itself(project: Project, cluster: Cluster) -> None:
    value, checks = probe(project, expect=0)
    assert wrong(checks) == {}
    assert not cluster.jobs()
    node, training, seconds = value["probe"]["node"], value["probe"]["training"], value["probe"]["seconds"]
    assert node["python"] == training["python"] == checks["python"]["found"]
    assert node["packages"]["torch"] == training["packages"]["torch"]
    assert abs(value["probe"]["clock"]["ahead_s"]) <= value["probe"]["clock"]["within_s"] + 1
    assert 0 < seconds["started_s"] < seconds["first_step_s"] < 300
    assert checks["probe: first step"]["ok"] is True


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"partition": "nowhere"}, "`partition`"),
        ({"account": "nobodys"}, "`account`"),
        ({"constraint": "h900"}, "`constraint`"),
    ],
)
def test_what_sbatch_refuses_names_the_field(
    project: Project, cluster: Cluster, changes: dict[str, str], field: str
) -> None:
    if "account" in changes and not cluster.has_accounting():
        pytest.skip("without accounting every account will do")
    project.profile(**ROOMY, **changes)
    _, checks = probe(project, expect=1)
    assert list(wrong(checks)) == ["profile here: sbatch"]
    assert field in checks["profile here: sbatch"]["fix"]
    assert "here.yaml" in checks["profile here: sbatch"]["fix"]
    assert checks["probe: job"]["ok"] is None


@pytest.mark.parametrize(
    ("changes", "what", "found"),
    [
        ({"setup": "['exit 3']"}, "probe: job", "(FAILED, exit code 3:0) before it could report"),
        ({"setup": "['ls /no/such/folder', 'exit 3']"}, "probe: job", "its last line: ls: cannot access"),
        ({"setup": "['module load nothing']"}, "probe: setup", "module: command not found"),
        ({"python": "/no/such/python"}, "probe: Python of training", "No such file or directory: '/no/such/python'"),
        (
            {"python": "bash -c 'echo the image is broken; exit 9'"},
            "probe: Python of training",
            "status 9 and no report; its last line: the image is broken",
        ),
        ({"gpus": 1}, "probe: GPU", "must have a working GPU, since the profile asks for one, but torch says"),
    ],
)
def test_what_is_wrong_on_the_node_is_reported_with_its_message(
    project: Project, cluster: Cluster, changes: dict[str, Any], what: str, found: str
) -> None:
    project.profile(**ROOMY, **changes)
    _, checks = probe(project, expect=1)
    assert list(wrong(checks)) == [what]
    assert found in checks[what]["found"]
    assert not cluster.jobs()


def test_ctrl_c_and_term_leave_nothing_behind(project: Project, cluster: Cluster) -> None:
    # Other jobs take all cores of the cluster, so that the probe waits.
    for node in cluster.nodes():
        cluster.wait_running(cluster.submit("sleep 300", f"--nodelist={node}", "--exclusive"))
    for number in (signal.SIGINT, signal.SIGTERM):
        process = project.start("doctor", "--profile", "here", "--probe")
        cluster.wait("the probe is queued", lambda: "PENDING" in cluster.jobs().values(), 60)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 130, told
        assert "Traceback" not in told
        assert "PENDING" not in cluster.jobs().values()
        assert not (project.runs / "probes").exists()
    value = project.json("doctor", "--profile", "here", "--probe", "--wait", "0.1", expect=1)
    checks = {check["what"]: check for check in value["checks"]}
    assert "is pending (" in checks["probe: job"]["found"]
    assert "PENDING" not in cluster.jobs().values()
    cluster.clear()
