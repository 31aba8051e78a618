"""Scores of all pairs, and the printed ones beside."""

from __future__ import annotations

from empslurm.report.contents import GroupContents


def scores(group: GroupContents) -> str:
    """Baselines, Tables 7 and 8, and where the tasks are the paper's the differences to what it printed."""
    figures = group.named("figure6", "figure7")
    compared = [table.name for table in figures if table.name.endswith("versus-printed")]
    return group.shown("baselines", "table7", "table8") + "".join(map(group.shown, compared))
