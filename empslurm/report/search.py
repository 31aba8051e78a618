"""The result of a hyper-parameter search: a table in the form of Table 4, adapter types, inline SVG; no test score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from markupsafe import Markup

from empslurm import files
from empslurm.analysis.search import N_RANKED, best_so_far, importances, interval, mean_ranks
from empslurm.config import AdapterKind
from empslurm.report.contents import MOST_CELLS, block_of
from empslurm.report.formats import MISSING, Entry, Table, flat, number, text, whole, write_forms
from empslurm.report.page_data import page_data
from empslurm.report.search_figures import Axis, history, parallel, slices
from empslurm.report.templating import document
from empslurm.search.results import (
    Finished,
    Outcome,
    SecondScores,
    Seeds,
    best_trial,
    best_type,
    scores_by_type,
    second_means,
)
from empslurm.tasks import Registry

PAGE = "search.html"
LR_SHOWN = 1e-4  # smaller rates would lose digits in the paper's five decimals
# Plain name of a column -> its printed header, where that differs.
PRINTED = {"batch_size": "batch size", "lr": "learning rate", "mean_rank": "mean rank", "n_seeds": "seeds"}
SELECTION = "Selected on the validation part alone; no trial has used the test part."


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """Everything that the report of one search needs. `trials`: by task, in the order of their numbers."""

    name: str
    tasks: tuple[str, ...]
    types: tuple[AdapterKind, ...]  # of the space
    sampler: str
    pruner: str
    n_trials: int  # planned, per task
    seeds: tuple[int, ...]
    trials: Mapping[str, Sequence[Finished]]
    second: SecondScores
    registry: Registry

    n_second: int  # planned cells of the second stage
    waiting: str  # why the second stage is not planned yet; "" where it is

    @property
    def n_second_through(self) -> int:
        """Cells of the second stage that have a result."""
        return sum(len(seeds) for row in self.second.values() for seeds in row.values())

    def n_through(self, outcome: Outcome) -> int:
        """Number of trials of all tasks with this outcome."""
        return sum(trial.outcome == outcome for trials in self.trials.values() for trial in trials)


def tables(search: SearchResults) -> list[Table]:
    """The hyper-parameters (as in Table 4), the best score of each adapter type, and the second stage, if any."""
    first_stage = [_table_4(search), _types(search)]
    return [*first_stage, _second(search)] if search.second else first_stage


def progress(search: SearchResults) -> list[str]:
    """The progress of the search, as sentences."""
    n = sum(map(len, search.trials.values()))
    complete, pruned = search.n_through("complete"), search.n_through("pruned")
    planned = search.n_trials * len(search.tasks)
    said = [f"{n} of {planned} trials are finished: {complete} complete, {pruned} pruned."]
    if search.n_second:
        said.append(f"{search.n_second_through} of {search.n_second} cells of the second stage are finished.")
    return [*said, f"Not final: {search.waiting}."] if search.waiting else said


def caution(search: SearchResults) -> str:
    """A warning about what a search of this size cannot show."""
    each = search.n_trials / max(1, len(search.types))
    if each >= N_RANKED:
        return f"Each adapter type had {each:.0f} of a task's trials on average."
    return (
        f"{search.n_trials} trials per task cannot rank adapter types: each type had {each:.1f} of them on average, "
        "with a different learning rate and batch size each. They only say which configuration to use."
    )


def _metric(search: SearchResults, task: str) -> str:
    return search.registry.tasks[task].metric


def _rate(lr: float) -> Entry:
    return Entry(text=f"{lr:.5f}" if lr >= LR_SHOWN else f"{lr:.1e}", raw=lr)


def _table_4(search: SearchResults) -> Table:
    rows = []
    for task in search.tasks:
        trials = search.trials.get(task, ())
        best = best_trial(trials)
        outcomes = [whole(sum(trial.outcome == outcome for trial in trials)) for outcome in get_args(Outcome)]
        if best is None or best.validation is None:
            rows.append((text(task), *(text(None) for _ in range(6)), *outcomes))
            continue
        rows.append(
            (
                text(task),
                whole(best.best_epoch),
                whole(best.training.batch_size),
                _rate(best.training.lr),
                text(best.adapter.kind),
                text(_metric(search, task)),
                number(best.validation),
                *outcomes,
            )
        )
    names = ("task", "epochs", "batch_size", "lr", "adapter", "metric", "validation", *get_args(Outcome))
    return flat(
        name="search_table4",
        title="Hyper-parameters found",
        caption=f"Best epoch, batch size and learning rate of each task's best trial (sampler {search.sampler}, pruner "
        f"{search.pruner}). {SELECTION}",
        details=caution(search),
        main=("task", "epochs", "batch_size", "lr", "adapter", "metric", "validation"),
        columns={name: PRINTED.get(name, name) for name in names},
        rows=rows,
        number="Table 4",
    )


def _types(search: SearchResults) -> Table:
    scores = {task: scores_by_type(search.trials.get(task, ())) for task in search.tasks}
    ranks = mean_ranks(scores, search.types)
    rows = []
    for kind in search.types:
        entries = []
        for task in search.tasks:
            n = sum(trial.adapter.kind == kind for trial in search.trials.get(task, ()))
            best = scores[task].get(kind)
            shown = MISSING if best is None else f"{best:.3f}"
            is_best = best is not None and best == max(scores[task].values())
            entries.append(Entry(text=f"{shown} ({n})", bold=is_best, raw=best if best is not None else ""))
        rows.append((text(kind), *entries, number(ranks[kind], 1)))
    return flat(
        name="search_types",
        title="Adapter types in the trials",
        caption="Best validation score of each adapter type among a task's complete trials, finished trials of the "
        f"type in brackets; the best of a task is bold. {SELECTION}",
        details=caution(search),
        columns={name: PRINTED.get(name, name) for name in ("adapter", *search.tasks, "mean_rank")},
        rows=rows,
    )


def _second(search: SearchResults) -> Table:
    """Each type's validation score over seeds, with the task's best batch size and learning rate."""
    means = second_means(search.second)
    kinds = [kind for kind in search.types if any(kind in row for row in search.second.values())]
    ranks = mean_ranks(means, kinds)
    rows = []
    for task, row in search.second.items():
        best = best_type(means[task])
        for kind, seeds in row.items():
            training = next(iter(seeds.values()))[0].training
            rows.append(
                (
                    text(task),
                    text(kind),
                    text(_metric(search, task)),
                    *_with_interval(seeds, bold=kind == best),
                    whole(len(seeds)),
                    whole(training.batch_size),
                    _rate(training.lr),
                    number(ranks[kind], 1),
                )
            )
    names = ("task", "adapter", "metric", "mean", "low", "high", "n_seeds", "batch_size", "lr", "mean_rank")
    return flat(
        name="search_second_stage",
        title="The second stage",
        caption=f"Mean validation score over {len(search.seeds)} seeds with its 95 % t interval; the highest mean of a "
        "task is bold, and `search freeze` keeps its type. Where intervals overlap, the order may be chance.",
        details="Each task uses the batch size and learning rate of its best trial. —: a seed has no score (a constant "
        "prediction has no correlation), so the type cannot win; or there is only one seed, so no interval. "
        f"{SELECTION}",
        main=("task", "adapter", "metric", "mean", "low", "high", "n_seeds", "mean_rank"),
        columns={name: PRINTED.get(name, name) for name in names},
        rows=rows,
        n_labels=3,
    )


def _with_interval(seeds: Seeds, *, bold: bool) -> tuple[Entry, ...]:
    """Mean and ends of its interval; all missing where a seed has no score, the ends missing with one seed."""
    scores = [score for _, score, _ in seeds.values() if score is not None]
    if len(scores) < len(seeds):
        return (text(None), text(None), text(None))
    estimate = interval(scores)
    ends = (text(None) if end is None else number(end) for end in (estimate.low, estimate.high))
    return (replace(number(estimate.mean), bold=bold), *ends)


# ---- figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One inline SVG with its caption."""

    name: str
    caption: str
    svg: str


def figures(search: SearchResults) -> list[Figure]:
    """History, parallel coordinates and slices of each task with finished trials."""
    drawn = []
    for task in search.tasks:
        trials = list(search.trials.get(task, ()))
        if not trials:
            continue
        metric = _metric(search, task)
        values = [trial.validation for trial in trials]
        pruned = [trial.outcome == "pruned" for trial in trials]
        numbers = [trial.cell.trial.number if trial.cell.trial else 0 for trial in trials]
        svg = history(numbers, values, best_so_far(values), pruned, f"validation {metric}")
        caption = f"{task}: score of each trial and the best score so far, by trial number. Hollow: pruned."
        drawn.append(Figure(name=f"history_{task}", caption=caption, svg=svg))
        axes = _axes(search, trials, metric)
        caption = f"{task}: one line per trial through its parameters to its score; darker is better."
        drawn.append(Figure(name=f"parallel_{task}", caption=caption, svg=parallel(axes)))
        caption = f"{task}: score against each parameter; hollow: pruned."
        drawn.append(Figure(name=f"slices_{task}", caption=caption, svg=slices(axes, pruned)))
    return drawn


def _axes(search: SearchResults, trials: Sequence[Finished], metric: str) -> list[Axis]:
    """One axis per parameter, then one for the score."""
    kinds = [search.types.index(trial.adapter.kind) for trial in trials]
    return [
        Axis(title="adapter", values=tuple(map(float, kinds)), labels=search.types),
        Axis(title="learning rate", values=tuple(trial.training.lr for trial in trials), log=True),
        Axis(title="batch size", values=tuple(float(trial.training.batch_size) for trial in trials)),
        Axis(title=metric, values=tuple(trial.validation for trial in trials)),
    ]


def importance_table(search: SearchResults) -> Table:
    """Shares of functional ANOVA, by task and parameter."""
    names = ("adapter", "lr", "batch_size")
    rows = []
    for task in search.tasks:
        scored = [trial for trial in search.trials.get(task, ()) if trial.validation is not None]
        drawn: list[dict[str, str | float]] = [
            {"adapter": trial.adapter.kind, "lr": trial.training.lr, "batch_size": float(trial.training.batch_size)}
            for trial in scored
        ]
        shares = importances(drawn, [trial.validation or 0.0 for trial in scored], seed=0)
        rows.append((text(task), *(number(shares.get(name, float("nan")), 2) for name in names)))
    caption = (
        "Share of each parameter in what the three explain of the validation score, by functional ANOVA over finished "
        "trials with a score. With so few trials it only suggests where to look."
    )
    return flat(
        name="search_importances",
        title="Importance of the parameters",
        caption=caption,
        columns={name: PRINTED.get(name, name) for name in ("task", *names)},
        rows=rows,
    )


# ---- files ----------------------------------------------------------------------------------------------------------


def page(search: SearchResults, all_tables: Sequence[Table]) -> str:
    """One self-contained HTML document with these tables and the figures."""
    blocks = [block_of(table, table.name, MOST_CELLS) for table in all_tables]
    drawn = figures(search)
    return document(
        "search.html",
        title=f"empslurm: search {search.name}",
        heading=f"Search {search.name}",
        lead=f"The best configuration found for each of {len(search.tasks)} tasks. {SELECTION}",
        progress=progress(search),
        caution=caution(search),
        blocks=blocks,
        figures=[{"name": figure.name, "caption": figure.caption, "svg": Markup(figure.svg)} for figure in drawn],
        data=page_data(blocks, ()),
    )


def write(search: SearchResults, folder: Path) -> list[Path]:
    """Write the tables as CSV, Markdown and LaTeX, then search.html, which needs no other file; return the paths."""
    all_tables = [*tables(search), importance_table(search)]
    paths = [path for table in all_tables for path in write_forms(table, folder)]
    files.write_text(folder / PAGE, page(search, all_tables))
    return [*paths, folder / PAGE]
