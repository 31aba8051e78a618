"""`agreement`: how far the annotators of the construct ratings agree."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.cli.gathered import show
from empslurm.cli.output import Output
from empslurm.errors import UsageError

if TYPE_CHECKING:
    from empslurm.analysis.agreement import Agreement
    from empslurm.reference import Rating
    from empslurm.share.rating.sheets import Sheet

LEVELS = ("nominal", "ordinal", "interval", "ratio")
MOST_GAPS = 12  # blanks that are named for one rater; --json has all


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "read these filled forms of `rate` (CSV or XLSX), one for each rater"
    parser.add_argument("forms", metavar="FORM", nargs="*", type=Path, help=text)
    parser.add_argument(
        "--ratings", type=Path, metavar="FILE", help="read the ratings from this CSV (default: the paper's Table 2)"
    )
    parser.add_argument(
        "--level", choices=LEVELS, default="interval", help="level of measurement of alpha (default %(default)s)"
    )
    text = "with forms: write all ratings to this file, which must not exist yet, for `gather --ratings`"
    parser.add_argument("--to", type=Path, metavar="FILE", help=text)


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm import reference
    from empslurm.report import paper
    from empslurm.share.rating import sheets as filled
    from empslurm.tasks import registry

    sheets: tuple[Sheet, ...] = ()
    if options.forms:
        if options.ratings is not None:
            raise UsageError("agreement must have one input, but got forms and --ratings; remove one of them")
        if options.to is not None:
            filled.refuse_file(options.to)
        sheets = filled.read(options.forms)
        ratings = filled.ratings(sheets)
    elif options.to is not None:
        raise UsageError("--to must come with filled forms, but got none; name the files that the raters filled")
    else:
        ratings = reference.ratings(options.ratings)
    agreements = paper.ratings_agreement(ratings, options.level)
    if options.to is not None:
        filled.write(options.to, ratings)
    read = _read(sheets, options.ratings, ratings)
    out.document(
        {
            "read": read,
            "forms": [_form(sheet) for sheet in sheets],
            "level": options.level,
            "annotators": list(ratings[0].annotators),
            "agreement": [_agreement(agreement) for agreement in agreements],
            "tasks": _tasks(ratings),
            "written": None if options.to is None else str(options.to),
        }
    )
    out.paragraph(_answer(agreements))
    out.paragraph(read)
    for sheet in sheets:
        _gaps(sheet, out)
    out.line()
    compared = paper.of_table2(ratings)
    show(paper.table3(agreements, compared=compared), out)
    show(paper.figure8(agreements, compared=compared), out)
    if sheets:
        means = paper.table5(ratings, registry(), tuple(dict.fromkeys(rating.task for rating in ratings)))
        if means is not None:
            show(means, out)
    if options.to is not None:
        out.paragraph(f"Written: {options.to}. These ratings enter the analyses of a study with:")
        out.line(f"empslurm gather MANIFEST --ratings {options.to}")
    return 0


# ---- for people ------------------------------------------------------------------------------------------------------


def _answer(agreements: Sequence[Agreement]) -> str:
    """How far the annotators agree, in one sentence."""
    *each, overall = agreements
    parts = ", ".join(f"{agreement.aspect} {_shown(agreement.alpha)}" for agreement in each)
    names = f"{overall.n_annotators} annotators agree with"
    return f"The {names} an alpha of {_shown(overall.alpha)} over all ratings ({parts}); 1 is full agreement, 0 chance."


def _shown(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "undefined"


def _read(sheets: Sequence[Sheet], file: Path | None, ratings: Sequence[Rating]) -> str:
    """What was read, in words."""
    n_tasks = len({rating.task for rating in ratings})
    if not sheets:
        source = "the paper's Table 2" if file is None else str(file)
        return f"Read {source}: {n_tasks} tasks, annotators {', '.join(ratings[0].annotators)}."
    of_each = [
        f"{sheet.path} (rater {sheet.rater}, {sheet.n_rated} of {len(sheet.levels)} ratings)" for sheet in sheets
    ]
    return f"Read {len(sheets)} forms of {n_tasks} tasks: {', '.join(of_each)}."


def _gaps(sheet: Sheet, out: Output) -> None:
    """Name the blank ratings of a form."""
    gaps = [f"{criterion} of {task}" for task, criterion in sheet.gaps]
    if gaps:
        more = f" and {len(gaps) - MOST_GAPS} more" if len(gaps) > MOST_GAPS else ""
        out.paragraph(f"{sheet.rater} left {len(gaps)} blank, not rated: {', '.join(gaps[:MOST_GAPS])}{more}.")


# ---- for programs ----------------------------------------------------------------------------------------------------


def _agreement(agreement: Agreement) -> dict[str, Any]:
    return {
        "aspect": agreement.aspect,
        "alpha": _number(agreement.alpha),
        "spearman": _number(agreement.spearman),
        "p_value": _number(agreement.p_value),
        "n_units": agreement.n_units,
        "n_annotators": agreement.n_annotators,
        "difference_counts": {f"{value:g}": count for value, count in agreement.difference_counts.items()},
    }


def _form(sheet: Sheet) -> dict[str, Any]:
    return {
        "file": str(sheet.path),
        "rater": sheet.rater,
        "n_tasks": len(sheet.lines),
        "n_rated": sheet.n_rated,
        "gaps": [list(place) for place in sheet.gaps],
    }


def _tasks(ratings: Sequence[Rating]) -> list[dict[str, Any]]:
    """Means and theme of every task, in the order of the ratings."""
    from empslurm.report import task_facts
    from empslurm.tasks import registry

    means: dict[str, dict[str, float | None]] = {}
    for rating in ratings:
        means.setdefault(rating.task, {})[rating.aspect] = _number(rating.mean)
    themes = task_facts.themes(list(means), registry(), ratings)
    return [{"task": task, "means": of_task, "theme": themes.get(task)} for task, of_task in means.items()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
