"""The choice section: could the sources have been chosen without the grid? Every way to choose, with its rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from empslurm.analysis.source_selection import MEASURES, Quality
from empslurm.report.contents import GroupContents
from empslurm.report.formats import MISSING
from empslurm.report.source_choice import SourceChoice
from empslurm.report.source_choice_tables import DETAILS, HEADS, digits_of, sentences, title

SHOWN = ("tau", "ndcg", "regret_1", "regret_3")


def choice(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values; None where no way to choose was judged."""
    judged = group.analyses.source_choice
    if judged is None:
        return None
    return {
        "sentences": sentences(judged),
        "details": DETAILS,
        "heads": [HEADS[name] for name in SHOWN],
        "parts": [
            {"title": "A new target: whole targets left out", "rows": _rows(judged, judged.targets_left_out)},
            {"title": "A new source: whole sources left out", "rows": _rows(judged, judged.sources_left_out)},
        ],
    }


def _rows(judged: SourceChoice, ways: Sequence[Quality]) -> list[Mapping[str, Any]]:
    ceiling = [] if judged.ceiling is None else [judged.ceiling]
    return [{"way": title(one.way), "values": [_said(one, name) for name in SHOWN]} for one in (*ways, *ceiling)]


def _said(one: Quality, name: str) -> str:
    at, digits = MEASURES.index(name), digits_of(name)
    if not np.isfinite(one.mean[at]):
        return MISSING
    return f"{one.mean[at]:.{digits}f} [{one.low[at]:.{digits}f}, {one.high[at]:.{digits}f}]"
