"""What a page is made from: groups with their tables, cut to fit a page, and the verdicts that its panel shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from empslurm.gather import Gathered
from empslurm.report.figures import values_of
from empslurm.report.formats import Part, Table, part
from empslurm.report.gaps import Gap
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.pooling import Pooling
from empslurm.report.settings_compared import Compared
from empslurm.report.verdict_tables import part_name

MOST_CELLS = 40_000  # of all tables of one kind on the page, divided among the groups
MOST_PAIRS = 4_000  # of all verdict tables, divided among the groups


@dataclass(frozen=True, kw_only=True)
class Block:
    """A table on the page: its addresses, its texts and its rows."""

    identifier: str  # its key in the page's data
    anchor: str
    title: str
    caption: str
    details: str
    kept: Part
    heat: bool  # whether each number's background shows its size


@dataclass(frozen=True, kw_only=True)
class View:
    """The verdicts of a group at one data fraction; pictures, forest plots and tables open them in the panel."""

    index: int  # among all views of the page
    significance: Significance
    block: Block
    rows: Mapping[tuple[str, str], int]  # (source, target) -> its row in the block; absent: cut off


@dataclass(frozen=True, kw_only=True)
class GroupContents:
    """One group: its analyses and the tables that show them."""

    analyses: Analyses
    tables: tuple[Table, ...]
    prefix: str = ""  # of its anchors and identifiers; "" for a single group
    most_cells: int = MOST_CELLS  # of a table on the page
    most_pairs: int = MOST_PAIRS  # of a table of verdicts
    first_view: int = 0  # index of its first view

    def anchor(self, name: str) -> str:
        """An address on the page that is unique to this group."""
        return f"{self.prefix}{name}"

    def named(self, *starts: str) -> list[Table]:
        """Tables whose names start with one of `starts`."""
        return [table for table in self.tables if table.name.startswith(starts)]

    def blocks(self, *starts: str) -> tuple[Block, ...]:
        """Tables whose names start with one of `starts`, each cut to fit a page."""
        return tuple(self._block(table) for table in self.named(*starts) if starts)

    def _block(self, table: Table) -> Block:
        n_columns = len(table.columns) - table.n_labels
        most = self.most_pairs * n_columns if table.name.startswith("verdicts") else self.most_cells
        return block_of(table, self.anchor(table.name), most, self.analyses.group.name)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """One per data fraction."""
        return tuple(
            self._view(self.first_view + at, significance) for at, significance in enumerate(self.analyses.significance)
        )

    def _view(self, index: int, significance: Significance) -> View:
        name = f"verdicts{part_name(significance.fraction)}"
        (table,) = (table for table in self.tables if table.name == name)
        block = self._block(table)
        pairs = [(table.origin[row][0], table.origin[row][1]) for row in block.kept.rows]
        n_pairs = len(significance.pairs)  # the rows of the control follow them
        rows = {pair: at for at, (pair, row) in enumerate(zip(pairs, block.kept.rows, strict=True)) if row < n_pairs}
        return View(index=index, significance=significance, block=block, rows=rows)


def block_of(table: Table, anchor: str, most_cells: int, folder: str = "") -> Block:
    """A table of the page. Where it is too large, it is cut, and its caption says which rows and columns are shown.

    `folder`: where the table's files are, relative to the page.
    """
    kept = part(table, most_cells, _weights(table), folder)
    return Block(
        identifier=anchor,
        anchor=f"table-of-{anchor}",
        title=titled(table),
        caption=kept.table.caption,
        details=kept.table.details,
        kept=kept,
        heat=table.name.startswith(("figure9", "figure10")),
    )


def titled(table: Table) -> str:
    """A table's title, with its number in the paper if it has one."""
    return f"{table.number}: {table.title}" if table.number else table.title


def _weights(table: Table) -> NDArray[np.float64] | None:
    """Sizes by which a table is cut: of verdicts the difference, of improvement maps the change."""
    if table.name.startswith(("figure6", "figure7")):
        return np.abs(values_of(table))
    if not table.name.startswith("verdicts"):
        return None
    values = np.abs(values_of(table))
    return np.broadcast_to(values[:, [table.columns.index("difference") - table.n_labels]], values.shape)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything on the page."""

    gathered: Gathered
    groups: tuple[GroupContents, ...]
    gaps: tuple[Gap, ...] = ()  # what is missing
    ratings: tuple[Table, ...] = ()  # of the constructs, and their agreement
    settings: tuple[Table, ...] = ()  # settings compared
    settings_headline: tuple[str, ...] = ()
    compared: Compared | None = None  # None: there are not two settings
    pooling: Pooling | None = None  # None: there are not several inputs
    pooling_tables: tuple[Table, ...] = ()
    pooling_headline: tuple[str, ...] = ()

    @property
    def of_paper(self) -> bool:
        """Whether any group's tasks are the paper's."""
        return any(group.analyses.of_paper for group in self.groups)


def setting(analyses: Analyses) -> dict[str, str]:
    """A group's setting as text, by name."""
    return {name: _plain(value) for name, value in analyses.group.setting.items()}


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)
