"""What to run next: how many more seeds would decide each target, and the hours they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents
from empslurm.report.seeds import seeds_statement

MOST = 40


def what_next(group: GroupContents) -> Mapping[str, Any] | None:
    """A sentence per target that needs more, and folded those with enough; None without verdicts."""
    significances = group.analyses.significance
    wanted = [target for significance in significances for target in significance.next]
    if not wanted:
        return None
    open_yet = [target for target in wanted if target.more_runs or target.seeds.limit == "unknown"]
    more = [target.sentence for target in open_yet]
    enough = [target.sentence for target in wanted if target not in open_yet]
    if len(more) > MOST:
        more = [*more[:MOST], f"{len(more) - MOST:,} more targets stand in the table below."]
    return {
        "caption": " ".join(
            seeds_statement(significance.next, significance.margin, fraction=significance.fraction, table="")
            for significance in significances
        ),
        "sentences": more or ["Nothing: every target has enough seeds for the wanted difference."],
        "enough": enough if more else [],
        "enough_words": f"{len(enough)} for which more seeds do little: enough already, or too few test texts",
    }
