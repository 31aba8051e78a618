"""What a page is made from, and the pieces that several of its sections show."""

from __future__ import annotations

from dataclasses import dataclass

from empslurm.gather import Gathered
from empslurm.report import html
from empslurm.report.formats import Table, part
from empslurm.report.group_results import Analyses
from empslurm.report.wording import MISSING

MOST_CELLS = 30_000  # of a table on the page, shared by all groups: more makes a page that browsers open slowly


@dataclass(frozen=True, kw_only=True)
class GroupContents:
    """One group: its analyses and the tables that show them."""

    analyses: Analyses
    tables: tuple[Table, ...]
    prefix: str = "g0"  # of the identifiers of its tables on the page
    most_cells: int = MOST_CELLS  # of a table on the page

    def named(self, *starts: str) -> list[Table]:
        """Tables by the start of their names."""
        return [table for table in self.tables if table.name.startswith(starts)]

    def shown(self, *starts: str, tall: bool = False) -> str:
        """Tables by the start of their names, each cut to what a page can hold."""
        parts = [part(table, self.most_cells).table for table in self.named(*starts)]
        return "".join(html.sortable(table, self.identifier(table), tall=tall) for table in parts)

    def identifier(self, table: Table) -> str:
        """Of a table's element on the page."""
        return f"{self.prefix}-{table.name}"

    def lacking(self, *names: str) -> str:
        """Warnings of what is missing, by the paper's names or by those that foreign results have."""
        lacking = self.analyses.lacking
        wanted = [known for name in names for known in dict.fromkeys((name, MISSING.get(name, name)))]
        return "".join(html.warning(f"Missing: {name}: {lacking[name]}.") for name in wanted if name in lacking)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything on the page."""

    gathered: Gathered
    groups: tuple[GroupContents, ...]
    ratings: tuple[Table, ...] = ()  # of the constructs, and their agreement
    settings: tuple[Table, ...] = ()  # settings beside one another
    settings_headline: tuple[str, ...] = ()

    @property
    def of_paper(self) -> bool:
        """Whether any group's tasks are the paper's."""
        return any(group.analyses.of_paper for group in self.groups)


def setting(analyses: Analyses) -> dict[str, str]:
    """A group's setting in words."""
    return {name: _plain(value) for name, value in analyses.group.setting.items()}


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)
