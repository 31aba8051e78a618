"""Facts about the tasks that do not come from results: themes, ratings and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from empslurm import reference
from empslurm.analysis.features import RATINGS, TaskFacts
from empslurm.analysis.themes import LOWEST_MEANS, theme_of_mean
from empslurm.reference import Rating
from empslurm.tasks import Registry
from empslurm.tasks.schema import Task

NAN = float("nan")
# Which mean of a task's three ratings gives which theme, in words.
RULE = "direct from {direct:.2f}, abstract from {abstract:.2f}, adjacent below".format_map(LOWEST_MEANS)


def task_facts(tasks: Sequence[str], registry: Registry, ratings: Sequence[Rating]) -> tuple[TaskFacts, ...]:
    """The facts behind the importance features, from Table 1 of the paper, the ratings, and cards for other tasks."""
    rows = {row.task: row for row in reference.tasks()}
    sizes = {row.dataset: row for row in reference.dataset_sizes()}
    rated = mean_ratings(tasks, registry, ratings)
    facts = []
    for task in tasks:
        row, own = rows.get(task), registry.tasks.get(task)
        size = sizes.get(row.dataset) if row else None
        facts.append(
            TaskFacts(
                task=task,
                kind=row.kind if row else own.kind if own else "",
                n_labels=float(row.n_labels or 1) if row else _n_labels(own),
                n_samples=size.n_samples if size else NAN,
                n_tokens=size.n_tokens if size else NAN,
                n_vocabulary=size.n_vocabulary if size else NAN,
                data_source=row.data_source if row else own.data_source if own else "",
                language_setting=row.language_setting if row else own.language_setting if own else "",
                **rated[task],
            )
        )
    return tuple(facts)


def mean_ratings(
    tasks: Sequence[str], registry: Registry, ratings: Sequence[Rating]
) -> Mapping[str, Mapping[str, float]]:
    """Task -> its mean rating by criterion, NaN where unknown: those of `ratings`, else those on the task's card."""
    means: dict[str, dict[str, float]] = {}
    for row in ratings:
        means.setdefault(row.task, {})[row.aspect] = row.mean
    known: dict[str, Mapping[str, float]] = {}
    for task in tasks:
        of_card = registry.tasks[task].ratings if task in registry.tasks else {}
        own = means.get(task, of_card)
        known[task] = {aspect: own.get(aspect, NAN) for aspect in RATINGS}
    return known


def _n_labels(task: Task | None) -> float:
    return NAN if task is None else float(len(task.labels) or 1)


def is_of_the_paper(tasks: Iterable[str], *, whole: bool = False) -> bool:
    """Whether any task is one of the paper's 18: only then do its numbers, figures and ratings apply.

    `whole`: whether all must be, since `hope` in a table of results may be another task of that name.
    """
    return (all if whole else any)(task in reference.task_ids() for task in tasks)


def themes(tasks: Sequence[str], registry: Registry, ratings: Sequence[Rating]) -> Mapping[str, str]:
    """Task -> its theme: that of Table 5, which the paper chose; else by a rule on its mean rating, where it is rated.

    The rule needs all three criteria: see `analysis.themes.theme_of_mean`. A task without them is left out.
    """
    of_paper = {row.task: row.theme for row in reference.themes()}
    known = {}
    for task, means in mean_ratings(tasks, registry, ratings).items():
        mean = sum(means.values()) / len(means)
        if task in of_paper:
            known[task] = of_paper[task]
        elif mean == mean:
            known[task] = theme_of_mean(mean)
    return known


def by_rule(tasks: Iterable[str]) -> tuple[str, ...]:
    """The tasks whose themes the paper does not give."""
    return tuple(task for task in tasks if task not in reference.task_ids())


def ratings(path: Path | None = None) -> tuple[Rating, ...]:
    """The packaged ratings, or those of a file in the same form."""
    return reference.ratings(path)
