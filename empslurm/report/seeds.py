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
    wanted = []
    for result in results:
        baseline = float(took.get((result.target, True, baseline_fraction), np.nan))
        transfer = float(took.get((result.target, False, fraction), np.nan))
        known = baseline > 0 and transfer > 0
        asked = more_seeds(
            result.comparison, _wanted(result, margin), cost_of_baseline=baseline / transfer if known else 1.0
        )
        seconds = asked.more_baseline * baseline + asked.n_sources * asked.more_transfer * transfer
        why = "; ".join(dict.fromkeys(result.comparison.reasons)) if asked.limit == "unknown" else ""
        hours = seconds / 3600 if known else float("nan")
        wanted.append(Next(metric=result.metric, seeds=asked, hours=hours, why=why))
    return tuple(wanted)


def _wanted(result: TargetResult, margin: float | None) -> float:
    if margin is not None:
        return margin
    error = not METRICS[result.metric].higher_is_better
    return WANTED * abs(result.comparison.baseline) if error else WANTED


def seeds_table(targets: Sequence[Next], registry: Registry, *, name: str, title: str, advice: str = "") -> Table:
    """One row per target: what is seen now, what is wanted, what it takes. `advice`: the caption's last sentences."""
    rows = [
        (
            text(title_of(target.seeds.target, registry)),
            text(target.metric),
            text(f"{target.seeds.n_transfer}/{target.seeds.n_baseline}"),
            _short(target.seeds.detectable),
            _short(target.seeds.wanted),
            *(whole(n) if not target.seeds.limit else text("") for n in _asked(target.seeds)),
            number(target.hours if not target.seeds.limit else float("nan"), 2),
            number(target.seeds.power, 2),
            text(_note(target)),
        )
        for target in targets
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


def _note(target: Next) -> str:
    return {
        "": "" if target.seeds.more_runs else "enough",
        "unknown": target.why,
        "examples": f"too few test examples: no number of seeds shows less than {target.seeds.least:.2g}",
        "seeds": f"more than {MOST_SEEDS} seeds",
    }[target.seeds.limit]


def seeds_statement(
    of_targets: Sequence[Next], margin: float | None, *, fraction: float = 1.0, table: str = "seeds"
) -> str:
    """What all targets need together, in two sentences."""
    more = [target for target in of_targets if not target.seeds.limit and target.seeds.more_runs]
    n_of = {
        limit: sum(target.seeds.limit == limit for target in of_targets)
        for limit in ("", "examples", "seeds", "unknown")
    }
    clauses = [
        _clause(n_of[""] - len(more), "has enough seeds", "have enough seeds"),
        _clause(len(more), "needs more", "need more") + (f" ({_cost(more)})" if more else ""),
        _clause(n_of["examples"], "has", "have", " too few test examples for any number of seeds"),
        _clause(n_of["seeds"], "needs", "need", f" more than {MOST_SEEDS} seeds"),
        _clause(n_of["unknown"], "cannot be judged yet", "cannot be judged yet"),
    ]
    data = "" if fraction == 1.0 else f" with {fraction * 100:g} % of the target's data"
    targets = "1 target" if len(of_targets) == 1 else f"{len(of_targets)} targets"
    said = f"of {targets}, " + ", ".join(clause for clause in clauses if clause)
    return f"To see differences of {_wanted_words(of_targets, margin)}{data}: {said}. The table `{table}` has each."


def _clause(n: int, singular: str, plural: str, rest: str = "") -> str:
    """With its verb; "" where there is none."""
    return f"{n} {singular if n == 1 else plural}{rest}" if n else ""


def _cost(more: Sequence[Next]) -> str:
    n_runs = sum(target.seeds.more_runs for target in more)
    hours = [target.hours for target in more if np.isfinite(target.hours)]
    runs = "1 run" if n_runs == 1 else f"{n_runs:,} runs"
    if not hours:
        return runs
    known = "" if len(hours) == len(more) else f" for {len(hours)} of them"
    return f"{runs}, about {sum(hours):.1f} h of training{known}"


def _wanted_words(of_targets: Sequence[Next], margin: float | None) -> str:
    if margin is not None:
        return f"{margin:g}"
    errors = {not METRICS[target.metric].higher_is_better for target in of_targets}
    share = f"{100 * WANTED:g} % of the baseline's"
    if errors == {True}:
        return share
    return f"{WANTED:g}, or in errors {share}" if errors == {True, False} else f"{WANTED:g}"
