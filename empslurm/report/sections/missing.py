"""Cells that have no result."""

from __future__ import annotations

from html import escape

from empslurm.report import html
from empslurm.report.contents import Contents

SHOWN_MISSING = 200


def missing(contents: Contents) -> str:
    """Each with its state and why."""
    cells = contents.gathered.missing
    if not cells:
        return html.paragraph("None.")
    note = ""
    if len(cells) > SHOWN_MISSING:
        text = f"{SHOWN_MISSING} of {len(cells):,} are shown; missing.csv has all."
        note = html.paragraph(text, class_="soft")
    rows = "".join(_row(cell.id, cell.state, cell.why) for cell in cells[:SHOWN_MISSING])
    head = "".join(
        f'<th class="l" data-name="{name}" scope="col"><button type="button">{name}</button></th>'
        for name in ("cell", "state", "why")
    )
    table = f'<table id="missing-cells"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return note + html.element("div", table, class_="wide tall")


def _row(*values: str) -> str:
    """A row of words."""
    return html.element("tr", "".join(f'<td class="l said">{escape(value)}</td>' for value in values))
