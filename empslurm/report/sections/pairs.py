"""The section of all pairs: a table that can be filtered and opens the evidence of each pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents


def pairs(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: a table per data fraction, or where no target has a baseline the ranking of its sources."""
    tables = tuple(view.block for view in group.views) or group.blocks("sources")
    if not tables:
        return None
    return {"caption": "Press a source for its evidence. “columns” shows more columns.", "tables": tables}
