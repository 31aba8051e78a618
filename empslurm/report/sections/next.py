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
    more = [target.sentence for target in wanted if target.more_runs]
    enough = [target.sentence for target in wanted if not target.more_runs]
    if len(more) > MOST:
        more = [*more[:MOST], f"{len(more) - MOST:,} more targets: the table below has each."]
    return {
        "caption": " ".join(
            seeds_statement(significance.next, significance.margin, fraction=significance.fraction, table="seeds below")
            for significance in significances
        ),
        "sentences": more or ["Nothing: every target has enough seeds for the wanted difference."],
        "enough": enough if more else [],
        "enough_words": f"{len(enough)} with enough seeds, or with too few test texts for any number of seeds",
    }
