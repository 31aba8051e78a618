"""Themes of theoretical grounding, and what less of the target's data changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import GroupContents


def themes(group: GroupContents) -> Mapping[str, Any] | None:
    """None where the tasks have no themes and there is one data fraction only."""
    return {"sentences": ()} if group.named("figure3", "theme-effects", "limited-data") else None
