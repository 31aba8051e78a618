"""`gather`: the tables so far, and plainly what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm.cli import common, search
from empslurm.cli.output import Output
from empslurm.cli.printed import Cell, TextTable
from empslurm.errors import UsageError
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, registry

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.plan import Plan
    from empslurm.report.formats import Entry, Table
    from empslurm.report.summary import Summary

SHOWN_MISSING = 12  # of one state; the file has all


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser, optional=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: RUNS/gathered/NAME)")
    parser.add_argument("--published", action="store_true", help="the paper's own Tables 7 and 8 instead of runs")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="a table of results: source,target,seed,metric,value"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="DIR", help="with --results: ID.csv or ID.parquet of each run"
    )
    parser.add_argument("--ratings", type=Path, metavar="FILE", help="construct ratings (default: the paper's Table 2)")
    parser.add_argument(
        "--margin", type=float, metavar="M", help="tell pairs that differ by less than M (default: the manifest's)"
    )
    parser.add_argument("--rows", action="store_true", help="resample single examples, not conversations or posts")


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm import reference
    from empslurm.report.write import write

    margin: float | None = options.margin
    if options.manifest is not None:
        plan, root = common.load_plan(options)
        if plan.manifest.search is not None:
            return search.report(plan, root, options, out)
        margin = plan.manifest.margin if margin is None else margin
    if options.margin is not None and not 0 < options.margin < float("inf"):
        raise UsageError(f"--margin must be a number above 0, but is {options.margin:g}; give a difference of a metric")
    gathered = _gathered(options, out)
    folder = options.out or RunsRoot(options.runs).gathered / gathered.name
    with out.console(error=True).status("tables, tests and figures"):
        written = write(
            gathered, folder, ratings=reference.ratings(options.ratings), grouped=not options.rows, margin=margin
        )
    return report(gathered, folder, written, out)


def _gathered(options: argparse.Namespace, out: Output) -> Gathered:
    """From the runs root, a file of results, or the paper."""
    from empslurm import gather

    if sum((options.manifest is not None, options.published, options.results is not None)) > 1:
        raise UsageError("gather must have one input, but got several; give a manifest, --published or --results")
    if options.predictions is not None and options.results is None:
        raise UsageError("--predictions must come with --results, but does not; name the table of results")
    if options.predictions is not None and not options.predictions.is_dir():
        raise UsageError(f"--predictions must be a folder, but {options.predictions} is none; check the path")
    if options.published:
        return gather.published(registry())
    if options.results is not None:
        return gather.from_file(options.results, registry(), options.predictions)
    if options.manifest is None:
        return _verified(None, RunsRoot(options.runs), registry(), options.data, out)
    plan, root = common.load_plan(options)
    return _verified(plan, root, plan.manifest.registry, options.data, out)


def _verified(plan: Plan | None, root: RunsRoot, known: Registry, data_root: Path, out: Output) -> Gathered:
    from rich.progress import Progress

    from empslurm.gather import gather

    samples = _samples(known, data_root, root)
    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("verifying results", total=None)
        return gather(root, plan, known, sample_digests=samples, advance=lambda n: progress.update(bar, advance=n))


def _samples(known: Registry, data_root: Path, root: RunsRoot) -> frozenset[str]:
    """Digests of the invented sample, as far as it is here."""
    from empslurm.tasks.raw import locate, sample_sums

    if not sample_sums(data_root):
        return frozenset()
    located = [locate(dataset, data_root, root.prepared) for dataset in known.datasets.values()]
    return frozenset(item.raw_digest for item in located if item.state == "sample" and item.raw_digest is not None)


def report(gathered: Gathered, folder: Path, written: Summary, out: Output) -> int:
    """Say what there is: for people tables and files, for programs one document.

    1 where a result was refused, or where a table of results has no baseline to judge any source by.
    """
    paths = [str(folder / name) for name in written.files]
    out.document(
        {
            "name": gathered.name,
            "folder": str(folder),
            "report": str(folder / written.report),
            "n_planned": gathered.n_planned,
            "n_done": gathered.n_done,
            "groups": [
                {"name": group.name, "setting": dict(group.setting), "n_cells": len(group.runs), "data": group.notes}
                for group in gathered.groups
            ],
            "headline": list(written.headline),
            "tables": [dict(table) for table in written.contents],
            "lacking": dict(written.lacking),
            "missing": [
                {"id": cell.id, "state": cell.state, "why": cell.why, "kind": cell.kind} for cell in gathered.missing
            ],
            "files": paths,
        }
    )
    if not written.judged:  # first: the tables below say less than they seem to
        _say(written.headline, out)
    for table in written.tables:
        show(table, out)
    if written.judged:
        _say(written.headline, out)
    for name, why in written.lacking.items():
        out.line(f"missing: {name}: {why}")
    _show_missing(gathered, out)
    for line in listed(folder, written.files):
        out.line(line)
    refused = any(cell.state == "refused" for cell in gathered.missing)
    return 1 if refused or (gathered.origin == "results" and not written.judged) else 0


def _say(sentences: Sequence[str], out: Output) -> None:
    for sentence in sentences:
        out.line(sentence)


def listed(folder: Path, names: Sequence[str]) -> list[str]:
    """Files for people: `folder/*.{csv,md}: table7, table8`, a line for each folder and set of endings."""
    endings: dict[tuple[Path, str], list[str]] = {}
    for path in (folder / name for name in names):
        endings.setdefault((path.parent, path.stem), []).append(path.suffix.lstrip("."))
    alike: dict[tuple[Path, tuple[str, ...]], list[str]] = {}
    for (parent, stem), suffixes in endings.items():
        alike.setdefault((parent, tuple(suffixes)), []).append(stem)
    return [
        str(parent / f"{stems[0]}.{suffixes[0]}")
        if len(stems) == len(suffixes) == 1
        else f"{parent}/*.{'{' + ','.join(suffixes) + '}' if len(suffixes) > 1 else suffixes[0]}: {', '.join(stems)}"
        for (parent, suffixes), stems in alike.items()
    ]


def show(table: Table, out: Output) -> None:
    """A table for people, its caption below; one too wide for the terminal is shown in parts."""
    head = tuple(" ".join(filter(None, words)) for words in zip(*table.head, strict=True))
    rows = tuple(tuple(Cell(text=entry.text, style=_style(entry)) for entry in row) for row in table.rows)
    right = tuple(at >= table.n_labels for at in range(len(head)))
    title = f"{table.number}: {table.title}" if table.number else table.title
    out.text_table(title, TextTable(head=head, rows=rows, right=right, n_labels=table.n_labels), table.caption)


def _style(entry: Entry) -> str:
    return " ".join(name for name, on in (("bold", entry.bold), ("underline", entry.underlined)) if on)


def _show_missing(gathered: Gathered, out: Output) -> None:
    if gathered.origin == "results":
        out.line(f"{sum(len(group.runs) for group in gathered.groups):,} scores, as given")
        return
    states = dict.fromkeys(cell.state for cell in gathered.missing)
    planned = "" if gathered.n_planned is None else f" of {gathered.n_planned:,}"
    out.line(f"{gathered.n_done:,}{planned} cells have a verified result; {len(gathered.missing):,} are missing")
    for state in states:
        own = [cell for cell in gathered.missing if cell.state == state]
        rows = [(cell.id, cell.why) for cell in own[:SHOWN_MISSING]]
        more = f", of which {SHOWN_MISSING} are shown" if len(own) > SHOWN_MISSING else ""
        out.table(f"{state}: {len(own):,} cells{more}", ("cell", "why"), rows)
