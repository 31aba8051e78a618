"""`gather`: the tables so far, and plainly what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.store import RunsRoot
from empslurm.tasks import Registry, registry

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.report.formats import Table
    from empslurm.report.tables import Written

SHOWN_MISSING = 12  # of one state; the file has all


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser, optional=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: RUNS/gathered/MANIFEST)")


def run(given: argparse.Namespace, out: Output) -> int:
    from rich.progress import Progress

    from empslurm.gather import gather
    from empslurm.report.tables import write

    if given.manifest is None:
        plan, root, name, known = None, RunsRoot(given.runs), "all", registry()
    else:
        plan, root = common.load_plan(given)
        name, known = plan.manifest.name, plan.manifest.registry
    samples = _samples(known, given.data, root)
    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("verifying results", total=None)
        gathered = gather(root, plan, known, sample_digests=samples, advance=lambda n: progress.update(bar, advance=n))
    written = write(gathered, given.out or root.gathered / name)
    return report(gathered, written, out)


def _samples(known: Registry, data_root: Path, root: RunsRoot) -> frozenset[str]:
    """Digests of the invented sample, as far as it is here."""
    from empslurm.tasks.raw import locate, sample_sums

    if not sample_sums(data_root):
        return frozenset()
    found = [locate(dataset, data_root, root.prepared) for dataset in known.datasets.values()]
    return frozenset(one.raw_digest for one in found if one.state == "sample" and one.raw_digest is not None)


def report(gathered: Gathered, written: Written, out: Output) -> int:
    """Say what there is: for people tables and files, for programs one document. 1 where a result was refused."""
    refused = [cell for cell in gathered.missing if cell.state == "refused"]
    out.document(
        {
            "name": gathered.name,
            "folder": str(written.folder),
            "n_planned": gathered.n_planned,
            "n_done": gathered.n_done,
            "groups": [
                {"name": group.name, "setting": dict(group.setting), "n_cells": len(group.runs), "data": group.notes}
                for group in gathered.groups
            ],
            "tables": [
                {"name": table.name, "number": table.number, "title": table.title, "caption": table.caption}
                for table in written.tables
            ],
            "missing": [
                {"id": cell.id, "state": cell.state, "why": cell.why, "kind": cell.kind} for cell in gathered.missing
            ],
            "files": [str(path) for path in written.files],
        }
    )
    for table in written.tables:
        show(table, out)
    _show_missing(gathered, out)
    for path in written.files:
        out.line(str(path))
    return 1 if refused else 0


def show(table: Table, out: Output) -> None:
    """A table for people, its caption below."""
    if out.json:
        return
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    out.line(f"{table.number}: {table.title}" if table.number else table.title, style="bold")
    made = RichTable(box=box.SIMPLE_HEAD)
    for at, parts in enumerate(zip(*table.head, strict=True)):
        made.add_column(Text(" ".join(filter(None, parts))), justify="left" if at < table.n_labels else "right")
    for row in table.rows:
        made.add_row(*(Text(entry.text, style=_style(entry.bold, entry.underlined)) for entry in row))
    out.console().print(made, soft_wrap=False)
    out.line(table.caption + "\n", style="dim")


def _style(bold: bool, underlined: bool) -> str:
    return " ".join(name for name, on in (("bold", bold), ("underline", underlined)) if on)


def _show_missing(gathered: Gathered, out: Output) -> None:
    states = dict.fromkeys(cell.state for cell in gathered.missing)
    planned = "" if gathered.n_planned is None else f" of {gathered.n_planned:,}"
    out.line(f"{gathered.n_done:,}{planned} cells have a verified result; {len(gathered.missing):,} are missing")
    for state in states:
        own = [cell for cell in gathered.missing if cell.state == state]
        rows = [(cell.id, cell.why) for cell in own[:SHOWN_MISSING]]
        more = f", of which {SHOWN_MISSING} are shown" if len(own) > SHOWN_MISSING else ""
        out.table(f"{state}: {len(own):,} cells{more}", ("cell", "why"), rows)
