"""Our words, explained below the tables that print them."""

from __future__ import annotations

from collections.abc import Iterable

from empslurm.cli.output import Output

WORDS = {
    "pack": "cells that one process trains together",
    "wave": "wave 1 starts from adapters of wave 0",
    "lost": "its process ended without a result; the next `submit` goes on from its checkpoint",
}


def explain(words: Iterable[str], out: Output) -> None:
    """Print a line on the words that appear; nothing without any."""
    sentences = [f"{word}: {WORDS[word]}" for word in words]
    if sentences:
        out.paragraph("; ".join(sentences), style="dim")
