"""What next: how many more seeds each target needs before a wanted difference would be seen, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from empslurm.analysis.more_seeds import MOST_SEEDS, SeedsAsked, more_seeds
from empslurm.metrics import METRICS
from empslurm.report.formats import Table, flat, number, text, whole
from empslurm.report.significance import TargetResult
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

WANTED = (
    0.02  # without a margin: the median difference to the baseline in the paper's Tables 7 and 8; of an error, a share
)


@dataclass(frozen=True, kw_only=True)
class Next:
    """One target: the seeds it needs, and their hours of training by what its runs took; NaN where that is unknown."""

    metric: str
    seeds: SeedsAsked
    hours: float


def next_seeds(
    results: Sequence[TargetResult],
    runs: pd.DataFrame,
    *,
    fraction: float,
    baseline_fraction: float,
    margin: float | None,
) -> tuple[Next, ...]:
    """For every target the seeds that show a difference of `margin`, or else of `WANTED`. `runs`: of the group."""
    made = []
    for result in results:
        own = runs[runs["target"] == result.target]
        whole_runs = own["source"].isna() | (own["source"] == own["target"])
        baseline = own["wall_s"][whole_runs & (own["fraction"] == baseline_fraction)].mean()
        transfer = own["wall_s"][~whole_runs & (own["fraction"] == fraction)].mean()
        known = baseline > 0 and transfer > 0
        found = more_seeds(
            result.comparison, _wanted(result, margin), cost_of_baseline=float(baseline / transfer) if known else 1.0
        )
        seconds = found.more_baseline * baseline + found.n_sources * found.more_transfer * transfer
        made.append(Next(metric=result.metric, seeds=found, hours=float(seconds) / 3600 if known else float("nan")))
    return tuple(made)


def _wanted(result: TargetResult, margin: float | None) -> float:
    if margin is not None:
        return margin
    error = not METRICS[result.metric].higher_is_better
    return WANTED * abs(result.comparison.baseline) if error else WANTED


def seeds_table(found: Sequence[Next], registry: Registry, *, name: str, title: str) -> Table:
    """One row per target: what is seen now, what is wanted, what it takes."""
    rows = [
        (
            text(title_of(one.seeds.target, registry)),
            text(one.metric),
            text(f"{one.seeds.n_transfer}/{one.seeds.n_baseline}"),
            number(one.seeds.detectable),
            number(one.seeds.wanted),
            *(whole(n) if not one.seeds.limit else text("") for n in _asked(one.seeds)),
            number(one.hours if not one.seeds.limit else float("nan"), 2),
            number(one.seeds.power, 2),
            text(_words(one.seeds)),
        )
        for one in found
    ]
    return flat(
        name=name,
        title=title,
        caption="Detectable: the difference that is seen with probability .8 at .05 before correction, the median over "
        f"sources. Wanted: the margin, or without one {WANTED:g} (of an error, {100 * WANTED:g} % of the baseline's). "
        "More seeds: the fewest hours, or runs where hours are unknown, with which the wanted difference is seen with "
        "probability .8; put them into `seeds` and `baseline_seeds` of the manifest. Power: for the wanted difference, "
        "with them. A new seed of a transfer also needs its source's own baseline with that seed.",
        columns={
            "target": "target",
            "metric": "metric",
            "n_seeds": "seeds",
            "detectable": "detectable",
            "wanted": "wanted",
            "more_baseline": "more seeds, baseline",
            "more_transfer": "more seeds, transfers",
            "more_runs": "more runs",
            "hours": "hours",
            "power": "power",
            "note": "note",
        },
        rows=rows,
        n_labels=2,
    )


def _asked(seeds: SeedsAsked) -> tuple[int, int, int]:
    return seeds.more_baseline, seeds.more_transfer, seeds.more_runs


def _words(seeds: SeedsAsked) -> str:
    return {
        "": "" if seeds.more_runs else "enough",
        "unknown": "noise unknown: two runs that learnt are needed in both arms",
        "examples": f"too few test examples: any number of seeds sees {seeds.least:.3f} at best",
        "seeds": f"more than {MOST_SEEDS} seeds",
    }[seeds.limit]


def seeds_statement(found: Sequence[Next], margin: float | None) -> str:
    """What all targets need together, as one sentence."""
    wanted = f"differences of {WANTED if margin is None else margin:g}"
    if any(not METRICS[one.metric].higher_is_better for one in found) and margin is None:
        wanted += " (of an error, that share)"
    enough = [one for one in found if not one.seeds.limit and not one.seeds.more_runs]
    more = [one for one in found if not one.seeds.limit and one.seeds.more_runs]
    said = [f"{len(enough)} of {len(found)} targets have enough seeds" if enough else ""]
    if more:
        n_runs, hours = sum(one.seeds.more_runs for one in more), sum(one.hours for one in more)
        cost = f", about {hours:.1f} h of training" if np.isfinite(hours) else ""
        said.append(f"{len(more)} need more ({n_runs:,} runs{cost})")
    for limit, words in (
        ("examples", "{n} cannot with their test sets"),
        ("seeds", f"{{n}} need more than {MOST_SEEDS} seeds"),
        ("unknown", "of {n} the noise is unknown"),
    ):
        n = sum(one.seeds.limit == limit for one in found)
        said.append(words.format(n=n) if n else "")
    return f"To see {wanted}: {', '.join(clause for clause in said if clause)}; table `seeds` has each target."
