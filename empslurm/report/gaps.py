"""What is missing, in one list: analyses that could not run, cells without a result, and what would fill each gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from empslurm.analysis.features import NO_FEATURE
from empslurm.analysis.verdicts import COLLAPSED, ONE_SEED, UNDEFINED
from empslurm.gather import Gathered, Missing
from empslurm.report.group_results import Analyses
from empslurm.report.scores import scored
from empslurm.report.seeds import FIRST_SEEDS, cost_words

if TYPE_CHECKING:
    import pandas as pd

NEVER_RUN = "unknown: no such cell has run yet"
NOT_RECORDED = "unknown: the results do not say how long runs took"
NOTHING = "nothing"
POOLED = "changes pooled over labs"
FILL_OF_LABS = "give results of at least two labs that each have two seeds of the same pairs and of their baselines"
MOST_REASONS = 3  # of the cells of one state


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One thing that is missing."""

    what: str
    why: str  # a clause
    fill: str  # what to do
    cost: str  # runs and hours, estimated from similar cells; or why they are unknown


def all_gaps(gathered: Gathered, groups: Sequence[Analyses], not_pooled: str = "") -> tuple[Gap, ...]:
    """The gaps of all groups (one that all groups share is listed once), then the missing cells.

    `not_pooled`: why no change of several labs could be pooled; "" where some could, or where there is one input.
    """
    import pandas as pd

    own = [(analyses.group.name, gaps(analyses)) for analyses in groups]
    of_all = [
        gap
        for gap in dict.fromkeys(gap for _, listed in own for gap in listed)
        if all(gap in listed for _, listed in own)
    ]
    of_some = [replace(gap, what=f"{name}: {gap.what}") for name, listed in own for gap in listed if gap not in of_all]
    of_analyses = [*of_all, *of_some]
    if not_pooled:
        of_analyses.append(Gap(what=POOLED, why=not_pooled, fill=FILL_OF_LABS, cost=NOT_RECORDED))
    runs = {str(group.setting.get("setting", "")): group.runs for group in gathered.groups if not group.runs.empty}
    every = pd.concat(list(runs.values())) if runs else None
    return (*of_analyses, *_of_cells(gathered.missing, {**runs, "": every}, gathered))


def gaps(analyses: Analyses) -> tuple[Gap, ...]:
    """The analyses that could not run on a group."""
    return tuple(_of_analysis(name, why, analyses) for name, why in analyses.lacking.items())


# ---- analyses that could not run -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Fill:
    """What fills a gap, for runs of a manifest and for a table of results, and what it costs in runs."""

    what: str
    runs: str
    results: str
    cost: Callable[[Analyses], str]


def _seeds_cost(analyses: Analyses) -> str:
    """Cost of the seeds that the targets need, as far as it is known."""
    asked = [target for significance in analyses.significance for target in significance.next if target.more_runs]
    if not asked:
        return NEVER_RUN
    return cost_words(sum(target.more_runs for target in asked), sum(target.hours for target in asked))


def _limited_cost(analyses: Analyses) -> str:
    """Cost of every run again with half of the data, which takes half of the time."""
    runs = scored(analyses.group)
    whole = runs[runs["fraction"] == 1.0]
    return cost_words(len(whole), float(whole["wall_s"].sum(skipna=False)) / 2 / 3600) if len(whole) else NEVER_RUN


def _of_kind(kind: str, of_each: str) -> Callable[[Analyses], str]:
    """Cost of one cell per task (or per baseline), at the mean time of finished cells of that kind."""

    def cost(analyses: Analyses) -> str:
        runs = analyses.group.runs
        took = float(runs[runs["kind"] == kind]["wall_s"].mean()) if len(runs) else float("nan")
        n = len(analyses.tasks) if of_each == "task" else int((runs["kind"] == "baseline").sum())
        return cost_words(n, n * took / 3600) if np.isfinite(took) else f"{n:,} cells, {NEVER_RUN}"

    return cost


def _unknown(analyses: Analyses) -> str:
    return NEVER_RUN


def _free(analyses: Analyses) -> str:
    return NOTHING


TWO_SEEDS = f"add two seeds to `seeds` in the manifest, as in `seeds: [1, 2, {FIRST_SEEDS}]`, and submit it again"
RATE = "rate them: `empslurm rate`, then `empslurm agreement FORM FORM --to FILE`, then gather with --ratings FILE"
TWO_ROWS = "add rows with two more seeds of every pair and baseline"
# Key of `Analyses.lacking` (for the paper's tasks, or for other results) -> what fills it.
FILLS: Mapping[str, _Fill] = {
    "verdicts": _Fill(what="verdicts", runs=TWO_SEEDS, results=TWO_ROWS, cost=_seeds_cost),
    "baselines": _Fill(
        what="baselines of some targets",
        runs="list the targets under `tasks` in a manifest (each then gets a baseline), and submit it",
        results="add the rows of their baselines, with a blank source",
        cost=_unknown,
    ),
    "full-data baselines": _Fill(
        what="full-data baselines of some targets",
        runs="add 1.0 to `fractions` in the manifest, and submit it again",
        results="add the rows of their baselines, with fraction 1",
        cost=_unknown,
    ),
    "the paper's test": _Fill(
        what="the paper's test",
        runs="gather from the runs root that has the runs' predictions",
        results="give the predictions: --predictions FOLDER",
        cost=_free,
    ),
    "the test on one seed": _Fill(
        what="the test on one seed",
        runs="gather from the runs root that has the runs' predictions",
        results="give the predictions: --predictions FOLDER",
        cost=_free,
    ),
    "the seed ceiling": _Fill(
        what="how much of the improvements is seed noise", runs=TWO_SEEDS, results=TWO_ROWS, cost=_seeds_cost
    ),
    "the choice of sources": _Fill(
        what="whether sources could be chosen without the grid",
        runs="study more pairs: more `tasks`, and `pairs: all_ordered`",
        results="add rows of more pairs, and of the targets' baselines",
        cost=_unknown,
    ),
    "features": _Fill(
        what="features of the importances",
        runs="rate the tasks (`ratings` on a task's card, or `empslurm rate` and --ratings FILE), and add `embed: {}` "
        "and `fisher: {}` to the manifest",
        results="rate the tasks (`empslurm rate`, then --ratings FILE), or describe them on cards (YAML files; "
        "`cards:` in a manifest)",
        cost=_unknown,
    ),
    "limited data (Figure 3, bottom)": _Fill(
        what="transfer with limited data (Figure 3, bottom)",
        runs="write `fractions: [1.0, 0.5]` in the manifest, and submit it again",
        results="add rows with a fraction below 1",
        cost=_limited_cost,
    ),
    "limited data": _Fill(
        what="transfer with limited data",
        runs="write `fractions: [1.0, 0.5]` in the manifest, and submit it again",
        results="add rows with a fraction below 1",
        cost=_limited_cost,
    ),
    "Figure 2 and Table 6": _Fill(
        what="importances of features (Figure 2 and Table 6)",
        runs="study more pairs: more `tasks`, and `pairs: all_ordered`",
        results="add rows of more pairs",
        cost=_unknown,
    ),
    "importances": _Fill(
        what="importances of features",
        runs="study more pairs: more `tasks`, and `pairs: all_ordered`",
        results="add rows of more pairs",
        cost=_unknown,
    ),
    "Figure 3": _Fill(what="transfer by theme (Figure 3)", runs=TWO_SEEDS, results=TWO_ROWS, cost=_seeds_cost),
    "transfer by theme": _Fill(what="transfer by theme", runs=TWO_SEEDS, results=TWO_ROWS, cost=_seeds_cost),
    "themes": _Fill(what="themes of some tasks", runs=RATE, results=RATE, cost=_free),
    "themes of some tasks": _Fill(what="themes of some tasks", runs=RATE, results=RATE, cost=_free),
    "Figure 9": _Fill(
        what="similarity of the datasets (Figure 9)",
        runs="add `embed: {}` to the manifest, and submit it again",
        results="run the tasks here, with `embed: {}` in the manifest",
        cost=_of_kind("embed", "task"),
    ),
    "similarity of the datasets": _Fill(
        what="similarity of the datasets",
        runs="add `embed: {}` to the manifest, and submit it again",
        results="run the tasks here, with `embed: {}` in the manifest",
        cost=_of_kind("embed", "task"),
    ),
    "Figure 10": _Fill(
        what="similarity of the task embeddings (Figure 10)",
        runs="add `fisher: {}` to the manifest, and submit it again",
        results="run the tasks here, with `fisher: {}` in the manifest",
        cost=_of_kind("fisher", "baseline"),
    ),
    "similarity of the task embeddings": _Fill(
        what="similarity of the task embeddings",
        runs="add `fisher: {}` to the manifest, and submit it again",
        results="run the tasks here, with `fisher: {}` in the manifest",
        cost=_of_kind("fisher", "baseline"),
    ),
}
# Start of a key that is about one table -> what to do.
OF_A_TABLE = {
    "figure of ": "read the table, which has all its numbers",
    "letters of ": "install a font that has these letters, and run `gather` again",
}
# Analysis -> the kind of cells that it needs. Where such cells are planned already, the fix is to run them.
WAITS_FOR = {"Figure 9": "embed", "Figure 10": "fisher"}


def _of_analysis(name: str, why: str, analyses: Analyses) -> Gap:
    known = _without_verdicts(why) if name == "verdicts" else FILLS.get(name)
    if known is not None and why.startswith(NO_FEATURE):
        known = replace(FILLS["features"], what=known.what)
    if known is None:
        start = next((start for start in OF_A_TABLE if name.startswith(start)), "")
        return Gap(what=name, why=why, fill=OF_A_TABLE.get(start, "nothing fills it"), cost=NOTHING)
    origin = analyses.gathered.origin
    if origin == "results":
        return Gap(what=known.what, why=why, fill=known.results, cost=NOTHING if known.cost is _free else NOT_RECORDED)
    if origin == "published":
        fill = "run the study: `empslurm submit full_study`"
        return Gap(what=known.what, why=why, fill=fill, cost=NOT_RECORDED)
    waiting = [cell for cell in analyses.group.missing if cell.kind == WAITS_FOR.get(name)]
    fill = FILLS_OF_STATES["pending"].format(name=_manifest(analyses.gathered)) if waiting else known.runs
    return Gap(what=known.what, why=why, fill=fill, cost=known.cost(analyses))


def _without_verdicts(why: str) -> _Fill:
    """What would give verdicts, by the reason why there are none: more seeds help only where there is one seed."""
    if ONE_SEED in why:
        return FILLS["verdicts"]
    if COLLAPSED in why:
        runs, results = "train for more `epochs`, or on more data, so that runs learn", "add runs that learnt"
    elif UNDEFINED in why:
        runs = results = "check the runs without a defined score: they give every text the same answer"
    else:
        runs = "add sources and targets to `pairs` in the manifest, and submit it again"
        results = "add rows of pairs, and of their targets' baselines (with a blank source)"
    return replace(FILLS["verdicts"], runs=runs, results=results, cost=_unknown)


# ---- cells without a result ------------------------------------------------------------------------------------------

# State of a cell -> what to do about it.
FILLS_OF_STATES = {
    "pending": "`python -m empslurm submit {name}`",
    "queued": "wait: they are in Slurm's queue",
    "running": "wait: they are being trained",
    "failed": "fix the error that the reason names, then `python -m empslurm resume {name}`",
    "lost": "their jobs ended without a result: `python -m empslurm resume {name}`",
    "refused": "their results failed verification: move each folder away, then `python -m empslurm resume {name}`",
    "disagrees": "find out which lab's numbers are right, and gather without the other's",
}
NEVER_STARTED = "never started"


def _manifest(gathered: Gathered) -> str:
    return gathered.name if gathered.n_planned is not None else "MANIFEST"


def _of_cells(
    missing: Sequence[Missing], runs: Mapping[str, pd.DataFrame | None], gathered: Gathered
) -> tuple[Gap, ...]:
    """The gaps of cells by state, kind and backbone. `runs`: by backbone, and of all together as ""."""
    by_place: dict[tuple[str, str, str], list[Missing]] = {}
    for cell in missing:
        by_place.setdefault((cell.state, cell.kind, cell.backbone), []).append(cell)
    return tuple(
        _of_state(state, kind, own, runs.get(backbone), gathered) for (state, kind, backbone), own in by_place.items()
    )


def _of_state(state: str, kind: str, cells: Sequence[Missing], runs: pd.DataFrame | None, gathered: Gathered) -> Gap:
    reasons = [*dict.fromkeys(cell.why.strip().splitlines()[-1] for cell in cells if cell.why.strip())]
    more = len(reasons) - MOST_REASONS
    why = "; ".join(reasons[:MOST_REASONS]) + (f"; and {more:,} more reasons" if more > 0 else "")
    of_kind = "" if kind == "?" else f"{kind} "
    of_backbone = f" on {cells[0].backbone}" if cells[0].backbone else ""
    return Gap(
        what=f"{len(cells):,} {state} {of_kind}{'cell' if len(cells) == 1 else 'cells'}{of_backbone}",
        why=why or NEVER_STARTED,
        fill=FILLS_OF_STATES.get(state, FILLS_OF_STATES["lost"]).format(name=_manifest(gathered)),
        cost=_cost_of_cells(cells, runs),
    )


def _cost_of_cells(cells: Sequence[Missing], runs: pd.DataFrame | None) -> str:
    """Cost by the mean time of finished cells of the same kind, target and fraction, or else of the same kind."""
    if runs is None or runs.empty:
        return f"{_runs(len(cells))}, {NEVER_RUN}"
    like = runs.groupby(["kind", "target", "fraction"])["wall_s"].mean().to_dict()
    of_kind = runs.groupby("kind")["wall_s"].mean().to_dict()
    seconds = 0.0
    for cell in cells:
        own = like.get((cell.kind, cell.target, cell.fraction), np.nan)
        seconds += float(own if np.isfinite(own) else of_kind.get(cell.kind, np.nan))
    if not np.isfinite(seconds):
        return f"{_runs(len(cells))}, {NEVER_RUN}"
    return cost_words(len(cells), seconds / 3600)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n:,} runs"
