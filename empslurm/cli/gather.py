"""`gather`: what the results so far say, the files with the details, and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import api
from empslurm.cli import common, search
from empslurm.cli.gathered import say
from empslurm.cli.output import Output
from empslurm.errors import UsageError
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, registry

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.plan import Plan
    from empslurm.report.answer import Answer
    from empslurm.report.summary import Summary
    from empslurm.share.inputs import Read


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser, optional=True)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write the files there (default: RUNS/gathered/NAME, with --results RUNS/gathered/NAME-results)",
    )
    parser.add_argument(
        "--published", action="store_true", help="gather the paper's own Tables 7 and 8 instead of runs"
    )
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="gather a table of results (source,target,seed,metric,value), a runs root or a bundle; several of them "
        "are several labs, whose changes are pooled",
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="with --results: read ID.csv or ID.parquet of each run there; a folder per table, in their order",
    )
    parser.add_argument(
        "--ratings", type=Path, metavar="FILE", help="read the construct ratings there (default: the paper's Table 2)"
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="M",
        help="call pairs equivalent if they are shown to differ by less than M (default: the manifest's)",
    )
    parser.add_argument("--tables", action="store_true", help="print the main tables and the missing cells too")
    parser.add_argument(
        "--rows", action="store_true", help="resample single examples instead of whole conversations or posts"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm import reference
    from empslurm.report import refuse_margin
    from empslurm.report.write import write

    margin: float | None = options.margin
    if options.manifest is not None:
        plan, root = common.load_plan(options)
        if plan.manifest.search is not None:
            return search.report(plan, root, options, out)
        margin = plan.manifest.margin if margin is None else margin
    refuse_margin(options.margin, "--margin")
    with _read(options, out) as read:
        gathered, margin = read.gathered, read.margin if margin is None else margin
        folder = options.out or RunsRoot(options.runs).gathered / _folder(read.name, options)
        with out.console(error=True).status("tables, tests and figures"):
            written = write(
                gathered, folder, ratings=reference.ratings(options.ratings), grouped=not options.rows, margin=margin
            )
        return report(gathered, folder, written, out, tables=options.tables)


def _folder(name: str, options: argparse.Namespace) -> str:
    """Where the tables go: those of other people's results not where the tables of a study of one's own are."""
    return name if options.results is None else f"{name}-results"


@contextmanager
def _read(options: argparse.Namespace, out: Output) -> Iterator[Read]:
    """From the runs root, results of others, or the paper."""
    from empslurm import gather
    from empslurm.share import inputs

    if sum((options.manifest is not None, options.published, options.results is not None)) > 1:
        raise UsageError("gather must have one input, but got several; give a manifest, --published or --results")
    if options.predictions and options.results is None:
        raise UsageError("--predictions must come with --results, but does not; name the table of results")
    if options.results is not None:
        with (
            common.counting("verifying results", out) as advance,
            inputs.read(
                options.results, options.predictions, known=registry(), data=options.data, advance=advance
            ) as read,
        ):
            yield read
        return
    if options.published:
        gathered = gather.published(registry())
    elif options.manifest is None:
        gathered = _verified(None, RunsRoot(options.runs), registry(), options.data, out)
    else:
        plan, root = common.load_plan(options)
        gathered = _verified(plan, root, plan.manifest.registry, options.data, out)
    yield inputs.Read(name=gathered.name, gathered=gathered)


def _verified(plan: Plan | None, root: RunsRoot, known: Registry, data_root: Path, out: Output) -> Gathered:
    with common.counting("verifying results", out) as advance:
        return api.collect(plan, root, known, data_root, advance)


def report(gathered: Gathered, folder: Path, written: Summary, out: Output, *, tables: bool) -> int:
    """Print the answer for people, with tables on request, or one document for programs; the exit status.

    It is 1 where a result was refused, where labs disagree on a run, or where a table of results has no baseline to
    compare a source with.
    """
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
            "verdicts": [
                {**_place(answer), "counts": dict(answer.verdicts)} for answer in written.answers if answer.verdicts
            ],
            "pairs": [{**_place(answer), **asdict(change)} for answer in written.answers for change in answer.pairs],
            "best_sources": [
                {**_place(answer), **asdict(change)} for answer in written.answers for change in answer.best
            ],
            **({"over_settings": [asdict(pair) for pair in written.over_settings]} if written.over_settings else {}),
            **(_of_labs(written) if written.labs else {}),
            "cautions": [
                {"group": answer.group, "text": text} for answer in written.answers for text in answer.warnings
            ],
            "tables": [dict(table) for table in written.contents],
            "lacking": dict(written.lacking),
            "missing": [
                {"id": cell.id, "state": cell.state, "why": cell.why, "kind": cell.kind} for cell in gathered.missing
            ],
            "files": [str(folder / name) for name in written.files],
        }
    )
    say(gathered, folder, written, out, tables=tables)
    refused = any(cell.state in ("refused", "disagrees") for cell in gathered.missing)
    return 1 if refused or (gathered.origin == "results" and not written.judged) else 0


def _of_labs(written: Summary) -> dict[str, object]:
    return {
        "labs": [asdict(lab) for lab in written.labs],
        "pooled": [asdict(pair) for pair in written.pooled],
        "disagreements": [asdict(told) for told in written.disagreements],
    }


def _place(answer: Answer) -> dict[str, object]:
    return {"group": answer.group, "fraction": answer.fraction}
