"""Similarities of datasets (Figure 9) and of task embeddings (Figure 10) with their tables, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from empslurm.report.embeddings import DataSimilarity, FusedSimilarity
from empslurm.report.formats import Table, number, text
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.tables import title_of
from empslurm.tasks import Registry


def of_data(analyses: Analyses) -> Finding:
    """The similarity from the group's embed cells."""
    if analyses.data_similarity is not None:
        return Finding(result=analyses.data_similarity)
    why = "dataset embeddings: no embed cells have a result (the paper prints no values)"
    return Finding(result=None, lacking={"Figure 9": why})


def of_tasks(analyses: Analyses) -> Finding:
    """The similarities from the group's fisher cells."""
    if analyses.task_similarity:
        return Finding(result=analyses.task_similarity)
    why = "task embeddings: no fisher cells have a result (the paper prints no values)"
    return Finding(result=(), lacking={"Figure 10": why})


def data_tables(analyses: Analyses) -> list[Table]:
    """The table of Figure 9, if it is known."""
    known = analyses.data_similarity
    return [] if known is None else [data_similarity_table(known, analyses.gathered.registry)]


def task_tables(analyses: Analyses) -> Sequence[Table]:
    """The tables of Figure 10, if it is known."""
    return task_similarity_tables(analyses.task_similarity, analyses.gathered.registry)


def data_similarity_table(similarity: DataSimilarity, registry: Registry) -> Table:
    """The numbers of Figure 9."""
    return _square(
        "figure9",
        "Figure 9",
        "Dataset cosine similarity",
        f"Mean sentence embeddings by {similarity.encoder}. The paper prints the heat map without values.",
        similarity.tasks,
        similarity.cosine,
        similarity.ids,
        registry,
        digits=2,
    )


def task_similarity_tables(similarities: Sequence[FusedSimilarity], registry: Registry) -> tuple[Table, ...]:
    """The numbers of Figure 10, one table per kind of Fisher labels: ranks, 1 = most similar to the row's task."""
    return tuple(
        _square(
            f"figure10-{fused.kind}",
            "Figure 10",
            f"Task embedding similarity ranks ({fused.kind} Fisher information)",
            f"Reciprocal rank fusion over {len(fused.similarity.components)} components, seed {fused.seed}. 1: most "
            "similar to the row's task. The paper prints the heat map without values.",
            fused.similarity.tasks,
            fused.similarity.ranks,
            fused.ids,
            registry,
            digits=0,
        )
        for fused in similarities
    )


def _square(
    name: str,
    label: str,
    title: str,
    caption: str,
    tasks: Sequence[str],
    values: np.ndarray,
    ids: Sequence[str],
    registry: Registry,
    digits: int,
) -> Table:
    rows = [
        (text(title_of(task, registry)), *(number(float(value), digits, short=True) for value in values[row]))
        for row, task in enumerate(tasks)
    ]
    return Table(
        name=name,
        number=label,
        title=title,
        caption=caption,
        head=(("task", *(title_of(task, registry) for task in tasks)),),
        columns=("task", *tasks),
        rows=tuple(rows),
        origin=tuple(
            (task, other, f"{ids[row]} {ids[column]}")
            for row, task in enumerate(tasks)
            for column, other in enumerate(tasks)
        ),
    )
