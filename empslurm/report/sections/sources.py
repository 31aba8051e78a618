"""The sources section: sources ranked by how much they help, with the interval of each rank, and ties marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from empslurm.report.contents import GroupContents
from empslurm.report.formats import capital, shown
from empslurm.report.source_rank_tables import rank_text, unit_words
from empslurm.report.source_ranks import PERCENT, SourceRanks
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

MOST = 60  # sources; the table has all of them


def sources(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: a ranking per data fraction; None where no source was ranked."""
    registry = group.analyses.gathered.registry
    rankings = [_ranking(ranking, registry, titled=len(group.views) > 1) for ranking in group.analyses.source_ranks]
    return {"rankings": rankings} if rankings else None


def _ranking(ranking: SourceRanks, registry: Registry, *, titled: bool) -> Mapping[str, Any]:
    n = len(ranking.sources)
    shared = Counter(row.place for row in ranking.sources)
    digits, short = (1, False) if ranking.unit == PERCENT else (3, True)
    rows = []
    for row in ranking.sources[:MOST]:
        numbers = shown(row.effect, digits, short=short, signed=True)
        if np.isfinite(row.low):
            ends = (shown(end, digits, short=short, signed=True) for end in (row.low, row.high))
            numbers += " [{}, {}]".format(*ends)
        rows.append(
            {
                "place": f"{row.place} (tie)" if shared[row.place] > 1 else str(row.place),
                "tie": shared[row.place] > 1,
                "source": title_of(row.source, registry),
                "numbers": numbers,
                "interval": rank_text(row),
                "left": round(100 * (row.best - 1) / n, 1),
                "width": round(100 * (row.worst - row.best + 1) / n, 1),
                "verdicts": f"{row.n_helps} / {row.n_harms} of {row.n_targets} targets",
            }
        )
    said = [
        "Mean gain over the targets with its 95 % interval.",
        "All are tied: no source is shown to help more than another."
        if n > 1 and len(shared) == 1
        else "Place: 1 + the number of sources shown to help more; sources that share a place are tied.",
        f"{capital(ranking.reason)}." if ranking.reason else "",
        f"{n - MOST:,} more are in source-ranks.csv." if n > MOST else "",
    ]
    return {
        "title": f"With {ranking.fraction * 100:g} % of the target's data" if titled else "",
        "caption": " ".join(filter(None, said)),
        "unit": f"mean gain, {unit_words(ranking)}",
        "rows": rows,
    }
