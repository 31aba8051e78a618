"""The headline: the main findings as sentences with their numbers."""

from __future__ import annotations

import numpy as np

from empslurm.report.formats import capital, shown
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.importance_tables import of_each
from empslurm.report.seeds import seeds_statement
from empslurm.report.tables import title_of
from empslurm.report.verdict_tables import (
    collapse_statement,
    collapse_words,
    counts,
    part_name,
    power_statement,
    same_cell_statement,
)
from empslurm.report.wording import plain


def headline(analyses: Analyses) -> tuple[str, ...]:
    """The headline of one group."""
    said = []
    if not analyses.significance and analyses.from_results:
        said.append(capital(analyses.lacking.get("baselines") or analyses.lacking["verdicts"]) + ".")
    for significance in analyses.significance:
        said += _of_verdicts(significance, analyses)
    said += _median(analyses)
    said += of_each(analyses.importances, lambda checks: checks.sentence)
    return tuple(said if analyses.of_paper else map(plain, said))


def _of_verdicts(significance: Significance, analyses: Analyses) -> list[str]:
    """Verdicts at one data fraction, collapses, power, seeds, and the paper's test on two seeds of the same cell."""
    fraction = significance.fraction
    statements = (
        counted(significance),
        collapse_statement(significance),
        *_collapses(significance, analyses),
        power_statement(significance),
        seeds_statement(significance.next, significance.margin, fraction=fraction, table=f"seeds{part_name(fraction)}"),
        same_cell_statement(significance),
    )
    return [sentence for sentence in statements if sentence]


def counted(significance: Significance) -> str:
    """The pairs by verdict, as a sentence."""
    tally, fraction = counts(significance.pairs), significance.fraction
    where = "" if fraction == 1.0 else f" with {fraction * 100:g} % of the target's data"
    n = len(significance.pairs)
    return (
        f"Of {n} {'pair' if n == 1 else 'pairs'}{where}, {_verb(tally['helps'], 'helps', 'help')}, "
        f"{_verb(tally['harms'], 'harms', 'harm')}, "
        f"{_equivalent(tally['equivalent'], significance.margin)}{_verb(tally['inconclusive'], 'is', 'are')} "
        f"inconclusive, {_verb(tally['undecided'], 'is', 'are')} undecided."
    )


def _verb(n: int, singular: str, plural: str) -> str:
    """A number with its verb."""
    return f"{n} {singular if n == 1 else plural}"


def _collapses(significance: Significance, analyses: Analyses) -> list[str]:
    """Sources that change how often runs collapse, as sentences."""
    registry = analyses.gathered.registry
    return [
        f"{title_of(collapse.source, registry)} {collapse_words(collapse)} on {title_of(collapse.target, registry)}: "
        f"{collapse.n_collapsed} of {collapse.n_runs} runs, the baseline {collapse.n_collapsed_baseline} of "
        f"{collapse.n_runs_baseline}."
        for collapse in significance.collapse
        if collapse.differs
    ]


def _equivalent(n: int, margin: float | None) -> str:
    """A clause of the headline; "" where no margin was asked for."""
    return "" if margin is None else f"{_verb(n, 'is', 'are')} equivalent within {margin:g}, "


def _median(analyses: Analyses) -> list[str]:
    improvements = [
        pair.improvement
        for significance in analyses.significance
        if significance.fraction == significance.baseline_fraction
        for pair in significance.pairs
    ]
    gains = [improvement.gain for improvement in improvements if np.isfinite(improvement.gain)]
    percents = [improvement.percent for improvement in improvements if np.isfinite(improvement.percent)]
    if not percents:
        return []
    middle, up = float(np.median(percents)), sum(gain > 0 for gain in gains)
    where = "above" if all(table.higher_is_better for table in analyses.tables) else "better than"
    of = "" if len(percents) == len(gains) else f" (of {len(percents)} pairs whose baseline is positive)"
    return [
        f"The median change is {shown(middle, 1, signed=True)} %{of}; {up} of {len(gains)} pairs are {where} the "
        "baseline."
    ]
