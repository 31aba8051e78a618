"""What verbs print: text for people or one JSON document for programs on stdout, messages and progress on stderr.

Text that cannot be written to stderr (closed, on a full disk, its reader gone) is dropped and the work continues. Where
stdout cannot be written, the verb ends with a sentence, or silently if its reader has left.
"""

from __future__ import annotations

import contextlib
import functools
import json as json_module
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from empslurm.cli.printed import LEAST, Cell, TextTable, folded, lines
from empslurm.errors import EmpslurmError

if TYPE_CHECKING:
    from rich.console import Console


# They would move a terminal's cursor, colour it or set its title: runs roots and logs may hold anything.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
WIDTH = re.compile(r"0*[1-9][0-9]{0,3}", re.ASCII)  # of a terminal, as COLUMNS and LINES may say it


class Output:
    """Prints for people, or with `json` for a program."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self._consoles: dict[bool, Console] = {}
        self._warnings: list[str] = []

    def console(self, *, error: bool = False) -> Console:
        """A rich console; colours and width follow the terminal, pipes and NO_COLOR."""
        if error not in self._consoles:
            self._consoles[error] = _console_class()(
                stderr=error, highlight=False, soft_wrap=True, _environ=_sound(os.environ)
            )
        return self._consoles[error]

    def document(self, value: Any) -> None:
        """The one JSON document, with the key `warnings` where there were any. NaN is null."""
        if self.json:
            if self._warnings:
                value = {**value, "warnings": self._warnings}
            text = json_module.dumps(value, indent=1, allow_nan=False)
            with stdout_errors():
                print(text, flush=True)

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people on stdout; nothing when stdout belongs to a program."""
        if not self.json:
            console = self.console()
            console.print(printable(text, console.encoding), style=style, markup=False)

    def paragraph(self, text: str, style: str = "") -> None:
        """Sentences for people on stdout, folded between words so that no line is wider than the terminal."""
        if not self.json:
            console = self.console()
            for line in folded(printable(text, console.encoding), max(console.width, LEAST)):
                console.print(line, style=style, markup=False)

    def say(self, text: str, style: str = "") -> None:
        """A line on stderr, for people and logs."""
        console = self.console(error=True)
        console.print(printable(text, console.encoding), style=style, markup=False)

    def warn(self, text: str) -> None:
        """A warning on stderr; the JSON document has it too."""
        self._warnings.append(text)
        self.say(f"! {text}", style="bold yellow")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people on stdout. Columns that hold only numbers are right-aligned."""
        if self.json:
            return
        shown = [tuple(Cell(text=_shown(value)) for value in row) for row in rows]
        right = [bool(shown) and all(_is_number(row[at].text) for row in shown) for at in range(len(columns))]
        self.text_table(title, TextTable(head=tuple(columns), rows=tuple(shown), right=tuple(right)))

    def text_table(self, title: str, table: TextTable, caption: str = "") -> None:
        """A table for people on stdout, complete on a terminal of any width, with its caption below."""
        if self.json:
            return
        if title:
            self.paragraph(title, style="bold")
        console = self.console()
        rule = "─" if printable("─", console.encoding) == "─" else "-"
        for line in lines(_printable_table(table, console.encoding), console.width, rule):
            console.print(line)
        if caption:
            self.paragraph(caption, style="dim")
            self.line()

    def fail(self, kind: str, problems: Sequence[str]) -> None:
        """An error: sentences on stderr, and the JSON document for programs."""
        self.document({"error": {"class": kind, "problems": list(problems)}})
        for problem in problems:
            self.say(f"empslurm: {problem}", style="red" if self.console(error=True).is_terminal else "")


# ---- streams --------------------------------------------------------------------------------------------------------


class StdoutError(EmpslurmError):
    """Standard output cannot be written."""


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Turn an error of stdout into StdoutError; a reader who has left stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(
            f"standard output must be writable, but is not: {error.strerror or error}; free space there or redirect "
            "the output to another file, then run the same command again"
        ) from error


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console

    class Unbroken(Console):
        """A console that leaves the exit status to the verb."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

        def _check_buffer(self) -> None:
            if not self.stderr:
                with stdout_errors():
                    super()._check_buffer()
                return
            try:
                super()._check_buffer()
            except OSError:  # nobody reads it, which is no reason to stop the work
                self.quiet = True
                silence(sys.stderr)

    return Unbroken


def open_closed_streams() -> None:
    """Open the null device for a closed stdin, stdout or stderr, so that no other file gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def silence(stream: Any) -> None:
    """Send all output of a stream to the null device, so that the interpreter's end does not fail on it."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it has no descriptor, or is closed
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def flush(status: int | str | None) -> int | str | None:
    """Write out everything that was printed, as far as possible; the exit status."""
    try:
        with stdout_errors():
            sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except StdoutError as error:
        silence(sys.stdout)
        Output(json=False).say(f"empslurm: {error}")
        return status or error.exit_code
    try:
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)
    return status


def _sound(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without terminal sizes that are not positive numbers."""
    return {
        name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES") or WIDTH.fullmatch(value)
    }


# ---- text -----------------------------------------------------------------------------------------------------------


def _printable_table(table: TextTable, encoding: str) -> TextTable:
    return TextTable(
        head=tuple(printable(name, encoding) for name in table.head),
        rows=tuple(
            tuple(Cell(text=printable(cell.text, encoding), style=cell.style) for cell in row) for row in table.rows
        ),
        right=table.right,
        n_labels=table.n_labels,
    )


def printable(text: str, encoding: str) -> str:
    """Text without control characters, and with what the encoding cannot show escaped."""
    return CONTROLS.sub("?", text.replace("\r", "\n")).encode(encoding, "backslashreplace").decode(encoding)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").replace("%", "").lstrip("+-−").isdigit()
