"""Tables of the sources ranked by how much they help, one per data fraction."""

from __future__ import annotations

import numpy as np

from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, capital, flat, number, text, whole
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.source_ranks import PERCENT, SourceRank, SourceRanks, source_ranks
from empslurm.report.tables import title_of
from empslurm.report.verdict_tables import part_name
from empslurm.tasks import Registry

DETAILS = (
    "Mean gains come from a fit of gain = target effect + source effect, so sources with different targets are "
    "comparable; their 95 % intervals account for shared baselines and test examples. Rank: from simultaneous 95 % "
    "intervals of all differences between sources (Mogstad, Romano, Shaikh and Wilhelm 2024); the best rank is 1 + the "
    "number of sources shown to help more, the worst is the number of sources minus those shown to help less."
)


def rank(analyses: Analyses) -> Finding:
    """Rank the sources of each data fraction with verdicts; empty with fewer than two sources."""
    ranked = (
        source_ranks(verdicts.results, verdicts.pairs, fraction=verdicts.fraction) for verdicts in analyses.significance
    )
    return Finding(result=tuple(ranks for ranks in ranked if ranks is not None))


def tables(analyses: Analyses) -> list[Table]:
    """One per data fraction."""
    return [ranks_table(ranks, analyses.gathered.registry) for ranks in analyses.source_ranks]


def ranks_table(ranks: SourceRanks, registry: Registry) -> Table:
    """A row per source."""
    data = "" if ranks.fraction == 1.0 else f", with {ranks.fraction * 100:g} % of the target's data"
    said = f" {capital(ranks.reason)}." if ranks.reason else ""
    return flat(
        name=f"source-ranks{part_name(ranks.fraction)}",
        title=f"Ranks of the sources{data}",
        caption=f"Mean gain over targets, {unit_words(ranks)}; positive is better. Place: 1 + the number of sources "
        "shown to help more; sources that share a place are tied.",
        details=DETAILS + said,
        columns={
            "place": "place",
            "source": "source",
            "effect": "mean gain",
            "low": "low",
            "high": "high",
            "rank": "rank",
            "n_targets": "targets",
            "n_helps": "helps",
            "n_harms": "harms",
        },
        rows=[_row(row, ranks, registry) for row in ranks.sources],
        n_labels=2,
        main=("place", "source", "effect", "low", "high", "rank", "n_helps", "n_harms"),
    )


def unit_words(ranks: SourceRanks) -> str:
    """The unit of the gains, in words."""
    if ranks.unit == PERCENT:
        return "in percent of the target's baseline"
    titles = " or ".join(METRICS[metric].title for metric in ranks.metrics)
    return f"in {titles}"


def rank_text(row: SourceRank) -> str:
    """The interval of a source's rank."""
    return f"{row.best}" if row.best == row.worst else f"{row.best} to {row.worst}"


def _row(row: SourceRank, ranks: SourceRanks, registry: Registry) -> tuple[Entry, ...]:
    digits = 1 if ranks.unit == PERCENT else 3
    alike = sum(other.place == row.place for other in ranks.sources) > 1
    place = Entry(text=f"{row.place}{'=' if alike else ''}", raw=row.place)
    if not np.isfinite(row.effect):
        place = text(None)
    return (
        place,
        text(title_of(row.source, registry)),
        number(row.effect, digits, signed=True),
        number(row.low, digits, signed=True),
        number(row.high, digits, signed=True),
        text(rank_text(row)),
        whole(row.n_targets),
        whole(row.n_helps),
        whole(row.n_harms),
    )
