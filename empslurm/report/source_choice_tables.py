"""Tables and sentences about ways to choose sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from empslurm.analysis.source_selection import MEASURES, MODEL, POPULARITY, RANDOM, REGRETS, Quality
from empslurm.report.formats import Entry, Table, flat, number, text
from empslurm.report.group_results import Analyses
from empslurm.report.source_choice import CEILING, FEATURES, SourceChoice
from empslurm.report.verdict_tables import part_name

TITLES = {
    MODEL: "`suggest` (popularity and features)",
    POPULARITY: "popularity alone",
    RANDOM: "random order",
    CEILING: "half of the seeds (the ceiling)",
}
HEADS = {"tau": "tau", "ndcg": "NDCG", **{f"regret_{k}": f"regret@{k}" for k in REGRETS}}
DETAILS = (
    "Tau: Kendall's tau-b of a way's values with the measured gains of a target's sources; 0 is a random order. NDCG: "
    "the measured gains, less the worst one, are the relevance. Regret@k: how far the best of the first k sources "
    "stays behind the best of all, in percent of its score (Poth et al. 2021). Means over targets; 95 % intervals "
    "from resampling targets. Popularity: how much more a source gained than the average source of the same target, "
    "mean over other targets. The ceiling: how well one half of the seeds predicts the other; no way can be expected "
    "to do much better."
)


def tables(analyses: Analyses) -> list[Table]:
    """One with targets left out, one with sources left out."""
    choice = analyses.source_choice
    if choice is None:
        return []
    left_out = {"targets": choice.targets_left_out, "sources": choice.sources_left_out}
    return [table(choice, what, rows) for what, rows in left_out.items()]


def title(way: str) -> str:
    """A way to choose, in words."""
    return TITLES.get(way) or FEATURES[way].title


def table(choice: SourceChoice, what: str, rows: Sequence[Quality]) -> Table:
    """Every way to choose with whole `what` left out, and the ceiling."""
    ceiling = [] if choice.ceiling is None else [choice.ceiling]
    new = "A source that is left out has no popularity. " if what == "sources" else ""
    return flat(
        name=f"source-choice-{what}{part_name(choice.fraction)}",
        title=f"Ways to choose sources, whole {what} left out",
        caption=f"How well each way orders the {choice.n_sources} sources of {len(choice.targets)} targets. {new}"
        "Higher tau and NDCG are better, and lower regret.",
        details=DETAILS,
        columns={"way": "way", **{name: head for one, head in HEADS.items() for name, head in _columns(one, head)}},
        rows=[_row(one) for one in (*rows, *ceiling)],
        n_labels=1,
        main=("way", "tau", "tau_low", "tau_high", "ndcg", *(f"regret_{k}" for k in REGRETS)),
    )


def digits_of(measure: str) -> int:
    """Decimals of a measure."""
    return 1 if measure.startswith("regret") else 2


def _columns(name: str, head: str) -> list[tuple[str, str]]:
    return [(name, head), (f"{name}_low", "low"), (f"{name}_high", "high")]


def _row(one: Quality) -> tuple[Entry, ...]:
    cells = zip(one.mean, one.low, one.high, map(digits_of, MEASURES), strict=True)
    return (text(title(one.way)), *(number(float(value), n) for *values, n in cells for value in values))


def sentences(choice: SourceChoice) -> list[str]:
    """What the tables say, the answer first."""
    by_way = {one.way: one for one in choice.targets_left_out}
    _, low, high = choice.over_popularity
    if not np.isfinite(low):
        first = "On every target all sources gained the same, so no way to choose can be judged."
    elif low > 0:
        first = "Features predict the order of a new target's sources better than popularity alone."
    elif high < 0:
        first = "Popularity alone predicts the order of a new target's sources better than popularity with features."
    else:
        first = "Popularity is as good, as far as can be seen: features are not shown to improve on it."
    best = max((one for one in choice.targets_left_out if one.way in FEATURES), key=_tau, default=None)
    tau = f"Kendall's tau with the measured order of targets that are left out: {_said(by_way[MODEL])} by `suggest`, "
    tau += f"{_said(by_way[POPULARITY])} by popularity alone, 0 in random order"
    tau += f", {_said(best)} by the best single feature ({title(best.way)})." if best is not None else "."
    said = [first, tau]
    if choice.ceiling:
        said.append(f"One half of the seeds predicts the order by the other half with {_said(choice.ceiling)}.")
    return said


def _tau(one: Quality) -> float:
    return float(np.nan_to_num(one.mean[0], nan=-2.0))


def _said(one: Quality) -> str:
    mean, low, high = (round(float(value), 2) + 0.0 for value in (one.mean[0], one.low[0], one.high[0]))  # no -0.00
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"
