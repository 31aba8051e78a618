"""matplotlib's settings and fonts: figures look the same everywhere, with names in any script that a font covers.

Figures are drawn with matplotlib's own defaults, never with the user's settings.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

LETTERS = 40  # of a name in a figure; the table has the whole name
INCH_PER_LETTER = 0.062  # at 7.5 points
FONT = "DejaVu Sans"  # comes with matplotlib


def short(name: str, most: int = LETTERS) -> str:
    """A name on one line, cut in the middle to `most` letters; control characters become `?`."""
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    shown = "".join("?" if unicodedata.category(letter) == "Cc" else letter for letter in line)
    if len(shown) <= most:
        return shown
    kept = most - 1
    return f"{shown[: kept - kept // 2]}…{shown[len(shown) - kept // 2 :]}"


def inches(name: str) -> float:
    """Width of a name at 7.5 points; wide East Asian letters count twice."""
    return INCH_PER_LETTER * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def drawn(draw: Callable[[], Any], texts: Iterable[str]) -> Any:
    """Call `draw` under these settings, with fonts that have the letters of `texts`."""
    with settings():
        others = list(_fonts_for(_lacking(texts)))
    with settings({"font.family": [FONT, *others]} if others else None):
        return draw()


def missing(texts: Iterable[str]) -> frozenset[str]:
    """The letters that no font of this machine has."""
    with settings():
        letters = _lacking(texts)
        return letters.difference(*(_letters_of(path) for path in _fonts_for(letters).values()))


@contextlib.contextmanager
def settings(changes: dict[str, Any] | None = None) -> Iterator[None]:
    """matplotlib's defaults with `changes`, whatever style, file or variable the user has; its warnings are dropped."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matplotlib = _matplotlib()
            defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
            own = {"svg.fonttype": "none", "pdf.fonttype": 42, "text.parse_math": False}  # a name may hold a $
            with matplotlib.rc_context({**defaults, **own, **(changes or {})}):
                yield
    finally:
        log.setLevel(level)


@cache
def _matplotlib() -> Any:
    """Import matplotlib without reading the user's settings: a damaged file would make the import fail.

    It looks for a settings file in the working folder first; in its own data folder, that file holds its defaults.
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


def _lacking(texts: Iterable[str]) -> frozenset[str]:
    """The letters that the default font does not have."""
    from matplotlib import font_manager

    whole = "".join(texts)
    letters = {letter for letter in short(whole, most=len(whole) + 1) if not letter.isspace()}
    return frozenset(letters - _letters_of(font_manager.findfont(FONT)))


def _fonts_for(letters: frozenset[str]) -> dict[str, str]:
    """Font families of this machine for letters that the default font lacks, with their files; the best first."""
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
    """Whether a font has outlines, is upright and has the regular weight."""
    usable = "Emoji" not in font.name and "Last Resort" not in font.name
    return usable and font.style == "normal" and str(font.weight) in ("400", "normal", "regular")


@cache
def _letters_of(path: str) -> frozenset[str]:
    """The letters of a font file; empty where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
