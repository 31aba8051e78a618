"""What a hyper-parameter search found: Table 4's form, adapter types, figures as inline SVG; no test score."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm import files
from empslurm.analysis.search import N_RANKED, best_so_far, importances, interval, mean_ranks
from empslurm.config import AdapterKind
from empslurm.report.formats import MISSING, Entry, Table, number, text, write_forms
from empslurm.report.search_figures import Axis, history, parallel, slices
from empslurm.searches import Finished, SecondScores, best_trial, scores_by_type
from empslurm.tasks import Registry

LR_SHOWN = 1e-4  # smaller ones would lose their digits in the paper's five decimals
SELECTION = "Selected on the validation part alone; no trial has looked at the test part."


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """Everything that the report of one search needs. `trials` by task, in the order of their numbers."""

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


def tables(found: SearchResults) -> list[Table]:
    """Table 4's form, the best score of each type, and the second stage where there is one."""
    made = [_table_4(found), _types(found)]
    return [*made, _second(found)] if found.second else made


def _metric(found: SearchResults, task: str) -> str:
    return found.registry.tasks[task].metric


def _caution(found: SearchResults) -> str:
    """What a reader must not take from a search of this size."""
    each = found.n_trials / max(1, len(found.types))
    if each >= N_RANKED:
        return f"A type had {each:.0f} of a task's trials on average."
    return (
        f"A type had {each:.1f} of a task's {found.n_trials} trials on average, each with its own learning rate and "
        "batch size: this says which configuration to use, and ranks no adapter type."
    )


def _table_4(found: SearchResults) -> Table:
    rows = []
    for task in found.tasks:
        trials = found.trials.get(task, ())
        best = best_trial(trials)
        outcomes = [sum(one.outcome == outcome for one in trials) for outcome in ("complete", "pruned")]
        counts = tuple(Entry(text=str(value), raw=value) for value in outcomes)
        if best is None or best.validation is None:
            rows.append((text(task), *(text(None) for _ in range(6)), *counts))
            continue
        training = best.training
        rows.append(
            (
                text(task),
                Entry(text=str(best.best_epoch), raw=best.best_epoch),
                Entry(text=str(training.batch_size), raw=training.batch_size),
                Entry(text=f"{training.lr:.5f}" if training.lr >= LR_SHOWN else f"{training.lr:.1e}", raw=training.lr),
                text(best.adapter.kind),
                text(_metric(found, task)),
                number(best.validation),
                *counts,
            )
        )
    columns = ("task", "epochs", "batch size", "learning rate", "adapter", "metric", "validation", "complete", "pruned")
    caption = (
        f"Best epoch, batch size and learning rate of each task's best trial (sampler {found.sampler}, pruner "
        f"{found.pruner}). {SELECTION} {_caution(found)}"
    )
    title = "Hyper-parameters found"
    return Table(
        name="search_table4",
        title=title,
        caption=caption,
        head=(columns,),
        columns=columns,
        rows=tuple(rows),
        number="Table 4",
    )


def _types(found: SearchResults) -> Table:
    scores = {task: scores_by_type(found.trials.get(task, ())) for task in found.tasks}
    ranks = mean_ranks(scores, found.types)
    rows = []
    for kind in found.types:
        entries = []
        for task in found.tasks:
            n = sum(one.adapter.kind == kind for one in found.trials.get(task, ()))
            best = scores[task].get(kind)
            shown = MISSING if best is None else f"{best:.3f}"
            is_best = best is not None and best == max(scores[task].values())
            entries.append(Entry(text=f"{shown} ({n})", bold=is_best, raw=best if best is not None else ""))
        rows.append((text(kind), *entries, number(ranks[kind], 1)))
    columns = ("adapter", *found.tasks, "mean rank")
    caption = (
        f"Best validation score of each adapter type among a task's complete trials, finished trials of the type in "
        f"brackets; the best of a task is bold. {_caution(found)} {SELECTION}"
    )
    return Table(
        name="search_types",
        title="Adapter types in the trials",
        caption=caption,
        head=(columns,),
        columns=columns,
        rows=tuple(rows),
    )


def _second(found: SearchResults) -> Table:
    """Each type's validation score with each task's best batch size and learning rate, over seeds."""
    kinds = [kind for kind in found.types if any(kind in row for row in found.second.values())]
    means = {
        task: {kind: interval([score for _, score, _ in seeds.values()]) for kind, seeds in row.items()}
        for task, row in found.second.items()
    }
    ranks = mean_ranks({task: {kind: one.mean for kind, one in row.items()} for task, row in means.items()}, kinds)
    rows = []
    for kind in kinds:
        entries = []
        for task in found.tasks:
            one = means.get(task, {}).get(kind)
            if one is None:
                entries.append(text(None))
                continue
            span = "" if one.low is None or one.high is None else f" [{one.low:.3f}, {one.high:.3f}]"
            best = one.mean == max(other.mean for other in means[task].values())
            entries.append(Entry(text=f"{one.mean:.3f}{span}", bold=best, raw=one.mean))
        rows.append((text(kind), *entries, number(ranks[kind], 1)))
    columns = ("adapter", *found.tasks, "mean rank")
    caption = (
        f"Mean validation score over {len(found.seeds)} seeds with its 95 % t interval; each task with the batch size "
        f"and learning rate of its best trial. Intervals that overlap decide nothing. {SELECTION}"
    )
    return Table(
        name="search_second_stage",
        title="The second stage",
        caption=caption,
        head=(columns,),
        columns=columns,
        rows=tuple(rows),
    )


# ---- figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One inline SVG with what it shows."""

    name: str
    caption: str
    svg: str


def figures(found: SearchResults) -> list[Figure]:
    """History, parallel coordinates, slices and importances of each task with finished trials."""
    made = []
    for task in found.tasks:
        trials = list(found.trials.get(task, ()))
        if not trials:
            continue
        metric = _metric(found, task)
        values = [one.validation for one in trials]
        pruned = [one.outcome == "pruned" for one in trials]
        numbers = [one.cell.trial.number if one.cell.trial else 0 for one in trials]
        svg = history(numbers, values, best_so_far(values), pruned, f"validation {metric}")
        caption = f"{task}: score of each trial and the best so far, by number. Hollow: pruned."
        made.append(Figure(name=f"history_{task}", caption=caption, svg=svg))
        axes = _axes(found, trials, metric)
        caption = f"{task}: one line per trial through its parameters to its score; darker is better."
        made.append(Figure(name=f"parallel_{task}", caption=caption, svg=parallel(axes)))
        caption = f"{task}: score against each parameter; hollow: pruned."
        made.append(Figure(name=f"slices_{task}", caption=caption, svg=slices(axes, pruned)))
    return made


def _axes(found: SearchResults, trials: Sequence[Finished], metric: str) -> list[Axis]:
    """Parameters and, last, the score."""
    kinds = [found.types.index(one.adapter.kind) for one in trials]
    return [
        Axis(title="adapter", values=tuple(map(float, kinds)), labels=found.types),
        Axis(title="learning rate", values=tuple(one.training.lr for one in trials), log=True),
        Axis(title="batch size", values=tuple(float(one.training.batch_size) for one in trials)),
        Axis(title=metric, values=tuple(one.validation for one in trials)),
    ]


def importance_table(found: SearchResults) -> Table:
    """Shares of functional ANOVA by task and parameter."""
    names = ("adapter", "lr", "batch_size")
    rows = []
    for task in found.tasks:
        scored = [one for one in found.trials.get(task, ()) if one.validation is not None]
        given = [
            {"adapter": one.adapter.kind, "lr": one.training.lr, "batch_size": float(one.training.batch_size)}
            for one in scored
        ]
        shares = importances(given, [one.validation or 0.0 for one in scored], seed=0)
        rows.append((text(task), *(number(shares.get(name, float("nan")), 2) for name in names)))
    caption = (
        "Share of each parameter in what the three explain of the validation score, by functional ANOVA over finished "
        "trials with a score; with so few trials it says where to look, not what is so."
    )
    return Table(
        name="search_importances",
        title="Importance of the parameters",
        caption=caption,
        head=(("task", *names),),
        columns=("task", *names),
        rows=tuple(rows),
    )


# ---- files ----------------------------------------------------------------------------------------------------------

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.2rem .7rem;border-bottom:1px solid #ddd}"
    "td{text-align:right}td:first-child,th{text-align:left}figure{margin:1.5rem 0}svg{max-width:100%;height:auto}"
)


def section(found: SearchResults) -> str:
    """The HTML of a search, without the page around it: for the report of a study."""
    parts = [f"<h2>Search {html.escape(found.name)}</h2>"]
    parts += [_html_table(table) for table in (*tables(found), importance_table(found))]
    parts += [
        f'<figure id="{html.escape(one.name)}">{one.svg}<figcaption>{html.escape(one.caption)}</figcaption></figure>'
        for one in figures(found)
    ]
    return "\n".join(parts)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join("<tr>" + "".join(_html_cell(entry) for entry in row) + "</tr>" for row in table.rows)
    title, caption = html.escape(table.title), html.escape(table.caption)
    return f"<h3>{title}</h3><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{caption}</p>"


def _html_cell(entry: Entry) -> str:
    shown = html.escape(entry.text)
    return f"<td>{f'<b>{shown}</b>' if entry.bold else shown}</td>"


def write(found: SearchResults, folder: Path) -> list[Path]:
    """Tables as CSV, Markdown and LaTeX, and search.html, which needs nothing beside it."""
    paths = [path for table in (*tables(found), importance_table(found)) for path in write_forms(table, folder)]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(found.name)}</title>'
        f"<style>{STYLE}</style></head><body>{section(found)}</body></html>\n"
    )
    files.write_text(folder / "search.html", page)
    return [*paths, folder / "search.html"]
