"""Scores of all pairs, and the printed ones beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents


def scores(group: GroupContents) -> Mapping[str, Any]:
    """What the folded tables are."""
    return {
        "caption": "Means over seeds, percent changes, and how alike tasks and datasets are. Press a title to open it."
    }
