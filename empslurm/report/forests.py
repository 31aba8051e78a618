"""Forest plots of single pairs: every lab's change, the pooled one, and that of all runs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from empslurm.gather.results import folder_name
from empslurm.metrics import METRICS
from empslurm.report import figures, fonts, heat_maps
from empslurm.report.fonts import short
from empslurm.report.formats import shown
from empslurm.report.pooling import PooledPair, Pooling
from empslurm.report.tables import title_of
from empslurm.report.verdict_tables import part_name
from empslurm.tasks import Registry

FOLDER = "forests"
MOST_DRAWN = 60  # figures; the table `pooled-labs` has every pair
MOST_LABS = 40  # rows of a plot
MARGIN = 3.0  # percent of a strip's width left free at each end


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a forest plot, in the target's metric. `kind`: lab, pooled, or together (all runs analysed as one)."""

    name: str
    kind: str
    value: float
    low: float  # NaN: no interval
    high: float
    weight: float = float("nan")

    @property
    def numbers(self) -> str:
        """The value and its interval as printed."""
        said = shown(self.value, 3, short=True, signed=True)
        if not np.isfinite(self.low):
            return said
        ends = (shown(end, 3, short=True, signed=True) for end in (self.low, self.high))
        return said + " [{}, {}]".format(*ends)


def rows_of(pair: PooledPair) -> tuple[Row, ...]:
    """The labs in their order, then the pooled change, then that of all runs together."""
    labs = [
        Row(
            name=one.lab,
            kind="lab",
            value=one.difference,
            low=one.low,
            high=one.high,
            weight=pair.weights.get(one.lab, 0.0),
        )
        for one in pair.estimates
    ]
    pooled = pair.pooled
    ends = [Row(name="pooled over labs", kind="pooled", value=pooled.estimate, low=pooled.low, high=pooled.high)]
    if np.isfinite(pair.together[0]):
        value, low, high = pair.together
        ends.append(Row(name="all runs together", kind="together", value=value, low=low, high=high))
    return (*labs[:MOST_LABS], *ends)


def in_order(pooling: Pooling) -> tuple[PooledPair, ...]:
    """Pooled pairs, the most interesting first: where labs differ, then those that help or harm, then by size."""
    return tuple(
        sorted(
            pooling.pooled,
            key=lambda pair: (
                not pair.differs,
                pair.verdict not in ("helps", "harms"),
                -abs(pair.pooled.estimate / pair.pooled.standard_error),
            ),
        )
    )


def name_of(pair: PooledPair) -> str:
    """The name of a pair's files."""
    return folder_name(f"{pair.source}--{pair.target}") + part_name(pair.fraction)


def save(pooling: Pooling | None, folder: Path) -> list[Path]:
    """Draw the first pairs by interest into `folder`/forests; return the paths."""
    if pooling is None:
        return []
    paths = []
    for pair in in_order(pooling)[:MOST_DRAWN]:
        paths += figures.save(draw(pair, pooling.registry), folder / FOLDER, name_of(pair), ("svg", "png"))
    return paths


def draw(pair: PooledPair, registry: Registry) -> Any:
    """The figure of one pair."""
    rows = rows_of(pair)
    title = f"{title_of(pair.source, registry)} → {title_of(pair.target, registry)}"
    label = f"change in {METRICS[pair.metric].title}"
    return fonts.drawn(lambda: _draw(pair, rows, short(title), label), [title, label, *(row.name for row in rows)])


COLOURS: Mapping[str, str] = {"lab": "#444444", "pooled": "#2166ac", "together": "#b35806"}


def _draw(pair: PooledPair, rows: Sequence[Row], title: str, label: str) -> Any:
    figure = heat_maps.blank_figure(7, 1.3 + 0.28 * len(rows))
    axes = figure.subplots()
    for at, row in enumerate(rows):
        colour = COLOURS[row.kind]
        if np.isfinite(row.low):
            axes.plot([row.low, row.high], [at, at], color=colour, lw=1.2, solid_capstyle="butt")
        if row.kind == "lab":
            size = 12 + 60 * (row.weight if np.isfinite(row.weight) else 0.0)
            axes.scatter([row.value], [at], s=size, marker="s", color=colour)
        else:
            axes.scatter([row.value], [at], s=50, marker="D", color=colour)
    if np.isfinite(pair.pooled.prediction_low):
        at = next(at for at, row in enumerate(rows) if row.kind == "pooled")
        ends = [pair.pooled.prediction_low, pair.pooled.prediction_high]
        axes.plot(ends, [at + 0.28] * 2, color=COLOURS["pooled"], lw=0.8, ls=(0, (3, 2)))
    axes.axvline(0, color="black", lw=0.6)
    names = [f"{short(row.name, 28)}  {row.numbers}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axhline(sum(row.kind == "lab" for row in rows) - 0.5, color="#bbbbbb", lw=0.6)
    axes.set_xlabel(f"{label} (squares: weights; dashed: another lab)", fontsize=7.5)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_title(f"{title}: {pair.verdict}; {pair.difference}", fontsize=8.5, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def strips(pair: PooledPair) -> Mapping[str, Any]:
    """The plot for the page: positions in percent of its width."""
    rows = rows_of(pair)
    values = [value for row in rows for value in (row.value, row.low, row.high) if np.isfinite(value)]
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(MARGIN + (100 - 2 * MARGIN) * (value - low) / span, 1)

    return {
        "zero": at(0.0),
        "rows": [
            {
                "name": row.name,
                "numbers": row.numbers,
                "verdict": pair.verdict if row.kind == "pooled" else "",
                "said": pair.verdict if row.kind == "pooled" else _weight(row),
                "at": at(row.value) if np.isfinite(row.value) else None,
                "left": at(row.low) if np.isfinite(row.low) else None,
                "width": round(at(row.high) - at(row.low), 1) if np.isfinite(row.low) else None,
            }
            for row in rows
        ],
    }


def _weight(row: Row) -> str:
    return f"weight {100 * row.weight:.0f} %" if row.kind == "lab" and np.isfinite(row.weight) else ""
