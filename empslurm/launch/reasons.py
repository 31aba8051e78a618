"""Reasons in squeue's answer with which a waiting job can never start, each with what to do."""

from __future__ import annotations

import re

# The first pattern that matches a whole reason decides.
NEVER: tuple[tuple[str, str], ...] = (
    ("PartitionTimeLimit", "lower `time` in the profile to what the partition allows (`sinfo -o '%P %l'`)"),
    ("PartitionNodeLimit", "choose a `partition` that takes jobs of one node (`scontrol show partition`)"),
    ("BadConstraints", "no node has all that is asked for: change `constraint`, `nodelist`, `gpus`, `cpus` or memory"),
    ("MaxMemPerLimit|MaxMemPerCPU", "ask for less memory per core: lower mem_gb, or raise cpus"),
    (r"(Assoc|QOS)(Max|Min)\w*(Time|Wall)\w*", "change `time` in the profile to what the account or the qos allows"),
    (
        r"(Assoc|QOS)Max\w+PerJob\w*|QOSMin\w+",
        "ask for what the account or the qos allows one job, or name another",
    ),
    (
        r"(Assoc|QOS)Grp\w*(Minutes|RunMins)\w*",
        "the account's budget is used up: name another `account`, or ask for more",
    ),
    ("InvalidAccount|AccountNotAllowed", "name an `account` of yours that the partition takes (`sacctmgr show assoc`)"),
    ("InvalidQOS|QOSNotAllowed", "name a `qos` that the account and the partition take (`sacctmgr show qos`)"),
    (
        "ReservationDeleted|InvalidReservation",
        "name a `reservation` that exists (`scontrol show reservation`), or none",
    ),
    ("DependencyNeverSatisfied", "cancel it, then submit again"),
    ("DeadLine", "its deadline has passed: cancel it, then submit again"),
    ("JobHeldAdmin", "an administrator holds it: ask them"),
    ("JobHeldUser", "release it with `scontrol release`"),
    (
        r"(?i)JobLaunchFailure|launch[ _]failed.*|.*requeued[ _]held.*",
        "a node failed to start it: read its log, list the node under `exclude`, cancel, then submit again",
    ),
)


def fix_of(reason: str) -> str | None:
    """What to do about a job that can never start for this reason; None where waiting may help."""
    return next((fix for pattern, fix in NEVER if re.fullmatch(pattern, reason.strip("()"))), None)
