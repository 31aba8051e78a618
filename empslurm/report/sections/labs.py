"""The section of several labs: the answer, forest plots of the most interesting pairs, and who contributed what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.report import forests
from empslurm.report.contents import MOST_CELLS, Contents, block_of
from empslurm.report.formats import shown
from empslurm.report.tables import title_of

MOST = 12  # forest plots on the page
OPEN = 3  # of these, open at first


def labs(contents: Contents) -> Mapping[str, Any] | None:
    """The section's values; None where there is one input."""
    pooling = contents.pooling
    if pooling is None:
        return None
    ordered = forests.in_order(pooling)
    plots = [
        {
            "title": f"{title_of(pair.source, pooling.registry)} → {title_of(pair.target, pooling.registry)}"
            + (f", {pair.fraction * 100:g} % of the data" if pair.fraction != 1.0 else ""),
            "verdict": pair.verdict,
            "pooled": shown(pair.pooled.estimate, 3, short=True, signed=True),
            "soft": pair.difference,
            "is_open": at < OPEN,
            **forests.strips(pair),
        }
        for at, pair in enumerate(ordered[:MOST])
    ]
    left = len(ordered) - len(plots)
    return {
        "answer": contents.pooling_headline,
        "plots": plots,
        "more": f"{left:,} more pairs are in the table below, and the first {forests.MOST_DRAWN} as figures in "
        f"{forests.FOLDER}/."
        if left
        else "",
        "tables": tuple(block_of(table, table.name, MOST_CELLS) for table in contents.pooling_tables),
    }
