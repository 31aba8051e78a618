"""`rate`: forms in which raters judge tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

from empslurm import resources
from empslurm.cli.completion import completed
from empslurm.cli.output import Output
from empslurm.tasks import registry


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = (
        "rate these tasks: ids, patterns such as 'epitome_*', or manifests, each of which stands for all of its tasks"
    )
    added = parser.add_argument("tasks", metavar="TASK", nargs="+", help=text)
    completed(added, lambda **_: [*registry().tasks, *resources.names("manifests")])
    text = "write forms for raters of these names"
    parser.add_argument("--raters", nargs="+", action="extend", required=True, metavar="NAME", help=text)
    text = "write the forms to this folder; files that are there are never replaced"
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help=text)
    text = "read own tasks from this card (a folder of cards; may be repeated)"
    parser.add_argument("--card", dest="cards", type=Path, action="append", default=[], metavar="CARD", help=text)


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.share.rating import forms, subjects
    from empslurm.share.rating.criteria import CRITERIA

    forms.refuse_raters(options.raters)
    known, tasks = subjects.chosen(options.tasks, options.cards)
    written = forms.write(options.to, options.raters, tasks, known)
    out.document(
        {
            "folder": str(written.folder),
            "raters": list(written.raters),
            "tasks": list(written.tasks),
            "files": [str(path) for path in written.files],
        }
    )
    n_raters, n_tasks = len(written.raters), len(written.tasks)
    out.paragraph(
        f"Wrote forms for {n_raters} rater{'s' * (n_raters != 1)}, with {n_tasks} task{'s' * (n_tasks != 1)} and "
        f"{n_tasks * len(CRITERIA)} ratings each, to {written.folder}."
    )
    out.paragraph(
        "Send each rater the page, the CSV or the spreadsheet: one of them is to be filled. Each form has its own "
        "order of tasks; raters must not compare answers before all have finished."
    )
    for path in written.files:
        out.line(str(path))
    out.paragraph("Then read the filled files, for example:")
    filled = [str(written.folder / f"{rater}.csv") for rater in written.raters]
    out.line(f"empslurm agreement {' '.join(filled)} --to ratings.csv")
    return 0
