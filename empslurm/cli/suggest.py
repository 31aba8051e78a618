"""`suggest`: which sources are worth trying for a target, and the manifest that tries them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.cli.completion import completed, manifest_names
from empslurm.cli.gathered import show
from empslurm.cli.output import Output
from empslurm.cli.score import listed
from empslurm.errors import UsageError
from empslurm.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from empslurm.suggestion.answer import Suggestion
    from empslurm.suggestion.next_grid import Written
    from empslurm.suggestion.ranking import Candidate, Ranking

SHOWN = 20  # sources printed for people; --json has all


def positive(text: str) -> float:
    """A number above 0."""
    with suppress(ValueError):
        value = float(text)
        if 0 < value < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"must be a number above 0, but is {text!r}; write for example 0.02")


def count(text: str) -> int:
    """A whole number of 1 or more."""
    with suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, but is {text!r}; write for example 3")


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    added = parser.add_argument("target", metavar="TARGET", help="suggest sources for this task")
    completed(added, lambda **_: registry().tasks)
    text = "learn from these finished grids: manifests, runs roots or tables of results (default: the manifest of "
    text += "--cells, else the whole runs root)"
    added = parser.add_argument(
        "--from", dest="grids", nargs="+", action="extend", default=[], metavar="MANIFEST|RUNS|RESULTS", help=text
    )
    completed(added, manifest_names)
    text = "rank these adapters as sources: one manifest, or cell ids, or folders of exported adapters, with commas "
    text += "between (default: all adapters of the grids)"
    parser.add_argument("--cells", type=listed, default=[], metavar="CELLS", help=text)
    text = "read the target's dataset from this card (a folder of cards; may be repeated)"
    parser.add_argument("--card", dest="cards", type=Path, action="append", default=[], metavar="CARD", help=text)
    parser.add_argument("-k", type=count, default=3, help="suggest this many sources (default 3)")
    text = "write a grid manifest that tries them to this file, which must not exist yet"
    parser.add_argument("--write", type=Path, metavar="FILE", help=text)
    text = "with --write: give it enough seeds to detect this difference in the target's metric"
    parser.add_argument("--detect", type=positive, metavar="D", help=text)


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.suggestion import next_grid
    from empslurm.suggestion.answer import answer
    from empslurm.suggestion.inputs import ask

    if options.detect is not None and options.write is None:
        raise UsageError("--detect must come with --write, but does not; add `--write manifests/next.yaml`")
    if options.write is not None:
        next_grid.refuse_file(options.write, options.cards)
    with progress_bars(out) as (verified, advance):
        question = ask(
            options.target,
            grids=options.grids,
            cells=options.cells,
            cards=options.cards,
            k=options.k,
            runs=options.runs,
            data=options.data,
            verified=verified,
        )
        found = answer(question, advance)
    written = None
    if options.write is not None:
        written = next_grid.write(found, options.write, detect=options.detect)
    out.document(document(found, written))
    say(found, written, out)
    return 0


@contextmanager
def progress_bars(out: Output) -> Iterator[tuple[Callable[[int], None], Callable[[str, int, int], None]]]:
    """Show what is verified, then what is read, on a terminal's stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = out.console(error=True)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("verifying results", total=None)

        def verified(n: int) -> None:
            bars.update(bar, advance=n)

        def advance(what: str, done: int, total: int) -> None:
            bars.update(bar, description=what, completed=done, total=total or None)

        yield verified, advance


# ---- for people ------------------------------------------------------------------------------------------------------


def say(found: Suggestion, written: Written | None, out: Output) -> None:
    """Print the answer, each ranking with its rivals, what it cost, and what was written."""
    for problem in found.problems:
        out.say(f"! {problem}")
    for ranking in found.rankings:
        _ranking(found, ranking, out)
    for line in _cost(found):
        out.paragraph(line)
    if written is not None:
        _written(written, out)


def _ranking(found: Suggestion, ranking: Ranking, out: Output) -> None:
    from empslurm.report.formats import main_columns
    from empslurm.report.source_choice_tables import table
    from empslurm.suggestion import words

    if ranking.setting:
        out.paragraph(ranking.setting, style="bold")
    out.paragraph(words.opening(ranking, found.question.target))
    out.line()
    digits = 1 if ranking.percent else 3
    rows = [_row(one, digits) for one in ranking.candidates[:SHOWN]]
    columns = ("source", "expected", "90 % interval", f"chance of best {ranking.k}", "why")
    out.table(f"expected improvement, in {words.unit(ranking, found.metric)}", columns, rows)
    if len(ranking.candidates) > SHOWN:
        out.line(f"and {len(ranking.candidates) - SHOWN} others; --json has all")
    out.paragraph("Why: parts of the expected improvement, compared with the mean of all sources.", style="dim")
    if any(one.tried for one in ranking.candidates):
        out.paragraph("*: its transfer to this target has finished; its own runs count.", style="dim")
    out.line()
    if ranking.choice is not None:
        show(main_columns(table(ranking.choice, "targets", ranking.choice.targets_left_out)), out)
    for text in words.cautions(ranking):
        out.paragraph(text)
    out.line()


def _row(one: Candidate, digits: int) -> tuple[str, ...]:
    from empslurm.suggestion.words import in_words

    numbers = [f"{value:+.{digits}f}" for value in (one.expected, one.low, one.high)]
    name = f"{one.source} *" if one.tried else one.source
    return name, numbers[0], f"{numbers[1]} to {numbers[2]}", f"{one.best:.0%}", in_words(one)


def _cost(found: Suggestion) -> Iterator[str]:
    readings, target = found.readings, found.question.target
    if target in readings.n_texts:
        n_others = len(readings.n_texts) - 1
        others = f", and some of {n_others} finished targets," if n_others else ""
        adapters = f"{len(found.sources.read)} adapters read {readings.n_texts[target]:,} training texts of {target}"
        seconds = f"{sum(readings.seconds.values()):.0f} s ({readings.now:.0f} s in this call)"
        yield f"{adapters}{others} in {seconds}. Nothing was trained."
        yield f"The values are kept in {found.question.root.suitability}."


def _written(written: Written, out: Output) -> None:
    hours = written.hours
    took = f"about {max(hours.job_h, 0.01):.2f} hours by the speed of finished cells" if hours is not None else ""
    cost = took or "in an unknown time, since no cell on this backbone has finished"
    out.paragraph(f"Written: {written.path}, with {written.why}.")
    out.paragraph(f"{written.n_to_run} of its {len(written.plan.cells)} cells are left to run, {cost}.")
    out.line(f"empslurm submit {written.path}")


# ---- for programs ----------------------------------------------------------------------------------------------------


def document(found: Suggestion, written: Written | None) -> dict[str, Any]:
    """The JSON document."""
    readings = found.readings
    return {
        "target": found.question.target,
        "metric": found.metric or None,
        "rankings": [_described(found, ranking) for ranking in found.rankings],
        "n_texts": dict(readings.n_texts),
        "seconds": dict(readings.seconds),
        "seconds_now": readings.now,
        "left_out": list(found.problems),
        "written": None
        if written is None
        else {
            "file": str(written.path),
            "why": written.why,
            "n_cells": len(written.plan.cells),
            "n_to_run": written.n_to_run,
            "hours": None if written.hours is None else written.hours.job_h,
        },
    }


def _described(found: Suggestion, ranking: Ranking) -> dict[str, Any]:
    from empslurm.suggestion import words

    choice = ranking.choice
    return {
        "setting": ranking.setting,
        "k": ranking.k,
        "unit": words.unit(ranking, found.metric),
        "sentences": [words.opening(ranking, found.question.target), *words.cautions(ranking)],
        "sources": [_source(one) for one in ranking.candidates],
        "n_targets": ranking.n_targets,
        "calibrated": ranking.calibrated,
        "width": ranking.width,
        "ways": [] if choice is None else [_way(one) for one in choice.targets_left_out],
        "ceiling": None if choice is None or choice.ceiling is None else _way(choice.ceiling),
    }


def _source(one: Candidate) -> dict[str, Any]:
    return {
        "source": one.source,
        "expected": one.expected,
        "low": one.low,
        "high": one.high,
        "best": one.best,
        "tried": one.tried,
        "popularity": _known(one.popularity),
        "values": {name: _known(value) for name, value in one.values.items()},
        "reasons": {reason.feature: reason.part for reason in one.reasons},
        "seconds": _known(one.seconds),
    }


def _way(one: Any) -> dict[str, Any]:
    from empslurm.analysis.source_selection import MEASURES

    values = zip(MEASURES, one.mean, one.low, one.high, strict=True)
    return {
        "way": one.way,
        **{name: [_known(float(value)) for value in (mean, low, high)] for name, mean, low, high in values},
    }


def _known(value: float) -> float | None:
    return value if value == value else None
