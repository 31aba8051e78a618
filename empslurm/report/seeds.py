"""What next: how many more seeds each target needs to detect a wanted difference, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from empslurm.analysis.more_seeds import MOST_SEEDS, SeedsAsked, more_seeds
from empslurm.analysis.verdicts import COLLAPSED, ONE_SEED, Verdict
from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, flat, number, text, whole
from empslurm.report.significance import PairResult, TargetResult
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

# Without a margin: the median difference from the baseline in the paper's Tables 7 and 8; of an error, a share.
WANTED = 0.02
FIRST_SEEDS = 3  # the fewest seeds with useful verdicts


@dataclass(frozen=True, kw_only=True)
class Next:
    """What would decide the pairs of one target, and its hours of training, estimated from the target's own runs.

    Where the noise is unknown because there is one seed, `FIRST_SEEDS` of the baseline and every source are asked for.
    """

    metric: str
    seeds: SeedsAsked
    hours: float  # NaN where the runs' time is unknown, or where no number of seeds would do
    why: str = ""  # why its noise is unknown
    title: str = ""  # of the target
    undecided: tuple[str, ...] = ()  # sources that cannot be judged yet
    interesting: tuple[str, ...] = ()  # inconclusive sources whose interval includes more than the wanted difference
    n_examples: int = 0  # of its test part; 0: unknown

    @property
    def more_baseline(self) -> int:
        """Extra seeds of the baseline."""
        return max(0, FIRST_SEEDS - self.seeds.n_baseline) if self.of_one_seed else self.seeds.more_baseline

    @property
    def more_transfer(self) -> int:
        """Extra seeds of each source."""
        return max(0, FIRST_SEEDS - self.seeds.n_transfer) if self.of_one_seed else self.seeds.more_transfer

    @property
    def more_runs(self) -> int:
        """Extra runs of this target."""
        return self.more_baseline + self.seeds.n_sources * self.more_transfer

    @property
    def of_one_seed(self) -> bool:
        """Whether its noise is unknown because it has only one seed."""
        return self.seeds.limit == "unknown" and ONE_SEED in self.why

    @property
    def sentence(self) -> str:
        """What this target needs, in one plain sentence."""
        name, asked, wanted = self.title or self.seeds.target, self.seeds, wanted_text(self.seeds.wanted)
        if self.of_one_seed:
            return f"{name}: one seed so far; {self._asked_for()} would give verdicts."
        if asked.limit == "unknown" and COLLAPSED in self.why:
            n = _pairs(len(self.undecided))
            return f"{name}: {n} undecided because runs did not learn: first more epochs or more data, then more seeds."
        if asked.limit == "unknown":
            return f"{name}: cannot be judged yet: {self.why or 'its noise is unknown'}."
        if asked.limit == "examples":
            part = f"its test part of {self.n_examples:,} texts" if self.n_examples else "its test part"
            least = wanted_text(asked.least)
            return f"{name}: {part} is too small: no number of seeds detects a difference of less than {least}."
        if asked.limit == "seeds":
            return f"{name}: a difference of {wanted} needs more than {MOST_SEEDS} seeds."
        if not self.more_runs:
            return f"{name}: enough seeds: a difference of {wanted} would be detected{self._open()}."
        return f"{name}: {self._asked_for()} would detect a difference of {wanted}{self._open()}."

    def _asked_for(self) -> str:
        base, moved, n_sources = self.more_baseline, self.more_transfer, self.seeds.n_sources
        cost = cost_words(self.more_runs, self.hours)
        if base == moved and base:
            return f"{base} more {'seed' if base == 1 else 'seeds'} of its baseline and sources ({cost})"
        parts = [f"{base} more {'seed' if base == 1 else 'seeds'} of its baseline"] if base else []
        if moved:
            whose = "its source" if n_sources == 1 else f"each of its {n_sources} sources"
            more = f"{moved}" if base else f"{moved} more {'seed' if moved == 1 else 'seeds'}"
            parts.append(f"{more} of {whose}")
        return f"{' and '.join(parts)} ({cost})"

    def _open(self) -> str:
        """How many inconclusive pairs may have more than the wanted difference, as a clause."""
        n = len(self.interesting)
        return f"; {n} {'pair is' if n == 1 else 'pairs are'} still open" if n else ""


def _pairs(n: int) -> str:
    return "1 pair is" if n == 1 else f"{n:,} pairs are"


def cost_words(n_runs: int, hours: float) -> str:
    """Runs and hours in words, also where the hours are unknown."""
    runs = "1 run" if n_runs == 1 else f"{n_runs:,} runs"
    if not np.isfinite(hours):
        return f"{runs}, hours unknown"
    return f"{runs}, {hours_words(hours)}"


def hours_words(hours: float) -> str:
    """A duration in words: hours, or minutes where it is less than a tenth of an hour."""
    if hours >= 0.095:
        return f"about {hours:,.0f} h" if hours >= 10 else f"about {hours:.1f} h"
    return f"about {max(1, round(hours * 60))} min"


def wanted_text(value: float) -> str:
    """A difference at two digits, without a zero before the point: .02."""
    printed = f"{value:.2g}"
    return printed[1:] if printed.startswith("0.") else printed


def next_seeds(
    results: Sequence[TargetResult],
    runs: pd.DataFrame,
    *,
    fraction: float,
    baseline_fraction: float,
    margin: float | None,
    pairs: Sequence[PairResult] = (),
    registry: Registry | None = None,
) -> tuple[Next, ...]:
    """For every target, the seeds that detect a difference of `margin`, or else of `WANTED`.

    `runs`: the runs of the score tables, for their time. `pairs`: the verdicts, to name the open ones. `registry`: for
    the targets' titles.
    """
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
        own = [pair.verdict for pair in pairs if pair.verdict.target == result.target]
        entry = Next(
            metric=result.metric,
            seeds=asked,
            hours=float("nan"),
            why="; ".join(dict.fromkeys(result.comparison.reasons)) if asked.limit == "unknown" else "",
            title=result.target if registry is None else title_of(result.target, registry),
            undecided=tuple(verdict.source for verdict in own if verdict.verdict == "undecided"),
            interesting=tuple(verdict.source for verdict in own if _interesting(verdict, asked.wanted)),
            n_examples=result.n_examples,
        )
        seconds = entry.more_baseline * baseline + asked.n_sources * entry.more_transfer * transfer
        wanted.append(replace(entry, hours=seconds / 3600) if known else entry)
    return tuple(wanted)


def _interesting(verdict: Verdict, wanted: float) -> bool:
    """Whether a pair is inconclusive and its interval does not exclude more than the wanted difference."""
    return verdict.verdict == "inconclusive" and max(abs(verdict.low), abs(verdict.high)) > wanted


def _wanted(result: TargetResult, margin: float | None) -> float:
    if margin is not None:
        return margin
    error = not METRICS[result.metric].higher_is_better
    return WANTED * abs(result.comparison.baseline) if error else WANTED


def seeds_table(targets: Sequence[Next], registry: Registry, *, name: str, title: str, advice: str = "") -> Table:
    """One row per target: what is detectable now, what is wanted, what it takes. `advice`: added to the details."""
    rows = [
        (
            text(title_of(target.seeds.target, registry)),
            text(target.metric),
            text(f"{target.seeds.n_transfer}/{target.seeds.n_baseline}"),
            _short(target.seeds.detectable),
            _short(target.seeds.wanted),
            *(whole(n) if _can_ask(target) else text("") for n in _asked(target)),
            number(target.hours if _can_ask(target) else float("nan"), 2),
            number(target.seeds.power, 2),
            text(_note(target)),
        )
        for target in targets
    ]
    return flat(
        name=name,
        title=title,
        caption="The cheapest extra seeds that detect each target's wanted difference with probability .8. "
        "Seeds: per transfer (the median) / of the baseline.",
        details="Detectable: the difference that is detected with probability .8 at .05 before correction if the noise "
        f"is as estimated: the median over sources. Wanted: the margin, or without one {WANTED:g} (of an error, "
        f"{100 * WANTED:g} % of the baseline's). The extra seeds allow for how uncertain the noise estimate of a few "
        f"runs is; with one seed, {FIRST_SEEDS} seeds of baseline and sources are asked for. Power: for the wanted "
        "difference, with the extra seeds, or with the present ones where no number is enough. The baseline must have "
        "every seed that a transfer has." + advice,
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
        main=("target", "n_seeds", "detectable", "wanted", "more_baseline", "more_transfer", "hours", "note"),
    )


# For runs of a manifest: where to write the seeds, and which other runs they need.
IN_A_MANIFEST = (
    " Write the seeds into `seeds` and `baseline_seeds` of a manifest. They apply to all its targets: take the largest "
    "numbers, or write a manifest per target. Runs and hours are those of the target alone; a new seed of a transfer "
    "also needs the baseline of its source with that seed."
)
SHARED = " The baselines with all data are also in the table `seeds`: count their seeds once."


def _short(value: float) -> Entry:
    """A number with three decimals, or with two digits where it is below .001."""
    if not 0 < value < 0.001:
        return number(value)
    return Entry(text=f"{value:.2g}", raw=value)


def _can_ask(target: Next) -> bool:
    return not target.seeds.limit or target.of_one_seed


def _asked(target: Next) -> tuple[int, int, int]:
    return target.more_baseline, target.more_transfer, target.more_runs


def _note(target: Next) -> str:
    return {
        "": "" if target.seeds.more_runs else "enough",
        "unknown": target.why,
        "examples": f"too few test examples: no number of seeds detects less than {target.seeds.least:.2g}",
        "seeds": f"more than {MOST_SEEDS} seeds",
    }[target.seeds.limit]


def seeds_statement(
    of_targets: Sequence[Next], margin: float | None, *, fraction: float = 1.0, table: str = "seeds"
) -> str:
    """What all targets together need, in two sentences."""
    more = [target for target in of_targets if not target.seeds.limit and target.seeds.more_runs]
    n_of = {
        limit: sum(target.seeds.limit == limit for target in of_targets)
        for limit in ("", "examples", "seeds", "unknown")
    }
    clauses = [
        _clause(n_of[""] - len(more), "has enough seeds", "have enough seeds"),
        _clause(len(more), "needs more seeds", "need more seeds") + (f" ({_cost(more)})" if more else ""),
        _clause(n_of["examples"], "has", "have", " too few test examples for any number of seeds"),
        _clause(n_of["seeds"], "needs", "need", f" more than {MOST_SEEDS} seeds"),
        _clause(n_of["unknown"], "cannot be judged yet", "cannot be judged yet"),
    ]
    data = "" if fraction == 1.0 else f" with {fraction * 100:g} % of the target's data"
    targets = "1 target" if len(of_targets) == 1 else f"{len(of_targets)} targets"
    said = f"of {targets}, " + ", ".join(clause for clause in clauses if clause)
    where = f" The table `{table}` lists them." if table else ""
    return f"To detect differences of {_wanted_words(of_targets, margin)}{data}: {said}.{where}"


def _clause(n: int, singular: str, plural: str, rest: str = "") -> str:
    """A number with its verb; "" for 0."""
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
