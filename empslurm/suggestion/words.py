"""A ranking in sentences: what to try, how sure that is, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence

from empslurm.analysis.source_prediction import FEWEST_CALIBRATED, FEWEST_TARGETS
from empslurm.report import source_choice_tables
from empslurm.suggestion.ranking import Candidate, Ranking, title

MOST_REASONS = 3
LEAST_REASON = 0.0005  # less is printed as 0
MOST_NAMED = 5


def in_words(one: Candidate) -> str:
    """The largest reasons of a source's place, such as `popularity +0.012, LogME -0.004`."""
    told = [reason for reason in one.reasons if abs(reason.part) >= LEAST_REASON]
    said = [f"{title(reason.feature)} {reason.part:+.3f}" for reason in told[:MOST_REASONS]]
    return ", ".join(said) or "no reason stands out"


def opening(ranking: Ranking, target: str) -> str:
    """Which sources to try first, and whether one of them is likely to help."""
    first = ranking.candidates[: ranking.k]
    names = listed([one.source for one in first])
    if all(one.high <= 0 for one in first):
        return f"No source is expected to help {target}; the least harm is expected from {names}."
    sure = [one.source for one in first if one.low > 0]
    if sure:
        return f"For {target}, try {names} first; {listed(sure)} {'is' if len(sure) == 1 else 'are'} likely to help."
    return f"For {target}, try {names} first; none of them is sure to help, since every 90 % interval reaches below 0."


def unit(ranking: Ranking, metric: str) -> str:
    """What the numbers of a ranking are."""
    return "percent of the baseline's error" if ranking.percent else metric or "the target's metric"


def cautions(ranking: Ranking) -> list[str]:
    """How sure the ranking is: how it compares with its rivals, how its intervals were made, what is not known."""
    said = []
    if ranking.choice is not None:
        said += source_choice_tables.sentences(ranking.choice)
    else:
        said.append(f"Whether such rankings can be trusted is not known: {ranking.unjudged}.")
    n = ranking.n_targets
    others = "finished target" if n == 1 else "finished targets"
    if ranking.calibrated:
        said.append(
            f"Intervals were checked on {n} {others}, each left out in turn, and scaled by {ranking.width:.2f}, so "
            "that at least nine in ten measured improvements lie in them."
        )
    elif n:
        said.append(
            f"The intervals are not checked: this needs {FEWEST_CALIBRATED} finished targets beside this one, but "
            f"there {'is' if n == 1 else 'are'} {n}."
        )
    else:
        said.append(
            "No other target has a usable result: the order follows from features alone, by what they were worth in "
            "another study, and the intervals are wide."
        )
    if 0 < n < FEWEST_TARGETS:
        said.append(f"How far gains vary is taken from another study: {n} {others} cannot tell ({FEWEST_TARGETS} can).")
    if ranking.fraction != 1.0:
        said.append(f"All finished results were trained on {ranking.fraction:.0%} of the targets' training texts.")
    if ranking.one_seed:
        said.append("Some targets have one seed, so how far their results vary by chance is not known.")
    if ranking.strangers and n:
        said.append(f"No other target has a result with {listed(ranking.strangers)}, whose popularity is unknown.")
    return said


def listed(names: Sequence[str]) -> str:
    """`a, b and c`, cut after a few."""
    shown = list(names)
    if len(shown) > MOST_NAMED:
        shown = [*shown[:MOST_NAMED], f"{len(names) - MOST_NAMED} others"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
