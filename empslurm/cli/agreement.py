"""`agreement`: how far the annotators of the construct ratings agree."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from empslurm.cli import gather
from empslurm.cli.output import Output

LEVELS = ("nominal", "ordinal", "interval", "ratio")


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ratings", type=Path, metavar="FILE", help="a CSV like the packaged one (default: the paper's)"
    )
    parser.add_argument("--level", choices=LEVELS, default="interval", help="level of measurement of alpha")


def run(given: argparse.Namespace, out: Output) -> int:
    from empslurm import reference
    from empslurm.report import paper

    ratings = reference.ratings(given.ratings)
    found = paper.ratings_agreement(ratings, given.level)
    out.document(
        {
            "level": given.level,
            "annotators": list(ratings[0].annotators),
            "agreement": [
                {
                    "aspect": one.aspect,
                    "alpha": _number(one.alpha),
                    "spearman": _number(one.spearman),
                    "p_value": _number(one.p_value),
                    "n_units": one.n_units,
                    "n_annotators": one.n_annotators,
                    "difference_counts": {f"{value:g}": count for value, count in one.difference_counts.items()},
                }
                for one in found
            ],
        }
    )
    gather.show(paper.table3(found), out)
    gather.show(paper.figure8(found), out)
    return 0


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
