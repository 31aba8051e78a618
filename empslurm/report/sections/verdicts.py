"""Headline verdicts: what helps, what is missing, and the tables of all pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from empslurm.report import html
from empslurm.report.contents import GroupContents
from empslurm.report.figures import values_of
from empslurm.report.formats import Table, part
from empslurm.report.headline import headline


def verdicts(group: GroupContents) -> str:
    """Sentences first, then the tables."""
    pieces = [html.paragraph(sentence) for sentence in headline(group.analyses)]
    pieces.append(
        group.lacking("baselines", "verdicts", "the paper's test", "limited data (Figure 3, bottom)", "Figure 3")
    )
    for table in group.named("verdicts"):
        cut = part(table, group.most_cells, _differences(table)).table
        pieces.append(html.sortable(cut, group.identifier(table), tall=True))
    pieces.append(group.shown("sources", tall=True))
    pieces.append(group.shown("seeds", "collapse", "figure3", "theme-effects", "limited-data"))
    return "".join(pieces)


def _differences(table: Table) -> NDArray[np.float64]:
    """Weights of a verdict table's cells: the size of their pair's difference."""
    values = np.abs(values_of(table))
    return np.broadcast_to(values[:, [table.columns.index("difference") - table.n_labels]], values.shape)
