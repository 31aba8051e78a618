"""Annotated heat maps: sources as rows, targets as columns; verdicts are marks, so no finding depends on colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.report.fonts import inches, short

NOT_THERE, DIAGONAL, HATCHING = "#bbbbbb", "#f0f0f0", "#a6a6a6"
FADED = 0.6  # share of white in a faded cell
MARKS = {"helps": "▲", "harms": "▼", "equivalent": "="}
HATCHES = {"undecided": "//", "inconclusive": ".."}
CELL = (0.44, 0.3)  # inches
SMALLEST = (1.6, 1.7)  # inches of all cells together, so that the colour bar stays readable
DARK = 0.5  # luminance below which text is white


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The content of a heat map; positions are (row, column), from 0."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_title: str
    column_title: str
    values: NDArray[np.float64]  # (n_rows, n_columns); NaN: no result
    texts: Mapping[tuple[int, int], str]
    colours: Sequence[str]
    low: float  # low and high: values of the first and the last colour, which also show values beyond
    high: float
    bar: str  # label of the colour bar, with the unit
    ticks: Mapping[float, str] = field(default_factory=dict)  # of the colour bar; empty: matplotlib's
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)  # verdicts
    diagonal: frozenset[tuple[int, int]] = frozenset()  # source = target
    faded: frozenset[tuple[int, int]] = frozenset()  # changes whose interval covers 0
    blank: bool = False  # cells without a result are white with a dashed border, else grey
    note: str = ""  # a sentence below the map

    @property
    def missing(self) -> frozenset[tuple[int, int]]:
        """Cells without a result."""
        return frozenset(zip(*np.nonzero(~np.isfinite(self.values)), strict=True)) - self.diagonal

    @property
    def hatched(self) -> Mapping[tuple[int, int], str]:
        """Verdicts shown by hatching; none where all pairs have the same verdict, which the legend then names."""
        if len({*self.marks.values()}) < 2:
            return {}
        return {at: verdict for at, verdict in self.marks.items() if verdict in HATCHES}


def blank_figure(width: float, height: float) -> Any:
    """An empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def colour_map(colours: Sequence[str]) -> Any:
    """A colour scale through these colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("own", list(colours))


def rounded(reach: float) -> float:
    """`reach` rounded up to two digits, for the end of a scale."""
    if not reach > 0:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(reach)) - 1)
    return float(f"{math.ceil(reach / unit - 1e-9) * unit:.6g}")


def ends(reach: float, *, clipped: bool) -> dict[float, str]:
    """Ticks of a scale of changes; its ends are labelled worse and better."""
    size, half = f"{reach:.2g}", f"{reach / 2:.2g}"
    if reach >= 100:
        size, half = f"{reach:.0f}", f"{reach / 2:.0f}"
    more = " or more" if clipped else ""
    return {
        -reach: f"−{size}{more}\n(worse)",
        -reach / 2: f"−{half}",
        0.0: "0",
        reach / 2: f"+{half}",
        reach: f"+{size}{more}\n(better)",
    }


def size_of(shape: tuple[int, ...], *, left: float, below: float) -> tuple[float, float]:
    """Width and height in inches of a map with `shape` cells; `left`, `below`: inches for the names."""
    width, height = max(SMALLEST[0], CELL[0] * shape[1]), max(SMALLEST[1], CELL[1] * shape[0])
    return max(1.9 + left, 3.0) + width, 1.5 + 0.85 * below + height


def draw(chart: HeatMap) -> Any:
    """Draw the figure of a heat map."""
    left, below = (max(map(inches, names), default=0.0) for names in (chart.rows, chart.columns))
    figure = blank_figure(*size_of(chart.values.shape, left=left, below=below))
    handles = _legend(chart)
    axes = figure.subplots()
    _draw_cells(axes, chart)
    _draw_names(axes, chart)
    _draw_bar(figure, axes, chart)
    if handles:
        n_beside = max(1, min(len(handles), int(figure.get_size_inches()[0] / 1.9)))
        figure.legend(handles=handles, loc="outside lower center", ncols=n_beside, fontsize=7.5, frameon=False)
    return figure


def _draw_cells(axes: Any, chart: HeatMap) -> None:
    from matplotlib.patches import Rectangle

    n_rows, n_columns = chart.values.shape
    colours = _cell_colours(chart)
    axes.pcolormesh(np.arange(n_columns + 1) - 0.5, np.arange(n_rows + 1) - 0.5, colours, edgecolors="white", lw=0.5)
    for (row, column), verdict in chart.hatched.items():
        hatch: dict[str, Any] = {"hatch": HATCHES[verdict], "edgecolor": HATCHING, "linewidth": 0}
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, **hatch))
    if chart.blank:
        for row, column in sorted(chart.missing):
            axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, **_DASHED))
    hatched = chart.hatched
    for at, words in chart.texts.items():
        _draw_text(axes, chart, at, words, colours[at], over_hatching=at in hatched)
    axes.set_xlim(-0.5, n_columns - 0.5)
    axes.set_ylim(n_rows - 0.5, -0.5)
    for drawn in (*axes.texts, *axes.patches):
        drawn.set_in_layout(False)  # they are inside the axes; checking thousands of them takes long


_DASHED: dict[str, Any] = {"fill": False, "edgecolor": NOT_THERE, "linewidth": 0.6, "linestyle": (0, (3, 3))}


def _draw_text(
    axes: Any, chart: HeatMap, at: tuple[int, int], words: str, colour: NDArray[np.float64], *, over_hatching: bool
) -> None:
    """Draw a cell's number, and the sign of its verdict in the corner."""
    row, column = at
    light = float(colour[:3] @ (0.2126, 0.7152, 0.0722)) >= DARK
    ink = "#777777" if at in chart.diagonal else "black" if light else "white"
    ground = {"facecolor": tuple(colour), "edgecolor": "none", "pad": 0.6} if over_hatching else None
    axes.text(column, row, words, ha="center", va="center", fontsize=6.5, color=ink, bbox=ground)
    sign = MARKS.get(chart.marks.get(at, ""))
    if sign:
        axes.text(column + 0.46, row - 0.44, sign, ha="right", va="top", fontsize=5, color=ink)


def _cell_colours(chart: HeatMap) -> NDArray[np.float64]:
    """Red, green, blue and opacity, (n_rows, n_columns, 4)."""
    from matplotlib.colors import Normalize, to_rgba

    scale = Normalize(chart.low, chart.high if chart.high > chart.low else chart.low + 1.0, clip=True)
    colours = np.asarray(colour_map(chart.colours)(scale(np.nan_to_num(chart.values, nan=chart.low))), dtype=np.float64)
    for at in chart.faded:
        colours[at] = FADED * np.ones(4) + (1 - FADED) * colours[at]
    for at in chart.missing:
        colours[at] = to_rgba("white" if chart.blank else NOT_THERE)
    for at in chart.diagonal:
        colours[at] = to_rgba(DIAGONAL)
    return colours


def _draw_names(axes: Any, chart: HeatMap) -> None:
    axes.set_xticks(
        range(len(chart.columns)), chart.columns, rotation=55, ha="right", rotation_mode="anchor", fontsize=7.5
    )
    axes.set_yticks(range(len(chart.rows)), chart.rows, fontsize=7.5)
    axes.tick_params(length=2)
    axes.set_xlabel(chart.column_title, fontsize=9)
    axes.set_ylabel(chart.row_title, fontsize=9)
    axes.set_title(short(chart.title, 160), fontsize=9, wrap=True)


def _draw_bar(figure: Any, axes: Any, chart: HeatMap) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = Normalize(chart.low, chart.high if chart.high > chart.low else chart.low + 1.0)
    bar = figure.colorbar(ScalarMappable(scale, colour_map(chart.colours)), ax=axes, aspect=25, fraction=0.05, pad=0.02)
    if chart.ticks:
        bar.set_ticks(list(chart.ticks), labels=list(chart.ticks.values()))
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label(chart.bar, fontsize=8)
    bar.outline.set_visible(False)


def _legend(chart: HeatMap) -> list[Any]:
    """Legend entries for the marks that occur."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def words(label: str) -> Any:
        return Line2D([], [], linestyle="none", label=label)

    verdicts = {*chart.marks.values()}
    handles = [words(f"{sign} {verdict}") for verdict, sign in MARKS.items() if verdict in verdicts]
    hatched = {*chart.hatched.values()}
    for verdict, hatch in HATCHES.items():
        if verdict in hatched:
            handles.append(Patch(facecolor="white", edgecolor=HATCHING, hatch=hatch, linewidth=0.5, label=verdict))
        elif verdict in verdicts:
            handles.append(words(f"all pairs are {verdict}"))
    if chart.faded:
        pale = FADED * np.ones(3) + (1 - FADED) * np.array(colour_map(chart.colours)(1.0)[:3])
        handles.append(Patch(facecolor=tuple(pale), label="pale: the 95 % interval covers 0"))
    if chart.diagonal:
        label = "source = target: the baseline" if chart.blank else "source = target"
        handles.append(Patch(facecolor=DIAGONAL, edgecolor="#dddddd", label=label))
    if chart.missing:
        handles.append(
            Patch(**_DASHED, label="no result") if chart.blank else Patch(color=NOT_THERE, label="no result")
        )
    return [*handles, *([words(chart.note)] if chart.note else [])]
