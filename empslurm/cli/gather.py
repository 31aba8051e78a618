"""`gather`: the tables so far, and plainly what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.store import RunsRoot
from empslurm.tasks import registry


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
    with Progress(console=out.console(error=True), transient=True) as progress:
        gathered = gather(root, plan, known, progress)
    written = write(gathered, given.out or root.gathered / name)
    return report(gathered, written, out)
