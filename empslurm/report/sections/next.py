"""The section of what to run next: how many more seeds would decide each target, and the hours they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents
from empslurm.report.seeds import Next, seeds_statement

MOST = 40


def what_next(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: a sentence per target that needs more seeds, the others folded; None without verdicts."""
    significances = group.analyses.significance
    wanted = [(target, significance.fraction) for significance in significances for target in significance.next]
    if not wanted:
        return None
    more = [_said(target, part) for target, part in wanted if target.more_runs or target.seeds.limit == "unknown"]
    rest = [_said(target, part) for target, part in wanted if not target.more_runs and target.seeds.limit != "unknown"]
    if all(not target.seeds.limit and not target.more_runs for target, _ in wanted):
        more, rest = ["Nothing: every target has enough seeds for the wanted difference."], more + rest
    elif not more:
        more, rest = rest, []
    if len(more) > MOST:
        more = [*more[:MOST], f"{len(more) - MOST:,} more targets are in the table below."]
    return {
        "caption": " ".join(
            seeds_statement(significance.next, significance.margin, fraction=significance.fraction, table="")
            for significance in significances
        ),
        "sentences": more,
        "enough": rest,
        "enough_words": f"{len(rest)} for which more seeds would help little: enough already, or too few test texts",
    }


def _said(target: Next, fraction: float) -> str:
    """The target's sentence, with its part of the data where it is not all of it."""
    return target.sentence if fraction == 1.0 else f"With {fraction * 100:g} % of its data, {target.sentence}"
