"""`clean`: remove from the runs root what nothing needs any more, or only name it."""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from empslurm.cli.output import Output
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from empslurm.share.cleaning import Cleaning, Removed, Spare

MOST_NAMED = 20  # entries that a dry run prints; --json has all


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="remove nothing: name what would go, and how large it is"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.launch.lock import submitting
    from empslurm.share import cleaning

    root = RunsRoot(options.runs)
    if not options.dry_run:
        cleaning.refuse(root)  # the lock would make the folder
    # A dry run writes nothing, so it does without the lock of submissions.
    with nullcontext() if options.dry_run else submitting(root, out.say, wait=False):
        with out.console(error=True).status("looking at cells, code and prepared data"):
            found = cleaning.find(root)
        removed = None if options.dry_run else _removed(found, out)
    out.document(document(found, removed))
    say(found, removed, out)
    return 1 if removed is not None and removed.failed else 0


def _removed(found: Cleaning, out: Output) -> Removed:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from empslurm.share import cleaning

    console = out.console(error=True)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*shown, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("removing", total=len(found.spare))
        return cleaning.remove(found, lambda n: bars.update(bar, advance=n))


# ---- for people ------------------------------------------------------------------------------------------------------


def say(found: Cleaning, removed: Removed | None, out: Output) -> None:
    """Print how much is not needed, a row per kind, in a dry run the first entries, then what stays and why."""
    from empslurm.share.cleaning import KINDS

    entries = found.spare if removed is None else removed.spare
    n_inodes, n_bytes = sum(entry.n_inodes for entry in entries), sum(entry.n_bytes for entry in entries)
    if not found.spare:
        out.paragraph(f"Nothing to remove: everything in {found.root.path} is needed, or is a result.")
    else:
        what = f"{n_inodes:,} files and folders of {found.root.path}, {size(n_bytes)}"
        out.paragraph(f"Nothing needs {what}." if removed is None else f"Removed {what}.", style="bold")
        rows = [
            (kind, len(own), sum(entry.n_inodes for entry in own), size(sum(entry.n_bytes for entry in own)), why)
            for kind, why in KINDS.items()
            if (own := [entry for entry in entries if entry.kind == kind])
        ]
        out.table("", ("kind", "entries", "inodes", "size", "what"), rows)
    if removed is None:
        for entry in entries[:MOST_NAMED]:
            out.line(f"{entry.path.relative_to(found.root.path)}: {size(entry.n_bytes)}, inodes: {entry.n_inodes:,}")
        if len(entries) > MOST_NAMED:
            out.paragraph(f"... and {len(entries) - MOST_NAMED:,} more: --json names all")
        if entries:
            out.paragraph("Without --dry-run these are removed.")
    for path, why in removed.failed.items() if removed is not None else ():
        out.paragraph(f"not removed: {path}: {why}", style="red")
    for why, n in _kept(found).items():
        out.paragraph(f"kept, {n:,}: {why}", style="dim")
    if found.unknown:
        few = ", ".join(str(path.relative_to(found.root.path)) for path in found.unknown[:3])
        more = ", ..." if len(found.unknown) > 3 else ""
        out.paragraph(f"left alone, {len(found.unknown):,}: not written by empslurm ({few}{more})", style="dim")


def _kept(found: Cleaning) -> dict[str, int]:
    return dict(Counter(found.kept.values()).most_common())


def size(n_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:,.0f} {unit}" if unit == "bytes" else f"{n_bytes:,.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:,.1f} GiB"


# ---- for programs ----------------------------------------------------------------------------------------------------


def document(found: Cleaning, removed: Removed | None) -> dict[str, Any]:
    """The JSON document: of a dry run what would go, else what has gone."""
    from empslurm.share.cleaning import KINDS

    entries = found.spare if removed is None else removed.spare
    return {
        "runs": str(found.root.path),
        "dry_run": removed is None,
        "kinds": [
            {"kind": kind, "why": why, "n_entries": len(own), **_sums(own)}
            for kind, why in KINDS.items()
            if (own := [entry for entry in entries if entry.kind == kind])
        ],
        "entries": [
            {
                "kind": entry.kind,
                "path": entry.path.relative_to(found.root.path).as_posix(),
                "why": entry.why,
                "n_inodes": entry.n_inodes,
                "n_bytes": entry.n_bytes,
            }
            for entry in entries
        ],
        **_sums(entries),
        "failed": {str(path): why for path, why in removed.failed.items()} if removed is not None else {},
        "kept": _kept(found),
        "unknown": [path.relative_to(found.root.path).as_posix() for path in found.unknown],
    }


def _sums(entries: Sequence[Spare]) -> dict[str, int]:
    return {
        "n_inodes": sum(entry.n_inodes for entry in entries),
        "n_bytes": sum(entry.n_bytes for entry in entries),
    }
