"""How verbs speak: tables for people on stdout, one JSON document for programs, talk and progress on stderr."""

from __future__ import annotations

import json as json_module
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


# What would move a terminal's cursor, colour it or set its title: runs roots and logs may hold anything.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """`json`: whether stdout belongs to a program."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self._consoles: dict[bool, Console] = {}
        self._warnings: list[str] = []

    def console(self, *, error: bool = False) -> Console:
        """A rich console; colours and width follow the terminal, pipes and NO_COLOR."""
        if error not in self._consoles:
            from rich.console import Console

            self._consoles[error] = Console(stderr=error, highlight=False, soft_wrap=True)
        return self._consoles[error]

    def document(self, value: Any) -> None:
        """The one JSON document, with the key `warnings` where there were any. NaN is null."""
        if self.json:
            if self._warnings:
                value = {**value, "warnings": self._warnings}
            print(json_module.dumps(value, indent=1, allow_nan=False))

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people on stdout; nothing when stdout belongs to a program."""
        if not self.json:
            console = self.console()
            console.print(printable(text, console.encoding), style=style, markup=False)

    def say(self, text: str, style: str = "") -> None:
        """A line on stderr, for people and logs."""
        console = self.console(error=True)
        console.print(printable(text, console.encoding), style=style, markup=False)

    def warn(self, text: str) -> None:
        """A line on stderr that must not be missed; the JSON document has it too."""
        self._warnings.append(text)
        self.say(f"! {text}", style="bold yellow")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people on stdout. Columns that hold only numbers are right-aligned."""
        if self.json:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        encoding = self.console().encoding
        shown = [[printable(_shown(value), encoding) for value in row] for row in rows]
        table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
        for place, name in enumerate(columns):
            numeric = bool(shown) and all(_is_number(row[place]) for row in shown)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in shown:
            table.add_row(*(Text(value) for value in row))
        self.console().print(table, soft_wrap=False)

    def fail(self, kind: str, problems: Sequence[str]) -> None:
        """An error: sentences on stderr, and the JSON document for programs."""
        self.document({"error": {"class": kind, "problems": list(problems)}})
        for problem in problems:
            self.say(f"empslurm: {problem}", style="red" if sys.stderr.isatty() else "")


def printable(text: str, encoding: str) -> str:
    """Text that any terminal of this encoding takes as text: nothing that drives it, nothing it cannot show."""
    return CONTROLS.sub("?", text.replace("\r", "\n")).encode(encoding, "backslashreplace").decode(encoding)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").replace("%", "").lstrip("+-−").isdigit()
