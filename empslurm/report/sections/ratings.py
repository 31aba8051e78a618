"""Ratings of the tasks' constructs and how well the annotators agree."""

from __future__ import annotations

from empslurm.report import html
from empslurm.report.contents import Contents


def ratings(contents: Contents) -> str:
    """Tables 2, 3 and 5 and Figure 8, as far as they are there."""
    return "".join(html.sortable(table, table.name) for table in contents.ratings)
