"""Reasons in squeue's answer with which a waiting job can never start, each with what to do."""

from __future__ import annotations

import re

# The first pattern that matches a whole reason decides. A fix with {profile} changes the profile and helps only jobs
# that are sent afterwards: `fix_of` adds that the waiting ones must be cancelled.
NEVER: tuple[tuple[str, str], ...] = (
    ("PartitionTimeLimit", "lower `time` in {profile} to what the partition allows (`sinfo -o '%P %l'`)"),
    ("PartitionNodeLimit", "choose a `partition` in {profile} that takes jobs of one node (`scontrol show partition`)"),
    (
        "BadConstraints",
        "no node has all that the job asks for: change `constraint`, `nodelist`, `gpus`, `cpus` or memory in {profile}",
    ),
    (
        "MaxMemPerLimit|MaxMemPerCPU",
        "ask for less memory per core in {profile}: lower `mem_gb` or `mem_per_cpu_gb`, or raise `cpus` with `mem_gb`",
    ),
    (
        r"(Assoc|QOS)(Max|Min)\w*(Time|Wall)\w*",
        "change `time` in {profile} to what the account or the qos allows per job",
    ),
    (
        r"(Assoc|QOS)Max\w+PerJob\w*|QOSMin\w+",
        "change `gpus`, `cpus` or memory in {profile} to what the account or the qos allows per job, or name another "
        "`account` or `qos`",
    ),
    (
        r"(Assoc|QOS)Grp\w*(Minutes|RunMins)\w*",
        "the budget of the account or the qos is used up: ask for more and wait, or name another `account` or `qos` in "
        "{profile}",
    ),
    (
        "InvalidAccount|AccountNotAllowed",
        "name an `account` in {profile} that you may use and the partition accepts (`sacctmgr show assoc`)",
    ),
    (
        "InvalidQOS|QOSNotAllowed",
        "name a `qos` in {profile} that the account and the partition accept (`sacctmgr show qos`)",
    ),
    (
        "ReservationDeleted|InvalidReservation",
        "name a `reservation` in {profile} that exists (`scontrol show reservation`), or none",
    ),
    ("DependencyNeverSatisfied", "run `empslurm cancel MANIFEST`, then submit again"),
    ("DeadLine", "its deadline has passed: remove `deadline` in {profile}, or set a later one"),
    ("JobHeldAdmin", "an administrator holds it: ask them to release it"),
    ("JobHeldUser", "release it with `scontrol release JOB`"),
    (
        r"(?i)JobLaunchFailure|launch[ _]failed.*|.*requeued[ _]held.*",
        "a node failed to start it: list the node (`scontrol show job JOB`) under `exclude` in {profile}",
    ),
)


def fix_of(reason: str) -> str | None:
    """What to do about a job that can never start for this reason; None where waiting may help."""
    fix = _find(reason)
    if fix is None or "{profile}" not in fix:
        return fix
    return fix.format(profile="the profile") + "; then run `empslurm cancel MANIFEST` and submit again"


def fix_of_probe(reason: str, file: str) -> str:
    """What to do about a probe that could never start for this reason. It is cancelled, so only the next one counts.

    `file`: the name of its profile.
    """
    fix = _find(reason)
    if fix is not None and "{profile}" in fix:
        return fix.format(profile=file)
    return "ask the site why it holds or blocks new jobs, then run the same command again"


def _find(reason: str) -> str | None:
    return next((fix for pattern, fix in NEVER if re.fullmatch(pattern, reason.strip("()"))), None)
