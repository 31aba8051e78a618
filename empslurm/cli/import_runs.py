"""`import`: take the finished cells of other runs roots and bundles into this one."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm.cli.output import Output
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from empslurm.share.merge import Step

MOST_SHOWN = 12  # cells that are named with their reasons; --json has all


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "take cells from this runs root (a folder with cells/) or bundle"
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path, help=text)
    parser.add_argument(
        "--dry-run", action="store_true", help="verify and compare, say what would be done, and do none"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.share import merge

    into = RunsRoot(options.runs)
    with merge.opened(options.folders, into) as sources, _progress(out, merge.n_cells(sources)) as advance:
        steps = list(merge.merge(sources, into, dry_run=options.dry_run, advance=advance))
    out.document(
        {
            "runs": str(into.path),
            "dry_run": options.dry_run,
            "counts": {fate: sum(step.fate == fate for step in steps) for fate in merge.FATES},
            "n_bytes": sum(step.n_bytes for step in steps if step.fate in merge.TAKEN),
            "cells": [
                {"id": step.id, "origin": step.origin, "fate": step.fate, "why": step.why, "n_bytes": step.n_bytes}
                for step in steps
            ],
        }
    )
    _say(steps, into, out, dry_run=options.dry_run)
    return 1 if any(step.fate in merge.BAD for step in steps) else 0


@contextmanager
def _progress(out: Output, total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import Progress

    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("verifying cells", total=total)
        yield lambda: progress.update(bar, advance=1)


def _say(steps: Sequence[Step], into: RunsRoot, out: Output, *, dry_run: bool) -> None:
    """Print what was taken, what was left and why, and what must be looked at."""
    from empslurm.share.merge import BAD, TAKEN

    tally = Counter[str](step.fate for step in steps)
    taken = [step for step in steps if step.fate in TAKEN]
    n_bytes = sum(step.n_bytes for step in taken)
    ways = " and ".join(f"{tally[fate]:,} {fate}" for fate in TAKEN if tally[fate])
    would = "would be" if dry_run else "was" if len(taken) == 1 else "were"
    if taken:
        out.paragraph(f"{_cells(len(taken))} {would} taken into {into.path}: {ways}, {_size(n_bytes)}.")
    else:
        out.paragraph(f"No cell {'would be' if dry_run else 'was'} taken into {into.path}.")
    for fate, one, many in (
        (
            "completed",
            "is here already, and gets the files, such as adapters, that a bundle had left out",
            "are here already, and get the files, such as adapters, that a bundle had left out",
        ),
        ("here", "is here already, with the same scores", "are here already, with the same scores"),
        (
            "not compared",
            "is here already; it has no scores, and its files differ, so the one here is kept",
            "are here already; they have no scores, and their files differ, so those here are kept",
        ),
        ("running", "is being run here, and left alone", "are being run here, and left alone"),
        ("unfinished", "has no result there, and is left", "have no result there, and are left"),
    ):
        if tally[fate]:
            out.paragraph(f"{_cells(tally[fate])} {one if tally[fate] == 1 else many}.")
    without = sum(step.without_adapter for step in taken)
    if without:
        out.paragraph(
            f"{_cells(without)} of a bundle {'comes' if without == 1 else 'come'} without all files, such as adapters: "
            "transfers that start from such an adapter cannot run here. To add them, import the runs root that the "
            "bundle was made from."
        )
    for fate, one, many in (
        ("differs", "differs from the cell here", "differ from the cells here"),
        ("refused", "was refused", "were refused"),
    ):
        own = [step for step in steps if step.fate == fate]
        if own:
            out.paragraph(f"{_cells(len(own))} {one if len(own) == 1 else many}:", style="bold")
        for step in own[:MOST_SHOWN]:
            out.paragraph(f"  {step.id} ({step.origin}): {step.why}")
        if len(own) > MOST_SHOWN:
            out.paragraph(f"  ... and {len(own) - MOST_SHOWN:,} more: --json has all")
    if (taken or tally["completed"]) and not dry_run and not any(step.fate in BAD for step in steps):
        out.paragraph("`empslurm gather` and `empslurm submit` now treat them as their own.")


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n:,} cells"


def _size(n_bytes: int) -> str:
    size, unit = float(n_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size >= 1000:
            size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
