"""What next: how many more seeds each target needs before a wanted difference would be seen, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from empslurm.analysis.more_seeds import MOST_SEEDS, SeedsAsked, more_seeds
from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, flat, number, text, whole
from empslurm.report.significance import TargetResult
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

# Without a margin: the median difference to the baseline in the paper's Tables 7 and 8; of an error, a share.
WANTED = 0.02


@dataclass(frozen=True, kw_only=True)
class Next:
    """One target: the seeds it needs, and their hours of training by what its runs took; NaN where that is unknown."""

    metric: str
    seeds: SeedsAsked
    hours: float
    why: str = ""  # why its noise is unknown


def next_seeds(
    results: Sequence[TargetResult],
    runs: pd.DataFrame,
    *,
    fraction: float,
    baseline_fraction: float,
    margin: float | None,
) -> tuple[Next, ...]:
    """For every target the seeds that show a difference of `margin`, or else of `WANTED`. `runs`: of the tables."""
    alone = runs["source"].isna() | (runs["source"] == runs["target"])
    took = runs.assign(alone=alone).groupby(["target", "alone", "fraction"])["wall_s"].mean().to_dict()
    made = []
    for result in results:
        baseline = float(took.get((result.target, True, baseline_fraction), np.nan))
        transfer = float(took.get((result.target, False, fraction), np.nan))
        known = baseline > 0 and transfer > 0
        found = more_seeds(
            result.comparison, _wanted(result, margin), cost_of_baseline=baseline / transfer if known else 1.0
        )
        seconds = found.more_baseline * baseline + found.n_sources * found.more_transfer * transfer
        why = "; ".join(dict.fromkeys(result.comparison.reasons)) if found.limit == "unknown" else ""
        hours = seconds / 3600 if known else float("nan")
        made.append(Next(metric=result.metric, seeds=found, hours=hours, why=why))
    return tuple(made)


def _wanted(result: TargetResult, margin: float | None) -> float:
    if margin is not None:
        return margin
    error = not METRICS[result.metric].higher_is_better
    return WANTED * abs(result.comparison.baseline) if error else WANTED


def seeds_table(found: Sequence[Next], registry: Registry, *, name: str, title: str, advice: str = "") -> Table:
    """One row per target: what is seen now, what is wanted, what it takes. `advice`: the caption's last sentences."""
    rows = [
        (
            text(title_of(one.seeds.target, registry)),
            text(one.metric),
            text(f"{one.seeds.n_transfer}/{one.seeds.n_baseline}"),
            _short(one.seeds.detectable),
            _short(one.seeds.wanted),
            *(whole(n) if not one.seeds.limit else text("") for n in _asked(one.seeds)),
            number(one.hours if not one.seeds.limit else float("nan"), 2),
            number(one.seeds.power, 2),
            text(_note(one)),
        )
        for one in found
    ]
    return flat(
        name=name,
        title=title,
        caption="Seeds: of a transfer, the median, and of the baseline. Detectable: the difference that is seen with "
        "probability .8 at .05 before correction, if the noise is as it looks: the median over sources. Wanted: the "
        f"margin, or without one {WANTED:g} (of an error, {100 * WANTED:g} % of the baseline's). More seeds: the "
        "cheapest with which the wanted difference is seen with probability .8; they allow for how little a few runs "
        "tell of the noise. Power: for the wanted difference, with the seeds asked for, or with those there are where "
        "none will do. The baseline must have every seed that a transfer has." + advice,
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


# For runs of a manifest: where the seeds go, and what they bring along.
IN_A_MANIFEST = (
    " They go into `seeds` and `baseline_seeds` of a manifest, which has one list for all its targets: take the "
    "largest numbers, or give targets manifests of their own. Runs and hours are the target's own; a new seed of a "
    "transfer also needs its source's own baseline with that seed."
)
SHARED = " The baselines with all data stand in the table `seeds` too: count their seeds once."


def _short(value: float) -> Entry:
    """A number with three decimals, or with its first two digits where those would show none."""
    if not 0 < value < 0.001:
        return number(value)
    return Entry(text=f"{value:.2g}", raw=value)


def _asked(seeds: SeedsAsked) -> tuple[int, int, int]:
    return seeds.more_baseline, seeds.more_transfer, seeds.more_runs


def _note(one: Next) -> str:
    return {
        "": "" if one.seeds.more_runs else "enough",
        "unknown": one.why,
        "examples": f"too few test examples: no number of seeds shows less than {one.seeds.least:.2g}",
        "seeds": f"more than {MOST_SEEDS} seeds",
    }[one.seeds.limit]


def seeds_statement(found: Sequence[Next], margin: float | None, *, fraction: float = 1.0, table: str = "seeds") -> str:
    """What all targets need together, in two sentences."""
    more = [one for one in found if not one.seeds.limit and one.seeds.more_runs]
    n_of = {limit: sum(one.seeds.limit == limit for one in found) for limit in ("", "examples", "seeds", "unknown")}
    clauses = [
        _clause(n_of[""] - len(more), "has enough seeds", "have enough seeds"),
        _clause(len(more), "needs more", "need more") + (f" ({_cost(more)})" if more else ""),
        _clause(n_of["examples"], "has", "have", " too few test examples for any number of seeds"),
        _clause(n_of["seeds"], "needs", "need", f" more than {MOST_SEEDS} seeds"),
        _clause(n_of["unknown"], "cannot be judged yet", "cannot be judged yet"),
    ]
    data = "" if fraction == 1.0 else f" with {fraction * 100:g} % of the target's data"
    targets = "1 target" if len(found) == 1 else f"{len(found)} targets"
    said = f"of {targets}, " + ", ".join(clause for clause in clauses if clause)
    return f"To see differences of {_wanted_words(found, margin)}{data}: {said}. The table `{table}` has each."


def _clause(n: int, one: str, many: str, rest: str = "") -> str:
    """With its verb; "" where there is none."""
    return f"{n} {one if n == 1 else many}{rest}" if n else ""


def _cost(more: Sequence[Next]) -> str:
    n_runs = sum(one.seeds.more_runs for one in more)
    hours = [one.hours for one in more if np.isfinite(one.hours)]
    runs = "1 run" if n_runs == 1 else f"{n_runs:,} runs"
    if not hours:
        return runs
    known = "" if len(hours) == len(more) else f" for {len(hours)} of them"
    return f"{runs}, about {sum(hours):.1f} h of training{known}"


def _wanted_words(found: Sequence[Next], margin: float | None) -> str:
    if margin is not None:
        return f"{margin:g}"
    errors = {not METRICS[one.metric].higher_is_better for one in found}
    share = f"{100 * WANTED:g} % of the baseline's"
    if errors == {True}:
        return share
    return f"{WANTED:g}, or in errors {share}" if errors == {True, False} else f"{WANTED:g}"
