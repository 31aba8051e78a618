"""Settings (models, methods, languages) beside one another."""

from __future__ import annotations

from empslurm.report import html
from empslurm.report.contents import MOST_CELLS, Contents
from empslurm.report.formats import part


def settings(contents: Contents) -> str:
    """What they say together as sentences, then their tables."""
    sentences = map(html.paragraph, contents.settings_headline)
    tables = (html.sortable(part(table, MOST_CELLS).table, table.name, tall=True) for table in contents.settings)
    return "".join([*sentences, *tables])
