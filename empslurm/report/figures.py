"""The paper's figures as SVG and PNG: annotated heat maps and bars, colours that colour-blind readers tell apart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm import files
from empslurm.report.formats import Table

DIVERGING = ("#b35806", "#f1a340", "#fee0b6", "#f7f7f7", "#d1e5f0", "#67a9cf", "#2166ac")  # orange: harm, blue: gain
SEQUENTIAL = ("#fcfbfd", "#dadaeb", "#9e9ac8", "#6a51a3", "#3f007d")
BARS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
NOT_THERE = "#bbbbbb"
DPI = 150


def values_of(table: Table) -> NDArray[np.float64]:
    """A table's numbers, (n_rows, n_columns); NaN where a cell has none."""
    rows = [
        [entry.raw if isinstance(entry.raw, int | float) else np.nan for entry in row[table.n_labels :]]
        for row in table.rows
    ]
    return np.array(rows, dtype=np.float64).reshape(len(table.rows), len(table.columns) - table.n_labels)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _map(colours: Sequence[str]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    made = LinearSegmentedColormap.from_list("own", list(colours))
    made.set_bad(NOT_THERE)
    return made


def heat_map(table: Table, *, diverging: bool, title: str = "") -> Any:
    """An annotated heat map of a table: rows are sources, columns targets, in the table's order; grey: missing."""
    values = values_of(table)
    n_rows, n_columns = values.shape
    figure = _figure(2.6 + 0.52 * n_columns, 1.9 + 0.34 * n_rows)
    axes = figure.subplots()
    draw_heat(axes, table, values, diverging=diverging)
    axes.set_title(title or f"{table.number} {table.title}".strip(), fontsize=9, wrap=True)
    return figure


def draw_heat(axes: Any, table: Table, values: NDArray[np.float64], *, diverging: bool) -> None:
    """Colours, annotations and names on given axes."""
    finite = values[np.isfinite(values)]
    # The scale is that of most cells: one collapsed run must not make all others look alike.
    reach = float(np.quantile(np.abs(finite), 0.95)) if len(finite) else 1.0
    low, high = (-reach, reach) if diverging else (float(finite.min(initial=0)), float(finite.max(initial=1)))
    high = high if high > low else low + 1.0
    axes.imshow(
        np.ma.masked_invalid(values),
        cmap=_map(DIVERGING if diverging else SEQUENTIAL),
        vmin=low,
        vmax=high,
        aspect="auto",
    )
    names = [" ".join(filter(None, parts)) for parts in zip(*table.head, strict=True)][table.n_labels :]
    axes.set_xticks(range(len(names)), names, rotation=55, ha="right", fontsize=7)
    labels = [" → ".join(entry.text for entry in row[: table.n_labels]) for row in table.rows]
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    for at, row in enumerate(table.rows):
        for place, entry in enumerate(row[table.n_labels :]):
            value = values[at, place]
            dark = np.isfinite(value) and (abs(value) > 0.7 * reach if diverging else value > low + 0.6 * (high - low))
            axes.text(place, at, entry.text, ha="center", va="center", fontsize=6, color="white" if dark else "black")


def importance_bars(table: Table) -> Any:
    """Figure 2: importances with their spread, the printed ones beside."""
    rows = [row for row in table.rows if isinstance(row[1].raw, float)]
    figure = _figure(6.5, 0.6 + 0.42 * len(rows))
    axes = figure.subplots()
    places = np.arange(len(rows))
    ours = [float(str(row[1].raw)) for row in rows]
    spread = [float(row[1].text.split("±")[1]) for row in rows]
    axes.barh(places - 0.2, ours, 0.38, xerr=spread, color=BARS[0], label="here", error_kw={"linewidth": 0.8})
    printed = [row[2].raw if isinstance(row[2].raw, float) else np.nan for row in rows]
    axes.barh(places + 0.2, printed, 0.38, color=BARS[1], label="printed in the paper")
    axes.set_yticks(places, [row[0].text for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel("drop in held-out R² when permuted", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def theme_maps(table: Table) -> Any:
    """Figure 3: two heat maps of counts, source themes by target themes; gains left, harms right."""
    themes = list(dict.fromkeys(row[0].text for row in table.rows))
    figure = _figure(7, 3)
    for axes, column, diverging_end in zip(figure.subplots(1, 2), (2, 6), (DIVERGING[-2], DIVERGING[1]), strict=True):
        counts = np.array([float(str(row[column].raw)) for row in table.rows]).reshape(len(themes), len(themes))
        axes.imshow(counts, cmap=_map(("#ffffff", diverging_end)), vmin=0, vmax=max(1.0, float(counts.max())))
        axes.set_xticks(range(len(themes)), themes, fontsize=8)
        axes.set_yticks(range(len(themes)), themes, fontsize=8)
        axes.set_xlabel("target", fontsize=8)
        axes.set_ylabel("source", fontsize=8)
        axes.set_title(f"{table.head[0][column]} (of n pairs)", fontsize=8)
        for at, row in enumerate(table.rows):
            label = f"{row[column].text} of {row[10].text}"
            axes.text(at % len(themes), at // len(themes), label, ha="center", va="center", fontsize=8)
    return figure


def count_bars(table: Table) -> Any:
    """Figure 8: bars of counts, one group per aspect."""
    counts = values_of(table)
    figure = _figure(5.5, 3)
    axes = figure.subplots()
    width = 0.8 / counts.shape[1]
    for at in range(counts.shape[1]):
        places = np.arange(len(counts)) + width * (at - (counts.shape[1] - 1) / 2)
        bars = axes.bar(
            places, counts[:, at], width, color=BARS[at % len(BARS)], label=f"differ by {table.head[0][at + 1]}"
        )
        axes.bar_label(bars, fmt="%d", fontsize=7)
    axes.set_xticks(range(len(counts)), [row[0].text for row in table.rows], fontsize=8)
    axes.set_ylabel("tasks", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """SVG and PNG; equal figures give equal SVG bytes."""
    import matplotlib

    made = []
    for ending in ("svg", "png"):
        sink = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(sink, format=ending, dpi=DPI, metadata={"Date": None} if ending == "svg" else None)
        path = folder / f"{name}.{ending}"
        files.write_bytes(path, sink.getvalue())
        made.append(path)
    return made


def draw(table: Table) -> Any | None:
    """The figure that a table is the numbers of; None where it is a table only."""
    name = table.name
    if name.startswith("figure2") or name == "table6":
        return importance_bars(table)
    if name.startswith("figure3"):
        return theme_maps(table)
    if name.startswith(("figure6", "figure7")) and not name.endswith("versus-printed"):
        return heat_map(table, diverging=True)
    if name.startswith("figure8"):
        return count_bars(table)
    if name.startswith(("figure9", "figure10")):
        return heat_map(table, diverging=False)
    return None
