"""The paper's figures and the overview as SVG, PNG and PDF, in colours that colour-blind readers can distinguish."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm import files
from empslurm.report import fonts, heat_maps
from empslurm.report.fonts import short
from empslurm.report.formats import Table
from empslurm.report.heat_maps import HeatMap
from empslurm.report.marks import Marks
from empslurm.report.overview import MOST, Overview

DIVERGING = ("#b35806", "#f1a340", "#fee0b6", "#f7f7f7", "#d1e5f0", "#67a9cf", "#2166ac")  # orange: harm, blue: gain
SEQUENTIAL = ("#fcfbfd", "#dadaeb", "#9e9ac8", "#6a51a3", "#3f007d")
BARS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
DPI = 150
PIXELS = 4_000  # at most, per side: larger pictures open slowly, or not at all


def values_of(table: Table) -> NDArray[np.float64]:
    """A table's numbers, (n_rows, n_columns); NaN where an entry is not a number."""
    rows = [
        [entry.raw if isinstance(entry.raw, int | float) else np.nan for entry in row[table.n_labels :]]
        for row in table.rows
    ]
    return np.array(rows, dtype=np.float64).reshape(len(table.rows), len(table.columns) - table.n_labels)


def _gains_map(table: Table, marks: Marks | None = None) -> Any:
    """Figures 6 and 7: improvements in percent of the baseline, with the verdicts where they are known."""
    values = values_of(table)
    finite = np.abs(values[np.isfinite(values)])
    # The scale fits 95 % of the entries: one collapsed run must not make all others look the same.
    reach = heat_maps.rounded(float(np.quantile(finite, 0.95))) if len(finite) else 1.0
    targets = table.columns[table.n_labels :]
    sources = marks.sources if marks else tuple(row[0].text for row in table.rows)
    named = targets if marks else tuple(" ".join(filter(None, line)) for line in _columns(table))
    return heat_maps.draw(
        HeatMap(
            title=table.title,
            rows=_row_names(table),
            columns=_column_names(table),
            row_title="source",
            column_title="target",
            values=values,
            texts=_cell_texts(table),
            colours=DIVERGING,
            low=-reach,
            high=reach,
            bar="change in % of the baseline",
            ticks=heat_maps.ends(reach, clipped=bool((finite > reach).any())),
            marks=marks.of(targets) if marks else {},
            diagonal=frozenset(
                (row, at) for row, source in enumerate(sources) for at, target in enumerate(named) if source == target
            ),
        )
    )


def _values_map(table: Table) -> Any:
    """Figures 9 and 10: how similar tasks are."""
    values = values_of(table)
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=0)), float(finite.max(initial=1))
    ranks = table.name.startswith("figure10")
    return heat_maps.draw(
        HeatMap(
            title=table.title,
            rows=_row_names(table),
            columns=_column_names(table),
            row_title="task",
            column_title="task",
            values=values,
            texts=_cell_texts(table),
            colours=SEQUENTIAL,
            low=low,
            high=high,
            bar="rank (1: most similar to the row's task)" if ranks else "cosine similarity",
        )
    )


def overview_map(overview: Overview) -> HeatMap:
    """The heat map of an overview."""
    shape = (len(overview.sources), len(overview.targets))
    values = np.full(shape, np.nan)
    for at, cell in overview.cells.items():
        values[at] = cell.change
    diagonal = frozenset(at for at in np.ndindex(shape) if overview.is_diagonal(*at))
    return HeatMap(
        title=overview.title,
        rows=tuple(map(short, overview.sources)),
        columns=tuple(map(short, overview.targets)),
        row_title="source",
        column_title="target",
        values=values,
        texts={at: cell.text for at, cell in overview.cells.items()}
        | {at: overview.baselines[at[1]] for at in diagonal},
        colours=DIVERGING,
        low=-overview.reach,
        high=overview.reach,
        bar=f"change in {overview.unit}",
        ticks=heat_maps.ends(overview.reach, clipped=overview.clipped),
        marks={at: cell.verdict for at, cell in overview.cells.items()},
        diagonal=diagonal,
        faded=frozenset(at for at, cell in overview.cells.items() if cell.faded),
        blank=True,
        note=overview.cut,
    )


def _cell_texts(table: Table) -> dict[tuple[int, int], str]:
    return {
        (index, column): entry.text
        for index, row in enumerate(table.rows)
        for column, entry in enumerate(row[table.n_labels :])
    }


def _texts(table: Table) -> list[str]:
    """All texts that a table's figure may print."""
    heads = [name for line in table.head for name in line]
    return [table.title, *heads, *(entry.text for row in table.rows for entry in row)]


def _importance_bars(table: Table) -> Any:
    """Figure 2: importances with their spread, next to the printed ones where the table has them."""
    rows = [row for row in table.rows if isinstance(row[1].raw, float)]
    figure = heat_maps.blank_figure(6.5, 0.6 + 0.42 * len(rows))
    axes = figure.subplots()
    positions = np.arange(len(rows))
    ours = [float(str(row[1].raw)) for row in rows]
    spread = [float(row[1].text.split("±")[1]) for row in rows]
    compared = "printed" in table.columns
    offset = 0.2 if compared else 0.0
    axes.barh(positions - offset, ours, 0.38, xerr=spread, color=BARS[0], label="here", error_kw={"linewidth": 0.8})
    if compared:
        printed = [row[2].raw if isinstance(row[2].raw, float) else np.nan for row in rows]
        axes.barh(positions + offset, printed, 0.38, color=BARS[1], label="printed in the paper")
    axes.set_yticks(positions, [short(row[0].text) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel("drop in held-out R² when permuted", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def _theme_maps(table: Table) -> Any:
    """Figure 3: two heat maps of counts, source themes by target themes; gains on the left, harms on the right."""
    themes = _themes(table)
    names = list(map(short, themes))
    figure = heat_maps.blank_figure(7, 3)
    for axes, column, diverging_end in zip(figure.subplots(1, 2), (2, 6), (DIVERGING[-2], DIVERGING[1]), strict=True):
        counts = np.array([float(str(row[column].raw)) for row in table.rows]).reshape(len(themes), len(themes))
        colours = heat_maps.colour_map(("#ffffff", diverging_end))
        image = axes.imshow(counts, cmap=colours, vmin=0, vmax=max(1.0, float(counts.max())))
        figure.colorbar(image, ax=axes, shrink=0.7).set_label("pairs", fontsize=8)
        axes.set_xticks(range(len(themes)), names, fontsize=8)
        axes.set_yticks(range(len(themes)), names, fontsize=8)
        axes.set_xlabel("target", fontsize=8)
        axes.set_ylabel("source", fontsize=8)
        axes.set_title(f"{table.head[0][column]} (of n pairs)", fontsize=8)
        for at, row in enumerate(table.rows):
            label = f"{row[column].text} of {row[10].text}"
            axes.text(at % len(themes), at // len(themes), label, ha="center", va="center", fontsize=8)
    return figure


def _count_bars(table: Table) -> Any:
    """Figure 8: bars of counts, one group per aspect."""
    counts = values_of(table)
    figure = heat_maps.blank_figure(5.5, 3)
    axes = figure.subplots()
    width = 0.8 / counts.shape[1]
    for at in range(counts.shape[1]):
        left = np.arange(len(counts)) + width * (at - (counts.shape[1] - 1) / 2)
        bars = axes.bar(
            left, counts[:, at], width, color=BARS[at % len(BARS)], label=short(f"differ by {table.head[0][at + 1]}")
        )
        axes.bar_label(bars, fmt="%d", fontsize=7)
    axes.set_xticks(range(len(counts)), [short(row[0].text) for row in table.rows], fontsize=8)
    axes.set_ylabel("tasks", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def save(figure: Any, folder: Path, name: str, endings: Sequence[str] = ("svg", "png", "pdf")) -> list[Path]:
    """Write SVG, PNG and PDF; equal figures give equal SVG and PDF bytes."""
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = []
    for ending in endings:
        sink = io.BytesIO()
        with fonts.settings({"svg.hashsalt": name}):
            figure.savefig(sink, format=ending, dpi=_dpi(figure), metadata=dated.get(ending))
        path = folder / f"{name}.{ending}"
        files.write_bytes(path, sink.getvalue())
        paths.append(path)
    return paths


def _dpi(figure: Any) -> float:
    """Dots per inch, fewer where a picture would have more than `PIXELS` per side."""
    return min(float(DPI), PIXELS / float(max(figure.get_size_inches())))


def draw(table: Table, marks: Marks | None = None) -> Any | None:
    """The figure of a table; None where it has none, or is too large (`why_not` gives the reason).

    `marks`: the verdicts on the pairs of an improvement map.
    """
    kind = _kind(table)
    if kind is None or why_not(table):
        return None
    return fonts.drawn(lambda: kind(table, marks) if kind is _gains_map else kind(table), _texts(table))


def draw_overview(overview: Overview) -> Any:
    """The figure of an overview: sources by targets, the change as colour and number, the verdict as a mark."""
    chart = overview_map(overview)
    return fonts.drawn(lambda: heat_maps.draw(chart), [chart.title, *chart.rows, *chart.columns, chart.bar])


def has_figure(table: Table) -> bool:
    """Whether a table has the numbers of a figure, even if it is too large to draw."""
    return _kind(table) is not None


def why_not(table: Table) -> str:
    """Why a table's figure is not drawn, as a sentence; empty where it is, or where the table has none."""
    kind = _kind(table)
    if kind is None:
        return ""
    size = (len(_themes(table)),) * 2 if kind is _theme_maps else (len(table.rows), len(table.columns) - table.n_labels)
    if max(size) <= MOST:
        return ""
    return (
        f"a figure must have at most {MOST} rows and columns to be read, but {table.name} has {size[0]:,} and "
        f"{size[1]:,}; {table.name}.csv has its numbers"
    )


def note(table: Table) -> str:
    """A warning about a table's figure, as a clause; "" where there is none, or no figure."""
    if _kind(table) is None or why_not(table):
        return ""
    missing = fonts.missing(_texts(table))
    if not missing:
        return ""
    return (
        f"no font of this machine has some letters of {table.name} (such as {min(missing)}): its PNG and PDF show "
        "boxes in their place; its SVG keeps them as text"
    )


def _kind(table: Table) -> Callable[..., Any] | None:
    """The function that draws a table; None where it has no figure."""
    name = table.name
    if name.startswith("figure2") or name == "table6":
        return _importance_bars
    if name.startswith("figure3"):
        return _theme_maps
    if name.startswith(("figure6", "figure7")) and not name.endswith("versus-printed"):
        return _gains_map
    if name.startswith("figure8"):
        return _count_bars
    if name.startswith(("figure9", "figure10")):
        return _values_map
    return None


# ---- names ----------------------------------------------------------------------------------------------------------


def _row_names(table: Table) -> tuple[str, ...]:
    return tuple(" → ".join(short(entry.text) for entry in row[: table.n_labels]) for row in table.rows)


def _columns(table: Table) -> list[tuple[str, ...]]:
    """The header lines of each column of numbers."""
    return list(zip(*table.head, strict=True))[table.n_labels :]


def _column_names(table: Table) -> tuple[str, ...]:
    return tuple(short(" ".join(filter(None, line))) for line in _columns(table))


def _themes(table: Table) -> list[str]:
    return list(dict.fromkeys(row[0].text for row in table.rows))
