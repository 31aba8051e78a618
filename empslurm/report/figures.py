"""The paper's figures as SVG and PNG: annotated heat maps and bars, colours that colour-blind readers tell apart.

Figures look alike everywhere: they are drawn under matplotlib's own defaults (`settings`), never under the user's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
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
# Rows, or columns, of a figure. 60 x 60 values that can be read make 34 x 22 inches (5,070 x 3,345 pixels), take some
# 15 s and 0.8 GB; 80 x 80 took 40 s and 1.3 GB. Nobody finds a row by eye in more, and the table has the numbers.
MOST = 60
LETTERS = 40  # of a name in a figure; the table has all of it
INCH_PER_LETTER = 0.058  # at 7 points
FONT = "DejaVu Sans"  # comes with matplotlib


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

    colour_map = LinearSegmentedColormap.from_list("own", list(colours))
    colour_map.set_bad(NOT_THERE)
    return colour_map


def _heat_map(table: Table, *, diverging: bool) -> Any:
    """An annotated heat map of a table: rows are sources, columns targets, in the table's order; grey: missing."""
    values = values_of(table)
    n_rows, n_columns = values.shape
    beside, below = (max(map(_inches, names), default=0.0) for names in (_row_names(table), _column_names(table)))
    figure = _figure(max(2.6, 1.3 + beside) + 0.52 * n_columns, max(1.9, 0.9 + below) + 0.34 * n_rows)
    axes = figure.subplots()
    _draw_heat(axes, table, values, diverging=diverging)
    axes.set_title(_short(f"{table.number} {table.title}".strip(), 4 * LETTERS), fontsize=9, wrap=True)
    return figure


def _gains_map(table: Table) -> Any:
    return _heat_map(table, diverging=True)


def _values_map(table: Table) -> Any:
    return _heat_map(table, diverging=False)


def _draw_heat(axes: Any, table: Table, values: NDArray[np.float64], *, diverging: bool) -> None:
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
    names, labels = _column_names(table), _row_names(table)
    axes.set_xticks(range(len(names)), names, rotation=55, ha="right", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    for at, row in enumerate(table.rows):
        for column, entry in enumerate(row[table.n_labels :]):
            value = values[at, column]
            dark = np.isfinite(value) and (abs(value) > 0.7 * reach if diverging else value > low + 0.6 * (high - low))
            axes.text(column, at, entry.text, ha="center", va="center", fontsize=6, color="white" if dark else "black")


def _importance_bars(table: Table) -> Any:
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
    axes.set_yticks(places, [_short(row[0].text) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel("drop in held-out R² when permuted", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def _theme_maps(table: Table) -> Any:
    """Figure 3: two heat maps of counts, source themes by target themes; gains left, harms right."""
    themes = _themes(table)
    names = list(map(_short, themes))
    figure = _figure(7, 3)
    for axes, column, diverging_end in zip(figure.subplots(1, 2), (2, 6), (DIVERGING[-2], DIVERGING[1]), strict=True):
        counts = np.array([float(str(row[column].raw)) for row in table.rows]).reshape(len(themes), len(themes))
        axes.imshow(counts, cmap=_map(("#ffffff", diverging_end)), vmin=0, vmax=max(1.0, float(counts.max())))
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
    figure = _figure(5.5, 3)
    axes = figure.subplots()
    width = 0.8 / counts.shape[1]
    for at in range(counts.shape[1]):
        places = np.arange(len(counts)) + width * (at - (counts.shape[1] - 1) / 2)
        bars = axes.bar(
            places, counts[:, at], width, color=BARS[at % len(BARS)], label=_short(f"differ by {table.head[0][at + 1]}")
        )
        axes.bar_label(bars, fmt="%d", fontsize=7)
    axes.set_xticks(range(len(counts)), [_short(row[0].text) for row in table.rows], fontsize=8)
    axes.set_ylabel("tasks", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """SVG and PNG; equal figures give equal SVG bytes."""
    paths = []
    for ending in ("svg", "png"):
        sink = io.BytesIO()
        with settings({"svg.hashsalt": name}):
            figure.savefig(sink, format=ending, dpi=DPI, metadata={"Date": None} if ending == "svg" else None)
        path = folder / f"{name}.{ending}"
        files.write_bytes(path, sink.getvalue())
        paths.append(path)
    return paths


def draw(table: Table) -> Any | None:
    """The figure that a table is the numbers of; None where it is a table only, or too large (`why_not` says it)."""
    kind = _kind(table)
    if kind is None or why_not(table):
        return None
    with settings():
        others = list(_fonts_for(_lacking(table)))
    with settings({"font.family": [FONT, *others]} if others else None):
        return kind(table)


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
    """What readers must know of a table's figure, as a sentence; empty where there is nothing, or no figure."""
    if _kind(table) is None or why_not(table):
        return ""
    with settings():
        letters = _lacking(table)
        missing = letters.difference(*(_letters_of(path) for path in _fonts_for(letters).values()))
    if not missing:
        return ""
    return (
        f"no font of this machine has some letters of {table.name} (such as {min(missing)}): its PNG shows boxes "
        "for them, its SVG keeps them as text"
    )


def _kind(table: Table) -> Callable[[Table], Any] | None:
    """What draws a table; None where it is a table only."""
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


def _row_names(table: Table) -> list[str]:
    return [" → ".join(_short(entry.text) for entry in row[: table.n_labels]) for row in table.rows]


def _column_names(table: Table) -> list[str]:
    names = [" ".join(filter(None, parts)) for parts in zip(*table.head, strict=True)]
    return [_short(name) for name in names[table.n_labels :]]


def _themes(table: Table) -> list[str]:
    return list(dict.fromkeys(row[0].text for row in table.rows))


def _short(name: str, most: int = LETTERS) -> str:
    """A name of at most `most` letters on one line, its middle left out; nothing in it that no picture can hold."""
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    shown = "".join("?" if unicodedata.category(letter) == "Cc" else letter for letter in line)
    if len(shown) <= most:
        return shown
    kept = most - 1
    return f"{shown[: kept - kept // 2]}…{shown[len(shown) - kept // 2 :]}"


def _inches(name: str) -> float:
    """How long a name is at 7 points; letters of East Asian scripts are twice as wide."""
    return INCH_PER_LETTER * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


# ---- matplotlib's settings and fonts --------------------------------------------------------------------------------


@contextlib.contextmanager
def settings(changes: dict[str, Any] | None = None) -> Iterator[None]:
    """matplotlib as it comes, with `changes`: no style, file or variable of the user decides.

    What it warns of is dropped.
    """
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matplotlib = _matplotlib()
            defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
            own = {"svg.fonttype": "none", "text.parse_math": False}  # a name may hold a $
            with matplotlib.rc_context({**defaults, **own, **(changes or {})}):
                yield
    finally:
        log.setLevel(level)


@cache
def _matplotlib() -> Any:
    """matplotlib, imported so that nobody's settings are read: a damaged one would already fail the import.

    The first settings file that it looks for is in the working folder; in its own data folder that is its defaults.
    """
    spec = importlib.util.find_spec("matplotlib")
    (home,) = (spec.submodule_search_locations or [""]) if spec else [""]
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        with contextlib.chdir(Path(home) / "mpl-data"):
            import matplotlib
            import matplotlib.figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return matplotlib


def _lacking(table: Table) -> frozenset[str]:
    """The letters of a table that the usual font does not have."""
    from matplotlib import font_manager

    texts = [table.title, table.number, *(name for line in table.head for name in line)]
    texts += [entry.text for row in table.rows for entry in row]
    letters = {letter for letter in _short("".join(texts), most=len("".join(texts)) + 1) if not letter.isspace()}
    return frozenset(letters - _letters_of(font_manager.findfont(FONT)))


def _fonts_for(letters: frozenset[str]) -> dict[str, str]:
    """Families of this machine that have letters which the usual font lacks, with their files; the best first."""
    from matplotlib import font_manager

    chosen: dict[str, str] = {}
    if not letters:
        return chosen
    there = {font.name: font.fname for font in font_manager.fontManager.ttflist if _is_plain(font)}
    while letters:
        useful = [(len(letters & _letters_of(path)), "Sans" in name, name) for name, path in there.items()]
        n_letters, _, name = max(useful, default=(0, False, ""))
        if not n_letters:
            break
        chosen[name] = there[name]
        letters -= _letters_of(there[name])
    return chosen


def _is_plain(font: Any) -> bool:
    """Whether a font has letters as outlines, upright and of the usual weight."""
    usable = "Emoji" not in font.name and "Last Resort" not in font.name
    return usable and font.style == "normal" and str(font.weight) in ("400", "normal", "regular")


@cache
def _letters_of(path: str) -> frozenset[str]:
    """The letters that a font file has; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
