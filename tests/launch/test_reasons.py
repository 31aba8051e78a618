"""Reasons with which a job can never start are distinguished from temporary ones."""

import pytest

from empslurm.launch.queue import Job
from empslurm.launch.reasons import fix_of, fix_of_probe


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("PartitionTimeLimit", "lower `time`"),
        ("(PartitionTimeLimit)", "lower `time`"),
        ("BadConstraints", "change `constraint`"),
        ("MaxMemPerLimit", "less memory"),
        ("QOSMaxWallDurationPerJobLimit", "change `time`"),
        ("AssocMaxGRESPerJob", "allows per job"),
        ("QOSMinGRES", "another `account` or `qos`"),
        ("AssocGrpCPUMinutesLimit", "is used up"),
        ("InvalidAccount", "name an `account`"),
        ("InvalidQOS", "name a `qos`"),
        ("DependencyNeverSatisfied", "submit again"),
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


def test_only_a_changed_profile_needs_jobs_cancelled() -> None:
    changed, released = fix_of("PartitionTimeLimit"), fix_of("JobHeldUser")
    assert changed is not None
    assert "`time` in the profile" in changed
    assert "cancel" in changed
    assert released is not None
    assert "cancel" not in released


def test_a_probe_is_already_cancelled() -> None:
    changed = fix_of_probe("PartitionTimeLimit", "mine.yaml")
    assert "`time` in mine.yaml" in changed
    assert "cancel" not in changed
    assert "mine.yaml" not in fix_of_probe("JobHeldAdmin", "mine.yaml")


def test_what_runs_has_started() -> None:
    job = Job(id="7_1", state="RUNNING", restarts=0, reason="JobHeldUser", node="node1", name="x")
    assert job.fix is None
