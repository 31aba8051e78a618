"""Compare the files of a gather with the same files made again: what differs, and in which row and column.

`COMPARED` says how, by kind of file. Numbers of a CSV may differ in their last digits (`RELATIVE`), since other
versions of the libraries may add in another order; such numbers are counted, and are no difference.
"""

from __future__ import annotations

import csv
import difflib
import html
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from empslurm.report.summary import MADE_BY

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # of two numbers that are called the same
TAG = re.compile(r"<[^>]*>")
AROUND = 40  # letters that are shown of a long line, before and after the first that differs
MOST_LINES = 20_000  # of a text that is compared line by line; a longer one is only called different


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One place where a file differs. "": there is nothing in its place."""

    place: str  # row and column of a table, or the line of a text
    printed: str
    again: str

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.place}: printed {self.printed or 'nothing'}, recomputed {self.again or 'nothing'}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two files of one name. `same`: they agree; then `n_digits` numbers may differ in their last digits."""

    same: bool
    entries: tuple[Entry, ...] = ()
    n_digits: int = 0


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the files of a kind are compared."""

    kind: str  # what the files are, for people
    how: str
    compare: Callable[[bytes, bytes], Compared]
    drawn: bool = False  # whether the bytes depend on the version of the drawing library


def _cells(printed: bytes, again: bytes) -> Compared:
    """Cell by cell; where rows were added or removed, rows with the same text belong together."""
    old, new = rows_of(printed), rows_of(again)
    entries: list[Entry] = []
    n_digits = 0
    head = new[0] if new else []
    if old[:1] != new[:1]:
        entries.append(
            Entry(place="the names of the columns", printed=", ".join(old[0] if old else []), again=", ".join(head))
        )
    for before, after in _pairs(old[1:], new[1:]):
        if before is None or after is None:
            row = before or after or []
            shown = ", ".join(row)
            gone, come = (shown, "") if after is None else ("", shown)
            entries.append(Entry(place=f"row {_label(row)}", printed=gone, again=come))
            continue
        for at in range(max(len(before), len(after))):
            one, two = (row[at] if at < len(row) else "" for row in (before, after))
            if one == two:
                continue
            if _close(one, two):
                n_digits += 1
                continue
            column = head[at] if at < len(head) else str(at + 1)
            entries.append(Entry(place=f"row {_label(after)}, column {column}", printed=one, again=two))
    return Compared(same=not entries, entries=tuple(entries), n_digits=n_digits)


def rows_of(data: bytes) -> list[list[str]]:
    """The rows of a CSV file, its head first."""
    return [row for row in csv.reader(io.StringIO(data.decode(errors="replace"), newline="")) if row]


def _pairs(old: Sequence[list[str]], new: Sequence[list[str]]) -> Iterator[tuple[list[str] | None, list[str] | None]]:
    """Rows that belong together, in the new order; None where one has no partner."""
    if len(old) == len(new):
        yield from zip(old, new, strict=True)
        return
    waiting: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for row in reversed(old):
        waiting[_names(row)].append(row)
    for row in new:
        same = waiting[_names(row)]
        yield (same.pop() if same else None), row
    for rows in waiting.values():
        yield from ((row, None) for row in reversed(rows))


def _names(row: Sequence[str]) -> tuple[str, ...]:
    """The cells of a row that are no numbers, without the last one, which may be a reason."""
    return tuple(cell for cell in row[:-1] if cell and _number(cell) is None) or tuple(row[:1])


def _label(row: Sequence[str]) -> str:
    """What tells a row from others: its first texts, or its first cell."""
    texts = [cell for cell in row if cell and _number(cell) is None]
    return " / ".join(texts[:3] or row[:1])[:80]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)  # which has no last digits to round


def _close(one: str, two: str) -> bool:
    first, second = _number(one), _number(two)
    if first is None or second is None:
        return False
    if WHOLE.fullmatch(one.strip()) and WHOLE.fullmatch(two.strip()):
        return int(one) == int(two)
    if first == second or (first != first and second != second):
        return True
    if not (math.isfinite(first) and math.isfinite(second)):
        return False
    return abs(first - second) <= max(ABSOLUTE, RELATIVE * max(abs(first), abs(second)))


def _frames(printed: bytes, again: bytes) -> Compared:
    """The rows of a Parquet file, as those of a CSV: another version of the library may write other bytes."""
    import pandas as pd

    try:
        texts = [pd.read_parquet(io.BytesIO(data)).to_csv(index=False).encode() for data in (printed, again)]
    except Exception as error:  # the library raises many kinds for a damaged file
        return _different(f"the file, which cannot be read ({type(error).__name__})")
    return _cells(*texts)


def _lines(printed: bytes, again: bytes) -> Compared:
    """Line by line."""
    return _texts(printed.decode(errors="replace"), again.decode(errors="replace"))


def _texts(printed: str, again: str) -> Compared:
    old, new = printed.splitlines(), again.splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        return _different("the text") if old != new else Compared(same=True)
    entries: list[Entry] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, first, last, start, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        for at in range(max(last - first, end - start)):
            one = old[first + at] if first + at < last else ""
            two = new[start + at] if start + at < end else ""
            where = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
            cut = slice(max(0, where - AROUND), where + AROUND)
            entries.append(Entry(place=f"line {first + at + 1}", printed=one[cut].strip(), again=two[cut].strip()))
    return Compared(same=not entries, entries=tuple(entries))


def _page(printed: bytes, again: bytes) -> Compared:
    """All of the page but the line that says when it was made. Lines are shown without markup."""
    texts = [MADE_BY.sub(b"", data, count=1).decode(errors="replace") for data in (printed, again)]
    if texts[0] == texts[1]:
        return Compared(same=True)
    plain = _texts(*("\n".join(_shown(text)) for text in texts))
    return plain if plain.entries else _different("the page's markup")


def _shown(page: str) -> Iterator[str]:
    """The page's lines without markup."""
    for line in page.splitlines():
        text = html.unescape(TAG.sub(" ", line)).strip()
        if text:
            yield text


def _bytes(printed: bytes, again: bytes) -> Compared:
    return Compared(same=True) if printed == again else _different("the picture")


def _different(what: str) -> Compared:
    return Compared(same=False, entries=(Entry(place=what, printed="one", again="another one"),))


def _exact(compare: Callable[[bytes, bytes], Compared]) -> Callable[[bytes, bytes], Compared]:
    """Equal bytes need no further look."""
    return lambda printed, again: Compared(same=True) if printed == again else compare(printed, again)


# By the ending of a file's name.
COMPARED: Mapping[str, Way] = {
    ".csv": Way(kind="tables and lists (CSV)", how="every cell; numbers to nine digits", compare=_exact(_cells)),
    ".parquet": Way(kind="scores (Parquet)", how="every cell; numbers to nine digits", compare=_exact(_frames)),
    ".md": Way(kind="tables (Markdown)", how="every line", compare=_exact(_lines)),
    ".tex": Way(kind="tables (LaTeX)", how="every line", compare=_exact(_lines)),
    ".json": Way(kind="settings (JSON)", how="every line", compare=_exact(_lines)),
    ".html": Way(kind="the page", how="all but the time at which it was made", compare=_exact(_page)),
    ".svg": Way(kind="figures (SVG)", how="every byte", compare=_bytes, drawn=True),
    ".png": Way(kind="figures (PNG)", how="every byte", compare=_bytes, drawn=True),
    ".pdf": Way(kind="figures (PDF)", how="every byte", compare=_bytes, drawn=True),
}
OTHER = Way(kind="other files", how="every byte", compare=_exact(lambda one, two: _different("the file")))


def way_of(name: str) -> Way:
    """How a file of this name is compared."""
    return COMPARED.get(PurePosixPath(name).suffix, OTHER)
