"""The document and the pieces of a page: escaped text, sortable tables, heat maps with hover values, bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from empslurm.report.figures import DIVERGING, SEQUENTIAL, values_of
from empslurm.report.formats import Entry, Table

HERE = Path(__file__).parent
# Nothing may be loaded, from anywhere: what a page needs is in it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

Tip = Callable[[int, int], str]  # row and column of a heat map -> what hovering says


def document(title: str, body: str) -> str:
    """A whole page around its body, with the style and script that the pieces below need."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{(HERE / 'report.css').read_text()}</style>"
    )
    inside = body + '<div id="tip" role="tooltip" hidden></div>'
    script = f"<script>{(HERE / 'report.js').read_text()}</script>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{inside}{script}</body></html>\n'


def warning(text: str) -> str:
    """What a reader must not miss."""
    return paragraph(text, class_="warn")


def element(name: str, inside: str, **attributes: str) -> str:
    """An element; `inside` is markup already, attributes are text. A trailing underscore in a name is dropped."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{inside}</{name}>"


def paragraph(text: str, **attributes: str) -> str:
    """Text as a paragraph."""
    return element("p", escape(text), **attributes)


def heading(level: int, text: str, **attributes: str) -> str:
    """A heading."""
    return element(f"h{level}", escape(text), **attributes)


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Large numbers with what they count."""
    pieces = [
        element("div", f"<b>{escape(value)}</b><span>{escape(name)}</span>", class_="fact") for value, name in pairs
    ]
    return element("div", "".join(pieces), class_="facts")


def definitions(pairs: Mapping[str, str]) -> str:
    """Names and values."""
    return element("dl", "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs.items()))


def titled(table: Table) -> str:
    """A table's title with its number in the paper."""
    return f"{table.number}: {table.title}" if table.number else table.title


def sortable(table: Table, identifier: str, *, tall: bool = False) -> str:
    """A table that sorts by any column and downloads as CSV."""
    head = "".join(_header(table, at) for at in range(len(table.columns)))
    body = "".join(
        element("tr", "".join(_cell(entry, left=at < table.n_labels) for at, entry in enumerate(row)))
        for row in table.rows
    )
    markup = element("table", f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>", id=identifier)
    return (
        heading(3, titled(table))
        + paragraph(table.caption, class_="caption")
        + element("div", markup, class_="wide tall" if tall else "wide")
        + element("button", "download as CSV", class_="get", type="button", data_table=identifier)
    )


def _header(table: Table, at: int) -> str:
    name = " ".join(dict.fromkeys(part for line in table.head if (part := line[at])))
    style = {"class_": "l"} if at < table.n_labels else {}
    return element(
        "th", element("button", escape(name), type="button"), data_name=table.columns[at], scope="col", **style
    )


def _cell(entry: Entry, *, left: bool, **attributes: str) -> str:
    inside = escape(entry.text)
    inside = f"<u>{inside}</u>" if entry.underlined else inside
    inside = f"<b>{inside}</b>" if entry.bold else inside
    numeric = isinstance(entry.raw, int | float)
    if numeric:
        attributes["data_v"] = "" if entry.raw != entry.raw else repr(entry.raw)
    elif entry.text == "—":
        attributes["data_v"] = ""
    classes = (["l"] if left or not numeric else []) + (["said"] if len(entry.text) > 40 else [])
    if classes and "class_" not in attributes:
        attributes["class_"] = " ".join(classes)
    return element("td", inside, **attributes)


def heat_map(table: Table, identifier: str, tip: Tip, *, diverging: bool, unit: str) -> str:
    """A table whose cells are coloured by value and say more when hovered."""
    values = values_of(table)
    finite = values[np.isfinite(values)]
    reach = float(np.quantile(np.abs(finite), 0.95)) if len(finite) else 1.0
    low, high = (-reach, reach) if diverging else _ends(finite)
    colours = DIVERGING if diverging else SEQUENTIAL
    rows = []
    for at, row in enumerate(table.rows):
        cells = [_cell(row[0], left=True)]
        for column, entry in enumerate(row[1:]):
            style = _colour(values[at, column], low, high, colours)
            said = tip(at, column)
            extra = {"data_tip": said} if said else {}
            cells.append(_cell(entry, left=False, **style, **extra))
        rows.append(element("tr", "".join(cells)))
    head = "".join(_header(table, at) for at in range(len(table.columns)))
    markup = element(
        "table", f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>", id=identifier, class_="heat"
    )
    bar = f"linear-gradient(90deg, {', '.join(colours)})"
    ends = f"{high:.3g} {escape(unit)}; striped: missing; colours end at the 95th percentile"
    scale = f'{low:.3g} <i style="background: {bar}"></i> {ends}'
    return (
        heading(3, titled(table))
        + paragraph(table.caption, class_="caption")
        + element("div", scale, class_="scale")
        + element("div", markup, class_="wide")
        + element("button", "download as CSV", class_="get", type="button", data_table=identifier)
    )


def _ends(finite: NDArray[np.float64]) -> tuple[float, float]:
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _colour(value: float, low: float, high: float, colours: Sequence[str]) -> dict[str, str]:
    if not np.isfinite(value):
        return {"class_": "none"}
    position = min(1.0, max(0.0, (value - low) / (high - low) if high > low else 0.5)) * (len(colours) - 1)
    at = min(int(position), len(colours) - 2)
    lower, upper = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in colours[at : at + 2])
    mixed = lower + (position - at) * (upper - lower)
    dark = float(mixed @ np.array([0.299, 0.587, 0.114])) < 130
    red, green, blue = (round(float(part)) for part in mixed)
    return {"style": f"background: #{red:02x}{green:02x}{blue:02x}; color: {'#fff' if dark else '#111'}"}


def bars(rows: Sequence[tuple[str, float, float, str]]) -> str:
    """Name, value, printed value (NaN: none), what hovering says; a bar per row."""
    top = max([abs(value) for _, value, before, _ in rows for value in (value, before) if value == value] or [1.0])
    pieces = []
    for name, value, before, said in rows:
        inside = f'<i style="left: 0; width: {100 * max(0.0, value) / top:.1f}%"></i>' if value == value else ""
        if before == before:
            inside += f'<i class="before" style="left: 0; width: {100 * max(0.0, before) / top:.1f}%"></i>'
        shown = "—" if value != value else f"{value:.3f}"
        pieces.append(
            f"<span>{escape(name)}</span>"
            + element("div", inside, class_="bar", data_tip=said)
            + f"<span>{shown}</span>"
        )
    return element("div", "".join(pieces), class_="bars")
