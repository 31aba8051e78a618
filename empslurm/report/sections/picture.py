"""The overview as a picture: sources by targets, the change as colour, the verdict as a mark or hatching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from empslurm.report.contents import GroupContents, View
from empslurm.report.formats import shown
from empslurm.report.overview import STEPS, Overview, overview
from empslurm.report.wording import MARKS

CALLED = ("helps", "harms", "equivalent")  # verdicts whose sign is in the cell
DARKEST_UNCALLED = 3  # darkest shade for the other verdicts, so that they do not stand out
# Verdict -> its class, the text of its sample in the legend, and its meaning.
LEGEND = {
    "helps": ("helps s3", "+ ▲", "helps"),
    "harms": ("harms m3", "− ▼", "harms"),
    "equivalent": ("equivalent", "=", "equivalent: shown to differ by less than the margin"),
    "inconclusive": ("inconclusive", "", "inconclusive: neither help nor harm was shown (not: no effect)"),
    "undecided": ("undecided", "", "undecided: it cannot be judged yet"),
}


def picture(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: one picture per data fraction; None without verdicts."""
    pictures = [_picture(group, view, titled=len(group.views) > 1) for view in group.views]
    return {"pictures": pictures} if pictures else None


def _picture(group: GroupContents, view: View, *, titled: bool) -> Mapping[str, Any]:
    drawn = overview(view.significance, group.analyses)
    rows = [
        {
            "source": source,
            "cells": [_cell(drawn, view, row, column) for column in range(len(drawn.targets))],
        }
        for row, source in enumerate(drawn.sources)
    ]
    digits = 0 if drawn.percent else 2
    end = shown(drawn.reach, digits, short=not drawn.percent)
    more = " or more" if drawn.clipped else ""
    return {
        "title": drawn.title if titled else "",
        "label": f"{drawn.title}, in {drawn.unit}: sources are rows, targets columns",
        "caption": f"{drawn.title}, in {drawn.unit}. Press a cell for its evidence. {drawn.cut}".strip(),
        "view": view.index,
        "targets": drawn.targets,
        "rows": rows,
        "legend": _legend(drawn),
        "steps": [*(f"m{step}" for step in range(STEPS, 0, -1)), "", *(f"s{step}" for step in range(1, STEPS + 1))],
        "low": f"worse by {end}{more}",
        "high": f"better by {end}{more}",
    }


def _cell(drawn: Overview, view: View, row: int, column: int) -> Mapping[str, Any]:
    cell = drawn.cells.get((row, column))
    if cell is None:
        own = drawn.is_diagonal(row, column)
        return {"classes": "own" if own else "none", "text": drawn.baselines[column] if own else "", "row": None}
    classes = [cell.verdict, "" if cell.evident else "pale"]
    if cell.step:
        darkest = STEPS if cell.verdict in CALLED else DARKEST_UNCALLED
        classes.append(f"{'s' if cell.step > 0 else 'm'}{min(abs(cell.step), darkest)}")
    mark = f" {MARKS[cell.verdict]}" if cell.verdict in CALLED else ""
    return {
        "classes": " ".join(filter(None, classes)),
        "text": shown(cell.change, 0 if drawn.percent else 2, short=not drawn.percent, signed=True) + mark,
        "row": view.rows.get((drawn.source_ids[row], drawn.target_ids[column])),
    }


def _legend(drawn: Overview) -> list[Mapping[str, str]]:
    """The legend: what the signs that occur mean."""
    cells = drawn.cells.values()
    there = {cell.verdict for cell in cells}
    items: list[Mapping[str, str]] = [
        dict(zip(("classes", "text", "words"), LEGEND[name], strict=True)) for name in LEGEND if name in there
    ]
    if any(not cell.evident and np.isfinite(cell.low) for cell in cells):
        items.append({"classes": "pale s4", "text": "", "words": "palest: the 95 % interval covers 0"})
    elif any(not np.isfinite(cell.low) for cell in cells):
        items.append({"classes": "pale s4", "text": "", "words": "pale: no interval is known"})
    positions = [(row, column) for row in range(len(drawn.sources)) for column in range(len(drawn.targets))]
    if any(drawn.is_diagonal(*position) for position in positions):
        items.append({"classes": "own", "text": "score", "words": "the target alone (baseline)"})
    if any(position not in drawn.cells and not drawn.is_diagonal(*position) for position in positions):
        items.append({"classes": "none", "text": "", "words": "no run"})
    return items
