"""What is missing: analyses that could not be made and cells without a result, with what would fill them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import Contents


def missing(contents: Contents) -> Mapping[str, Any] | None:
    """One quiet list; None where nothing is missing."""
    caption = "What further runs would add, and what they would cost."
    if contents.gathered.missing:
        caption += " missing.csv beside this page names every cell."
    return {"caption": caption, "gaps": contents.gaps} if contents.gaps else None
