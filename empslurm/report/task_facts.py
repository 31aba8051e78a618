"""Facts about the tasks that do not come from results: themes, ratings and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from empslurm import reference
from empslurm.analysis.features import RATINGS, TaskFacts
from empslurm.reference import Rating
from empslurm.tasks import Registry
from empslurm.tasks.schema import Task

NAN = float("nan")


def task_facts(tasks: Sequence[str], registry: Registry, ratings: Sequence[Rating]) -> tuple[TaskFacts, ...]:
    """The facts behind the importance features, from Table 1 of the paper, the ratings, and cards for other tasks."""
    rows = {row.task: row for row in reference.tasks()}
    sizes = {row.dataset: row for row in reference.dataset_sizes()}
    means = {(row.task, row.aspect): row.mean for row in ratings}
    facts = []
    for task in tasks:
        row, own = rows.get(task), registry.tasks.get(task)
        size = sizes.get(row.dataset) if row else None
        rated = own.ratings if own and own.ratings else {aspect: means.get((task, aspect), NAN) for aspect in RATINGS}
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
                **{aspect: rated.get(aspect, NAN) for aspect in RATINGS},
            )
        )
    return tuple(facts)


def _n_labels(task: Task | None) -> float:
    return NAN if task is None else float(len(task.labels) or 1)


def is_of_the_paper(tasks: Iterable[str], *, whole: bool = False) -> bool:
    """Whether any task is one of the paper's 18: only then do its numbers, figures and ratings apply.

    `whole`: whether all must be, since `hope` in a table of results may be another task of that name.
    """
    return (all if whole else any)(task in reference.task_ids() for task in tasks)


def themes() -> Mapping[str, str]:
    """Task -> its theme in Table 5."""
    return {row.task: row.theme for row in reference.themes()}


def ratings(path: Path | None = None) -> tuple[Rating, ...]:
    """The packaged ratings, or those of a file in the same form."""
    return reference.ratings(path)
