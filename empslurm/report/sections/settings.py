"""Settings (models, methods, languages) beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report.contents import MOST_CELLS, Contents, block_of


def settings(contents: Contents) -> Mapping[str, Any] | None:
    """What they say together as sentences, then every pair in every setting; None where there is one setting."""
    if not contents.settings:
        return None
    return {
        "sentences": contents.settings_headline,
        "tables": tuple(block_of(table, table.name, MOST_CELLS) for table in contents.settings),
    }
