"""Similarity of tasks and of datasets, from the vectors that fisher and embed cells saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.similarity import TaskSimilarity, cosine, task_similarity

if TYPE_CHECKING:
    import pandas as pd

VECTORS = "embedding.safetensors"  # fisher: "<label kind>/<component>" -> vector; embed: "mean" -> vector
EMBEDDING = "mean"


@dataclass(frozen=True, kw_only=True)
class DataSimilarity:
    """Cosine similarity of the tasks' datasets (Figure 9)."""

    tasks: tuple[str, ...]
    cosine: NDArray[np.float64]  # (n_tasks, n_tasks)
    ids: tuple[str, ...]
    encoder: str


@dataclass(frozen=True, kw_only=True)
class FusedSimilarity:
    """Similarity of the task embeddings (Figure 10) for one kind of Fisher labels, with the cells behind it."""

    kind: str  # empirical or sampled
    seed: int
    similarity: TaskSimilarity
    ids: tuple[str, ...]


def vectors(path: Path) -> dict[str, NDArray[np.float64]]:
    """The vectors of one verified output by name; empty where the file is missing."""
    from safetensors.numpy import load_file

    return (
        {name: np.ravel(value).astype(np.float64) for name, value in load_file(path).items()} if path.is_file() else {}
    )


def _paths(runs: pd.DataFrame, kind: str) -> list[tuple[str, str, int, Path]]:
    own = runs[runs["kind"] == kind]
    paths = [Path(path).with_name(VECTORS) for path in own["predictions"].tolist()]
    return list(zip(own["id"].tolist(), own["target"].tolist(), own["seed"].tolist(), paths, strict=True))


def data_similarity(runs: pd.DataFrame, order: Sequence[str]) -> DataSimilarity | None:
    """Cosine similarity of the dataset embeddings; None for fewer than two, or where their lengths differ."""
    embedded = {}
    for cell, target, _, path in _paths(runs, "embed"):
        value = vectors(path).get(EMBEDDING)
        if value is not None:
            embedded[target] = (cell, value)
    tasks = tuple(task for task in order if task in embedded)
    widths = {len(embedded[task][1]) for task in tasks}
    if len(tasks) < 2 or len(widths) > 1:
        return None
    import json

    setting = json.loads(str(runs.loc[embedded[tasks[0]][0], "setting"]))
    return DataSimilarity(
        tasks=tasks,
        cosine=cosine(np.stack([embedded[task][1] for task in tasks])),
        ids=tuple(embedded[task][0] for task in tasks),
        encoder=str(setting["backbone"]["name"]),
    )


def fused_similarity(runs: pd.DataFrame, order: Sequence[str]) -> tuple[FusedSimilarity, ...]:
    """Compare task embeddings within the seed that has the most tasks: coordinates match only within a seed."""
    rows = _paths(runs, "fisher")
    if not rows:
        return ()
    seeds = [seed for _, _, seed, _ in rows]
    seed = max(sorted(set(seeds)), key=seeds.count)
    loaded = {target: (cell, vectors(path)) for cell, target, at, path in rows if at == seed}
    similarities = []
    for kind in ("empirical", "sampled"):
        tasks = [task for task in order if any(name.startswith(f"{kind}/") for name in loaded.get(task, ("", {}))[1])]
        if len(tasks) < 2:
            continue
        names = list(dict.fromkeys(name for task in tasks for name in loaded[task][1] if name.startswith(f"{kind}/")))
        similarities.append(
            FusedSimilarity(
                kind=kind,
                seed=seed,
                similarity=task_similarity(
                    tasks,
                    {name.split("/", 1)[1]: _stack([loaded[task][1].get(name) for task in tasks]) for name in names},
                ),
                ids=tuple(loaded[task][0] for task in tasks),
            )
        )
    return tuple(similarities)


def _stack(rows: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    width = next(len(row) for row in rows if row is not None)
    return np.stack([np.full(width, np.nan) if row is None or len(row) != width else row for row in rows])


def square(similarity: NDArray[np.float64], own: Sequence[str], tasks: Sequence[str]) -> NDArray[np.float64] | None:
    """Similarities in the order of `tasks`; None where a task lacks one: a feature must be known for every pair."""
    if not set(tasks) <= set(own):
        return None
    at = [list(own).index(task) for task in tasks]
    return np.asarray(similarity[np.ix_(at, at)])
