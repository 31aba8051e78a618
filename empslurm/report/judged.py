"""The verdicts of gathered results, without the other analyses and without tables."""

from __future__ import annotations

from empslurm.gather import Gathered, Group
from empslurm.report.analyses import begun
from empslurm.report.group_results import Significance
from empslurm.report.verdicts import judge


def judged(gathered: Gathered, *, margin: float | None = None) -> list[tuple[Group, tuple[Significance, ...]]]:
    """Each group that has a finished transfer, with its verdicts per data fraction. `margin`: see `verdicts.decide`."""
    groups = [group for group in gathered.groups if (group.runs["kind"] == "transfer").any()]
    return [(group, tuple(judge(begun(gathered, group, ratings=(), margin=margin)).result)) for group in groups]
