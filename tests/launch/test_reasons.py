"""Reasons with which a job can never start are distinguished from temporary ones."""

import pytest

from empslurm.launch.queue import Job
from empslurm.launch.reasons import fix_of


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("PartitionTimeLimit", "lower `time`"),
        ("(PartitionTimeLimit)", "lower `time`"),
        ("BadConstraints", "change `constraint`"),
        ("MaxMemPerLimit", "less memory"),
        ("QOSMaxWallDurationPerJobLimit", "change `time`"),
        ("AssocMaxGRESPerJob", "allows one job"),
        ("QOSMinGRES", "allows one job"),
        ("AssocGrpCPUMinutesLimit", "budget is used up"),
        ("InvalidAccount", "name an `account`"),
        ("InvalidQOS", "name a `qos`"),
        ("DependencyNeverSatisfied", "cancel it"),
        ("JobHeldUser", "scontrol release"),
        ("launch failed requeued held", "a node failed to start it"),
        ("job requeued in held state", None),
        ("Priority", None),
        ("Resources", None),
        ("Dependency", None),
        ("BeginTime", None),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-4]", None),
        ("QOSMaxJobsPerUserLimit", None),
        ("AssocGrpGRES", None),
        ("QOSGrpCpuLimit", None),
        ("JobArrayTaskLimit", None),
        ("None", None),
    ],
)
def test_never_or_later(reason: str, fix: str | None) -> None:
    found = fix_of(reason)
    assert found is None if fix is None else found is not None and fix in found


def test_what_runs_has_started() -> None:
    job = Job(id="7_1", state="RUNNING", restarts=0, reason="JobHeldUser", node="node1", name="x")
    assert job.fix is None
