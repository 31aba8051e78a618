"""The section of the ratings: ratings of the tasks' constructs, and how well the annotators agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import Contents


def ratings(contents: Contents) -> Mapping[str, Any] | None:
    """The section's values; None without ratings."""
    caption = "How strongly each task's definition, link and conduciveness fit the construct, by annotator."
    return {"caption": caption} if contents.ratings else None
