"""The section of the scores: all scores and similarities, next to the printed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents


def scores(group: GroupContents) -> Mapping[str, Any]:
    """The section's values."""
    return {
        "caption": "Means over seeds, percent changes, and similarities of tasks and datasets. Press a title to open."
    }
