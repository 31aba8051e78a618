"""`export`: adapters with model cards in AdapterHub's layout, and their upload."""

from __future__ import annotations

import argparse
from pathlib import Path

from empslurm.cli.output import Output
from empslurm.cli.score import choose, tasks_argument
from empslurm.errors import UsageError


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "a manifest (its finished baselines), or cell ids, or folders of exported adapters"
    parser.add_argument("cells", metavar="CELLS", nargs="+", help=text)
    tasks_argument(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="one folder per measure is written there")
    parser.add_argument("--push", metavar="ORG", help="upload each measure to ORG/empslurm-MEASURE on the hub")
    parser.add_argument("--dry-run", action="store_true", help="with --push: write and show, upload nothing")


def run(given: argparse.Namespace, out: Output) -> int:
    if given.dry_run and given.push is None:
        raise UsageError("--dry-run must come with --push ORG, whose upload it leaves out; add --push, or drop it")
    chosen = choose(given.cells, given.tasks, given)
    from empslurm.scoring import export
    from empslurm.scoring.quality import with_evidence

    made = export.export(chosen, with_evidence(chosen), given.to, given.push)
    addresses = export.push(made) if given.push is not None and not given.dry_run else []
    shown = [
        {"folder": str(one.folder), "repository": one.repository, "files": list(one.paths), "n_bytes": one.n_bytes}
        for one in made
    ]
    out.document({"measures": shown, "pushed": addresses, "left_out": list(chosen.problems)})
    rows = [(str(one.folder), len(one.paths), one.n_bytes, one.repository or "-") for one in made]
    out.table("exported", ("folder", "files", "bytes", "would go to" if given.dry_run else "hub"), rows)
    for problem in chosen.problems:
        out.say(f"left out: {problem}")
    return 1 if chosen.problems else 0
