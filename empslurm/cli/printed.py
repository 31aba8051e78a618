"""Tables as lines of text, complete on a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

LEAST = 20  # columns of a terminal; on a narrower one lines are longer than it
BESIDE = 3  # columns that a cell takes beside its text: a space at each end, and one between
WHOLE = 16  # a cell of up to this many columns is not folded as long as a line has room for it
LONG = 20  # words of more columns, such as paths, are folded before a table is cut into parts
NARROWEST = 4  # columns of a label; labels that do not fit half of a line with this are not repeated


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The text of one cell of a table. `style`: as rich names it."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table to print. `right`: whether each column is right-aligned."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[bool, ...]
    n_labels: int = 1  # leading columns that every part of a wide table repeats


def lines(table: TextTable, width: int, rule: str = "─") -> Iterator[Text]:
    """The lines of a table, none wider than `width` (20 or more). Words may be folded; nothing is cut off.

    A table too wide for a line is printed in parts, one below another. `rule`: the character below the head.
    """
    from rich.text import Text

    page = _Page(table, max(width, LEAST) - 1)
    for columns in page.parts():
        widths = page.widths(columns)
        yield Text()
        yield from _row(table, columns, widths, [Cell(text=name, style="bold") for name in table.head])
        yield Text(" " + rule * (sum(widths) + BESIDE * len(widths) - 1))
        for row in table.rows:
            yield from _row(table, columns, widths, row)
    yield Text()


def folded(text: str, width: int) -> list[str]:
    """Text in lines of at most `width` columns, at least 2: broken between words, and within those that are wider."""
    from rich.cells import cell_len

    lines: list[str] = []
    for paragraph in text.expandtabs(4).splitlines() or [""]:
        line = ""
        for word in paragraph.split(" "):
            together = f"{line} {word}" if line else word
            if cell_len(together) <= width:
                line = together
                continue
            lines += [line] if line else []
            *whole, line = _chopped(word, width)
            lines += whole
        lines.append(line)
    return lines


def _chopped(word: str, width: int) -> list[str]:
    """A word in pieces of at most `width` columns. rich's own chopping loses what has no width at a piece's start."""
    from rich.cells import cell_len

    pieces = [""]
    for sign in word:
        if pieces[-1] and cell_len(pieces[-1] + sign) > width:
            pieces.append("")
        pieces[-1] += sign
    return pieces


class _Page:
    """The widths of a table's columns in a line with `room` columns, and which columns are side by side."""

    def __init__(self, table: TextTable, room: int) -> None:
        self.room = room
        columns = [(name, *(row[at].text for row in table.rows)) for at, name in enumerate(table.head)]
        self.least = [max(2, _least(texts[0], 0), *(_least(text, WHOLE) for text in texts[1:])) for texts in columns]
        self.least[table.n_labels :] = [min(width, LONG) for width in self.least[table.n_labels :]]
        self.natural = [max(map(_natural, texts)) for texts in columns]
        fits = self._fits() or self._fits_with_one_folded(columns)
        repeatable = 0 if fits or table.n_labels == len(columns) else table.n_labels
        self.labels = list(range(min(repeatable, room // 2 // (NARROWEST + BESIDE))))
        self.label_widths = self._label_widths()

    def _fits(self) -> bool:
        """Whether one line holds all columns."""
        return sum(self.least) + BESIDE * len(self.least) <= self.room

    def _fits_with_one_folded(self, columns: Sequence[Sequence[str]]) -> bool:
        """Fold the leftmost column that makes the others fit; otherwise the last column would be printed below."""
        for at, texts in enumerate(columns):
            before = self.least[at]
            self.least[at] = min(before, max(2, *(_least(text, 0) for text in texts)))
            if self._fits():
                return True
            self.least[at] = before
        return False

    def _label_widths(self) -> list[int]:
        """At most half of the line, unless words would be broken for columns that have room enough."""
        n_labels = len(self.labels)
        widths = _shrunk(self.natural[:n_labels], self.room // 2 - BESIDE * n_labels)
        unbroken = list(map(max, widths, self.least))
        widest = max(self.least[n_labels:], default=0)
        return unbroken if sum(unbroken) + widest + BESIDE * (n_labels + 1) <= self.room else widths

    def parts(self) -> list[list[int]]:
        """Column numbers of each part, the repeated labels first in all of them."""
        free = self.room - sum(self.label_widths) - BESIDE * len(self.labels)
        parts: list[list[int]] = [[]]
        left = free
        for at in range(len(self.labels), len(self.least)):
            needed = min(self.least[at] + BESIDE, free)
            if parts[-1] and needed > left:
                parts.append([])
                left = free
            parts[-1].append(at)
            left -= needed
        return [self.labels + part for part in parts]

    def widths(self, columns: Sequence[int]) -> list[int]:
        """Widths of a part's columns: what they need, and the rest for those that would be folded."""
        free = self.room - BESIDE * len(columns)
        others = [self.least[at] for at in columns[len(self.labels) :]]
        least = self.label_widths + _shrunk(others, free - sum(self.label_widths))
        lacking = [max(self.natural[at] - low, 0) for at, low in zip(columns, least, strict=True)]
        return [low + more for low, more in zip(least, _shrunk(lacking, free - sum(least), least=0), strict=True)]


def _shrunk(widths: Sequence[int], room: int, least: int = 2) -> list[int]:
    """Widths that fit `room` together: the widest shrink first, and none below `least`."""
    most = min(max(widths, default=0), max(room, least))
    while sum(min(width, most) for width in widths) > room and most > least:
        most -= 1
    shrunk = [min(width, most) for width in widths]
    spare = room - sum(shrunk)
    for at, width in enumerate(widths):
        if spare > 0 and width > shrunk[at]:
            shrunk[at] += 1
            spare -= 1
    return shrunk


def _natural(text: str) -> int:
    """The columns that an unfolded text takes."""
    from rich.cells import cell_len

    return max(map(cell_len, text.expandtabs(4).splitlines()), default=0)


def _least(text: str, whole: int) -> int:
    """The columns that a text needs so that no word is broken, nor a line of at most `whole` columns."""
    from rich.cells import cell_len

    lines = text.expandtabs(4).splitlines()
    lengths = [
        _natural(line) if _natural(line) <= whole else max(map(cell_len, line.split()))
        for line in lines
        if line.strip()
    ]
    return max(lengths, default=0)


def _row(table: TextTable, columns: Sequence[int], widths: Sequence[int], row: Sequence[Cell]) -> Iterator[Text]:
    """The lines of one row of a part."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = [folded(row[at].text, width) for at, width in zip(columns, widths, strict=True)]
    for height in range(max(map(len, cells), default=0)):
        line = Text()
        for at, width, cell in zip(columns, widths, cells, strict=True):
            text = cell[height] if height < len(cell) else ""
            blank = " " * (width - cell_len(text))
            line.append("  ")
            line.append(blank if table.right[at] else "")
            line.append(text, style=row[at].style)
            line.append(" " if table.right[at] else f"{blank} ")
        line.rstrip()
        yield line
