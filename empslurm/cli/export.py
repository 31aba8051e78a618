"""`export`: write adapters with model cards in AdapterHub's layout, and upload them."""

from __future__ import annotations

import argparse
from pathlib import Path

from empslurm.cli.output import Output
from empslurm.cli.score import choose, selection_arguments
from empslurm.errors import UsageError


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "export the finished baselines of a manifest, or cells by id, or folders of exported adapters"
    parser.add_argument("cells", metavar="CELLS", nargs="+", help=text)
    selection_arguments(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="write one folder per measure there")
    parser.add_argument(
        "--push",
        metavar="ORG",
        help="upload each measure to ORG/empslurm-MEASURE on the Hugging Face hub, with --backbone to "
        "ORG/empslurm-MEASURE-BACKBONE (default: no upload)",
    )
    parser.add_argument("--dry-run", action="store_true", help="with --push: write the folders and upload nothing")


def run(options: argparse.Namespace, out: Output) -> int:
    if options.dry_run and options.push is None:
        raise UsageError("--dry-run must come with --push ORG, whose upload it leaves out; add --push, or drop it")
    chosen = choose(options.cells, options)
    from empslurm.scoring import export
    from empslurm.scoring.quality import with_evidence

    exported = export.export(chosen, with_evidence(chosen), options.to, options.push)
    addresses = export.push(exported) if options.push is not None and not options.dry_run else []
    shown = [
        {
            "folder": str(measure.folder),
            "repository": measure.repository,
            "files": list(measure.paths),
            "n_bytes": measure.n_bytes,
        }
        for measure in exported
    ]
    out.document({"measures": shown, "pushed": addresses, "left_out": list(chosen.problems)})
    rows = [
        (str(measure.folder), len(measure.paths), measure.n_bytes, measure.repository or "-") for measure in exported
    ]
    out.table("exported", ("folder", "files", "bytes", "would go to" if options.dry_run else "hub"), rows)
    for problem in chosen.problems:
        out.say(f"left out: {problem}")
    return 1 if chosen.problems else 0
