"""The verdicts of gathered results, without the other analyses and without tables."""

from __future__ import annotations

from empslurm.gather import Gathered, Group
from empslurm.report.analyses import begun
from empslurm.report.group_results import Significance
from empslurm.report.verdicts import judge


def judged(gathered: Gathered, *, margin: float | None = None) -> list[tuple[str, Group, tuple[Significance, ...]]]:
    """Each group that has a finished transfer: the id of one, the group, and its verdicts per data fraction.

    `margin`: see `analysis.verdicts.decide`.
    """
    found = []
    for group in gathered.groups:
        moved = group.runs[group.runs["kind"] == "transfer"]["id"]
        if len(moved):
            verdicts = judge(begun(gathered, group, ratings=(), margin=margin)).result
            found.append((str(moved.iloc[0]), group, tuple(verdicts)))
    return found
