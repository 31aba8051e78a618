"""Similarity of tasks and datasets: cosine per component, combined by reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import UsageError

RANK_CONSTANT = 60  # Cormack, Clarke and Buettcher (2009), "Reciprocal rank fusion outperforms Condorcet ..."


@dataclass(frozen=True, kw_only=True)
class TaskSimilarity:
    """Figure 10: how similar the tasks' embeddings are, by component and combined."""

    tasks: tuple[str, ...]
    components: tuple[str, ...]
    cosine: NDArray[np.float64]  # (n_components, n_tasks, n_tasks); NaN where a vector is zero or missing
    fused: NDArray[np.float64]  # (n_tasks, n_tasks): row task's score of the column task; not symmetric, NaN diagonal
    ranks: NDArray[np.float64]  # (n_tasks, n_tasks): 1 = most similar to the row's task by `fused`; ties share a mean


def cosine(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine similarities (n, n) of the rows of (n, n_dimensions); NaN for a row of zeros or with a missing value."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(length > 0, length, float("nan"))[:, None]
    return np.asarray(np.clip(unit @ unit.T, -1.0, 1.0))


def reciprocal_rank_fusion(similarities: NDArray[np.float64], k: int = RANK_CONSTANT) -> NDArray[np.float64]:
    """Sum over components of 1 / (k + rank), where each row's task ranks the others from 1.

    `similarities`: (n_components, n_tasks, n_tasks). Ties share their mean rank. A missing similarity is not ranked and
    adds nothing; a pair that no component ranks is NaN, and so is the diagonal.
    """
    ranks = _ranks(similarities)
    scores = np.nansum(1.0 / (k + ranks), axis=0)
    return np.asarray(np.where(np.isnan(ranks).all(0), float("nan"), scores))


def _ranks(similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks along the last axis, 1 = largest; NaN on the diagonal and where the similarity is NaN."""
    from scipy.stats import rankdata

    others = np.array(similarities, dtype=np.float64)
    tasks = np.arange(others.shape[-1])
    others[..., tasks, tasks] = float("nan")
    return np.asarray(rankdata(-others, axis=-1, nan_policy="omit"))


def task_similarity(tasks: Sequence[str], components: Mapping[str, NDArray[np.float64]]) -> TaskSimilarity:
    """Compare task embeddings (Vu et al. 2020; Poth et al. 2021).

    `components`: name -> (n_tasks, n_dimensions) Fisher vectors in the order of `tasks`, NaN where a task has none.
    Only vectors of adapters that started from the same weights (the same seed) have comparable coordinates.
    """
    for name, vectors in components.items():
        if np.ndim(vectors) != 2 or len(vectors) != len(tasks):
            raise UsageError(
                f"component {name} must have one vector for each of {len(tasks)} tasks, but has shape "
                f"{np.shape(vectors)}; use rows of NaN for missing tasks"
            )
    if not components:
        raise UsageError("task embeddings must have at least one component, but have none; run fisher cells first")
    cosines = np.stack([cosine(vectors) for vectors in components.values()])
    fused = reciprocal_rank_fusion(cosines)
    return TaskSimilarity(
        tasks=tuple(tasks), components=tuple(components), cosine=cosines, fused=fused, ranks=_ranks(fused)
    )
