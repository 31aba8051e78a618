"""The section of what is missing: analyses that could not run, cells without a result, and what would fill the gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import Contents


def missing(contents: Contents) -> Mapping[str, Any] | None:
    """The section's values; None where nothing is missing."""
    caption = "What further runs would add, and what they would cost."
    if contents.gathered.missing:
        caption += " A cell is one run; missing.csv next to this page lists every cell."
    return {"caption": caption, "gaps": contents.gaps} if contents.gaps else None
