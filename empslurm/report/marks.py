"""The verdicts that an improvement map marks, by row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from empslurm.report.group_results import Analyses
from empslurm.report.tables import improvements, suffix


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The verdicts of one map. Its table has the targets' ids as columns, but only titles of the sources."""

    verdicts: Mapping[tuple[str, str], str]  # (source, target) -> one of `analysis.verdicts.OUTCOMES`
    sources: tuple[str, ...]  # task ids, one per row

    def of(self, targets: Sequence[str]) -> dict[tuple[int, int], str]:
        """(row, column) -> verdict, for these columns."""
        return {
            (row, column): self.verdicts[source, target]
            for row, source in enumerate(self.sources)
            for column, target in enumerate(targets)
            if (source, target) in self.verdicts
        }


def marks_of(analyses: Analyses) -> dict[str, Marks]:
    """Name of an improvement table -> the verdicts at its data fraction."""
    verdicts = {
        significance.fraction: {
            (pair.verdict.source, pair.verdict.target): pair.verdict.verdict for pair in significance.pairs
        }
        for significance in analyses.significance
        if significance.fraction == significance.baseline_fraction  # maps compare with the same amount of data
    }
    return {
        f"figure{6 if table.kind == 'classification' else 7}{suffix(table)}": Marks(
            verdicts=verdicts.get(table.fraction, {}), sources=improvements(table).sources
        )
        for table in analyses.tables
    }
