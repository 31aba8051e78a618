"""Markdown of the generated pages: tables, anchors, code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

HEADER = "<!-- Written by docs/pages from the code. Do not edit this page: change the code, then run it again. -->\n"


class UndescribedError(Exception):
    """A field has no text here, or a text has no field."""


def escaped(text: str) -> str:
    """Text for a cell of a table: nothing of it is markup, but what is between backticks stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = [re.sub(r"([*<\[\]])", r"\\\1", part) if index % 2 == 0 else part for index, part in enumerate(parts)]
    return "".join(plain).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its cells are Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def anchor(name: str) -> str:
    """An address for a row of a table."""
    return f'<a id="{name}"></a>'


def page(title: str, *blocks: str) -> str:
    """A whole page: blocks with one empty line between them."""
    return "\n".join([HEADER, f"# {title}\n", *(block.strip("\n") + "\n" for block in blocks if block.strip())])


def described(names: Iterable[str], texts: Mapping[str, str], what: str) -> list[tuple[str, str]]:
    """Each name with its text, in the order of the names. Raises UndescribedError unless they match."""
    names = list(names)
    if set(names) != set(texts):
        differing = ", ".join(sorted(set(names) ^ set(texts)))
        raise UndescribedError(f"docs/pages must describe all keys of {what} and no others; fix: {differing}")
    return [(name, texts[name]) for name in names]


def key_table(names: Iterable[str], texts: Mapping[str, str], what: str, head: str = "key") -> str:
    """A table of names with their texts."""
    return table((head, "meaning"), ((code(name), escaped(text)) for name, text in described(names, texts, what)))


def text_table(texts: Mapping[str, str], head: str = "key") -> str:
    """A table of names that only this script lists, with their texts."""
    return key_table(texts, texts, head, head)
