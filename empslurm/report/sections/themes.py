"""The section of themes of theoretical grounding, and of transfer with less of the target's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents


def themes(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values; None where the tasks have no themes and there is only one data fraction."""
    return {"sentences": ()} if group.named("figure3", "theme-effects", "limited-data") else None
