"""`agreement`: how far the annotators of the construct ratings agree."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from empslurm.cli.gathered import show
from empslurm.cli.output import Output

LEVELS = ("nominal", "ordinal", "interval", "ratio")


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ratings", type=Path, metavar="FILE", help="read the ratings from this CSV (default: the paper's Table 2)"
    )
    parser.add_argument(
        "--level", choices=LEVELS, default="interval", help="level of measurement of alpha (default %(default)s)"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm import reference
    from empslurm.report import paper

    ratings = reference.ratings(options.ratings)
    agreements = paper.ratings_agreement(ratings, options.level)
    out.document(
        {
            "level": options.level,
            "annotators": list(ratings[0].annotators),
            "agreement": [
                {
                    "aspect": agreement.aspect,
                    "alpha": _number(agreement.alpha),
                    "spearman": _number(agreement.spearman),
                    "p_value": _number(agreement.p_value),
                    "n_units": agreement.n_units,
                    "n_annotators": agreement.n_annotators,
                    "difference_counts": {f"{value:g}": count for value, count in agreement.difference_counts.items()},
                }
                for agreement in agreements
            ],
        }
    )
    show(paper.table3(agreements), out)
    show(paper.figure8(agreements), out)
    return 0


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
