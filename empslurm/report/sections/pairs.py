"""The table of all pairs, which can be filtered and opens each pair's evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents


def pairs(group: GroupContents) -> Mapping[str, Any] | None:
    """One table per data fraction; where no target has a baseline, the ranking of each target's sources."""
    tables = tuple(view.block for view in group.views) or group.blocks("sources")
    if not tables:
        return None
    return {"caption": "Press a source for its evidence. More columns are behind “columns”.", "tables": tables}
