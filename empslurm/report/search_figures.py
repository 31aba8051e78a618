"""A search's figures as SVG text, without scripts, fonts or other files."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 240, 70, 40, 20, 20
INK, PALE, BLUE = "#222", "#bbb", "#1f5fa8"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis with a value per trial (None: undefined). `labels`: of a categorical axis, whose values index them."""

    title: str
    values: tuple[float | None, ...]
    log: bool = False
    labels: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest position on the scale; they differ even where all values are equal."""
        if self.labels:
            return -0.5, len(self.labels) - 0.5
        there = [self._scaled(value) for value in self.values if value is not None] or [0.0]
        low, high = min(there), max(there)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def share(self, value: float) -> float:
        """Position of a value between the bounds, from 0 to 1."""
        low, high = self.bounds
        return (self._scaled(value) - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Ticks as (share, label)."""
        if self.labels:
            return [(self.share(float(index)), label) for index, label in enumerate(self.labels)]
        low, high = self.bounds
        values = [low + (high - low) * step / 4 for step in range(5)]
        return [((value - low) / (high - low), f"{10**value if self.log else value:.2g}") for value in values]


def _svg(width: int, height: int, parts: Sequence[str], title: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img"'
    return f'{head} aria-label="{html.escape(title)}" font-size="11" fill="{INK}">{"".join(parts)}</svg>'


def _label(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _line(points: Sequence[tuple[float, float]], colour: str, width: float = 1, opacity: float = 1) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}" opacity="{opacity:.2f}"/>'


def _dot(x: float, y: float, hollow: bool) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{"white" if hollow else BLUE}" stroke="{BLUE}"/>'


def _plot(x: Axis, y: Axis, hollow: Sequence[bool], left: float, width: float) -> list[str]:
    """Axes and a dot per trial in a box `width` wide that starts at `left`."""
    inner = HEIGHT - TOP - BOTTOM
    parts = [_line([(left, TOP), (left, TOP + inner), (left + width, TOP + inner)], INK)]
    for share, label in x.ticks():
        at = left + share * width
        if x.labels:
            turn = f'transform="rotate(-20 {at:.1f} {HEIGHT - 24})"'
            parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 24}" text-anchor="end" {turn}>{html.escape(label)}</text>')
        else:
            parts.append(_label(at, HEIGHT - 24, label))
    parts += [_label(left - 6, TOP + (1 - share) * inner + 4, label, "end") for share, label in y.ticks()]
    parts.append(_label(left + width / 2, HEIGHT - 4, x.title))
    for first, second, open_ in zip(x.values, y.values, hollow, strict=True):
        if first is not None and second is not None:
            parts.append(_dot(left + x.share(first) * width, TOP + (1 - y.share(second)) * inner, open_))
    return parts


def history(
    numbers: Sequence[int],
    values: Sequence[float | None],
    best: Sequence[float | None],
    pruned: Sequence[bool],
    title: str,
) -> str:
    """Scores by trial number, and the best so far as a line."""
    x = Axis(title="trial", values=tuple(map(float, numbers)))
    y = Axis(title=title, values=tuple(values))
    width, inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    steps = [
        (LEFT + x.share(float(at)) * width, TOP + (1 - y.share(value)) * inner)
        for at, value in zip(numbers, best, strict=True)
        if value is not None
    ]
    parts = [_label(4, 12, title, "start"), _line(steps, PALE, 2), *_plot(x, y, pruned, LEFT, width)]
    return _svg(WIDTH, HEIGHT, parts, f"optimisation history, {title}")


def parallel(axes: Sequence[Axis]) -> str:
    """One line per trial through all axes; the last axis is the score, and better trials are darker."""
    inner, gap = HEIGHT - TOP - BOTTOM, (WIDTH - 2 * LEFT - RIGHT) / (len(axes) - 1)
    parts = []
    for index, axis in enumerate(axes):
        at = LEFT + index * gap
        parts += [_line([(at, TOP), (at, TOP + inner)], INK), _label(at, HEIGHT - 10, axis.title)]
        parts += [_label(at - 5, TOP + (1 - share) * inner + 4, label, "end") for share, label in axis.ticks()]
    for trial in zip(*(axis.values for axis in axes), strict=True):
        if any(value is None for value in trial):
            continue
        points = [
            (LEFT + index * gap, TOP + (1 - axis.share(value)) * inner)
            for index, (axis, value) in enumerate(zip(axes, trial, strict=True))
        ]
        parts.append(_line(points, BLUE, 1.5, 0.15 + 0.85 * axes[-1].share(trial[-1])))
    return _svg(WIDTH, HEIGHT, parts, "parallel coordinates")


def slices(axes: Sequence[Axis], pruned: Sequence[bool]) -> str:
    """The score (the last axis) against each parameter, side by side."""
    width, space = 200, 60
    parts = [_label(4, 12, axes[-1].title, "start")]
    for index, axis in enumerate(axes[:-1]):
        parts += _plot(axis, axes[-1], pruned, LEFT + index * (width + space), width)
    return _svg(LEFT + (len(axes) - 1) * (width + space), HEIGHT, parts, "slices")
