"""`verify`: a reviewer's check of a study: seals, scores, every printed number, and some cells trained again."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm import files, resources
from empslurm.cli.completion import completed, manifest_names
from empslurm.cli.output import Output
from empslurm.errors import StoreError

if TYPE_CHECKING:
    from rich.progress import Progress

    from empslurm.share.study import Study
    from empslurm.share.verification import Verification

LOGIN_NODE = (
    "cells are trained again on this machine, which seems to be a login node; run the same command inside a job, such "
    "as one of `salloc`, where that is not allowed"
)
MOST_NAMED = 5  # findings of one kind that are printed; the page has all


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "check this manifest's study, or this bundle"
    completed(parser.add_argument("study", metavar="MANIFEST|BUNDLE", help=text), manifest_names)
    text = "train this many random cells again and compare them; or the cells with these ids, with commas between"
    parser.add_argument("--retrain", metavar="K", help=text)


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.share import retrained, verification
    from empslurm.share.checks import check

    wanted = None if options.retrain is None else retrained.asked(options.retrain)
    with _opened(options) as (study, page), _bars(out) as bars:
        wanted = None if wanted is None else retrained.named(study, wanted)  # a mistake is said before the work
        verified = bars.add_task("verifying results", total=None)
        checked = check(
            study,
            lambda n: bars.update(verified, advance=n),
            lambda text: bars.update(verified, description=text),
        )
        again: tuple[retrained.Retrained, ...] = ()
        unchecked: tuple[str, ...] = ()
        if wanted is not None:
            finished = sorted({str(cell) for group in checked.results.groups for cell in group.runs["id"]})
            drawn = retrained.draw(study, finished, wanted)
            if shutil.which("sbatch") is not None and "SLURM_JOB_ID" not in os.environ:
                out.warn(LOGIN_NODE)
            bars.update(verified, visible=False)
            bar = bars.add_task("training cells again", total=len(drawn.cells))

            def count(done: int, total: int) -> None:
                bars.update(bar, completed=done, total=total)

            again, unchecked = retrained.retrain(study, drawn, options.data, count, out.say)
            unchecked = (*drawn.unchecked, *unchecked)
        made = verification.Verification(checked=checked, retrained=again, unchecked=unchecked, asked=options.study)
        problem = ""
        try:
            files.write_text(page, verification.page(made))
        except StoreError as error:  # the answer is worth more than its page
            problem = str(error)
            out.warn(problem)
    out.document(document(made, "" if problem else str(page)))
    say(made, out)
    if not problem:
        out.line(str(page))
    return 0 if made.agrees and not problem else 1


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[tuple[Study, Path]]:
    """The study, and where the page about it goes: with its tables, or beside its bundle."""
    from empslurm.share import bundle, study
    from empslurm.share.checks import PAGE

    path = Path(options.study)
    here = path.resolve()
    named = here.is_dir() and resources.find("manifests", options.study) is not None  # a folder named as a manifest
    if bundle.is_bundle(path) or bundle.is_zip(path) or (here.is_dir() and not named):
        with bundle.opened(path) as packed:
            yield packed, here.parent / f"{here.stem if bundle.is_zip(here) else here.name}-{PAGE}"
        return
    found = study.of_manifest(options.study, runs=options.runs, data=options.data)
    yield found, found.tables / PAGE


@contextmanager
def _bars(out: Output) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = out.console(error=True)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=console, disable=not console.is_terminal, transient=True) as bars:
        yield bars


# ---- for people ------------------------------------------------------------------------------------------------------


def say(made: Verification, out: Output) -> None:
    """Print the answer, then each finding with its first places, the retrained cells and what was not checked."""
    from empslurm.share.checks import KINDS, such
    from empslurm.share.verification import answer

    for text in answer(made):
        out.paragraph(text, style="bold")
    for kind, title in KINDS.items():
        own = [finding for finding in made.findings if finding.kind == kind]
        if not own:
            continue
        out.line()
        out.paragraph(f"{title[:1].upper()}{title[1:]}:")
        for finding in own[:MOST_NAMED]:
            out.paragraph(f"  {finding.where}: {finding.text}", style="red")
            for entry in finding.entries:
                out.paragraph(f"    {entry.text}")
            more = finding.n_entries - len(finding.entries)
            if more > 0:
                out.paragraph(f"    and {more:,} more places")
        if len(own) > MOST_NAMED:
            out.paragraph(f"  and {len(own) - MOST_NAMED:,} more: the page has all")
    if made.checked.follows:
        out.line()
        names = such([file.name for file in made.checked.follows])
        out.paragraph(f"{len(made.checked.follows):,} files differ because of these findings, {names}.")
    for one in made.retrained:
        apart = f" (not as it was: {', '.join(one.elsewhere)})" if one.elsewhere else ""
        out.paragraph(f"{one.cell}: {one.text}{apart}", style="" if one.agrees else "red")
    if made.repeat:
        out.line(f"to repeat: {made.repeat}")
    out.line()
    for text in (*made.checked.options, *made.checked.cautions, *made.limits):
        out.paragraph(text, style="dim")


# ---- for programs ----------------------------------------------------------------------------------------------------


def document(made: Verification, page: str) -> dict[str, Any]:
    """The JSON document. `page`: its path; "" where it could not be written."""
    from empslurm.share.verification import answer

    checked = made.checked
    return {
        "name": checked.name,
        "agrees": made.agrees,
        "sentences": list(answer(made)),
        "n_planned": checked.n_planned,
        "n_results": checked.n_results,
        "n_scores": checked.n_scores,
        "files": dict(checked.n_files),
        "findings": [
            {
                "kind": finding.kind,
                "where": finding.where,
                "text": finding.text,
                "n_places": finding.n_entries,
                "places": [
                    {"place": entry.place, "printed": entry.printed, "recomputed": entry.again}
                    for entry in finding.entries
                ],
            }
            for finding in made.findings
        ],
        "follows": [file.name for file in checked.follows],
        "retrained": [
            {
                "cell": one.cell,
                "outcome": one.outcome,
                "agrees": one.agrees,
                "text": one.text,
                "metric": one.metric,
                "score": one.score,
                "again": one.again,
                "not_as_it_was": list(one.elsewhere),
            }
            for one in made.retrained
        ],
        "repeat": made.repeat or None,
        "options": list(checked.options),
        "cautions": list(checked.cautions),
        "limits": list(made.limits),
        "page": page or None,
    }
