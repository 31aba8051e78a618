"""The twelve features of a transfer setting (section 5.1 of the paper), for every ordered pair of tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import UsageError

RATINGS = ("definition", "link", "conduciveness")
SIZES = ("n_samples", "n_tokens", "n_vocabulary", "n_labels")
CATEGORIES = ("task_type", "data_source", "language_setting")
SIMILARITIES = ("dataset_similarity", "task_similarity")
NO_FEATURE = "at least one feature must be known for every task"  # how the error begins where none is
FEATURES = RATINGS + SIZES + CATEGORIES + SIMILARITIES

# pair: one indicator per ordered pair of categories; changes of size as -1, 0, 1. ends: indicators of the source's and
# of the target's category, and of a rise, no change and a fall. The paper does not say which it used.
Encoding = Literal["pair", "ends"]


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """The facts about a task that the features need; NaN or "" where unknown."""

    task: str
    kind: str  # classification or regression
    n_labels: float  # for a regression 1, its single output (the paper does not say)
    n_samples: float
    n_tokens: float
    n_vocabulary: float
    data_source: str
    language_setting: str
    definition: float  # mean ratings
    link: float
    conduciveness: float


@dataclass(frozen=True, kw_only=True)
class PairFeatures:
    """Feature columns of every (source, target); a feature may have several columns."""

    tasks: tuple[str, ...]
    names: tuple[str, ...]  # the known features, in the order of FEATURES
    missing: tuple[str, ...]  # features left out, because a task's value is unknown
    columns: NDArray[np.float64]  # (n_tasks, n_tasks, n_columns), source by target; the diagonal is unused
    owner: NDArray[np.int64]  # (n_columns,): index into `names`
    encoding: Encoding


def pair_features(
    tasks: Sequence[TaskFacts],
    *,
    dataset_similarity: NDArray[np.float64] | None = None,
    task_similarity: NDArray[np.float64] | None = None,
    encoding: Encoding = "pair",
) -> PairFeatures:
    """Columns of all features whose values are known for every task.

    Ratings: source minus target. Sizes: whether the number rises, falls or stays from source to target. Categories:
    task type, data source and language setting of source and target. Similarities: (n_tasks, n_tasks) in the order of
    `tasks`.
    """
    _check(tasks, dataset_similarity, task_similarity)
    blocks = {name: _rating(tasks, name) for name in RATINGS}
    blocks |= {name: _change(tasks, name, encoding) for name in SIZES}
    blocks |= {name: _category(tasks, name, encoding) for name in CATEGORIES}
    by_name = {"dataset_similarity": dataset_similarity, "task_similarity": task_similarity}
    blocks |= {name: _similarity(by_name[name]) for name in SIMILARITIES}
    there = {name: block for name, block in blocks.items() if block is not None}
    names = tuple(name for name in FEATURES if name in there)
    if not names:
        raise UsageError(f"{NO_FEATURE}, but none is; rate the tasks on their cards, or in forms (`empslurm rate`)")
    return PairFeatures(
        tasks=tuple(task.task for task in tasks),
        names=names,
        missing=tuple(name for name in FEATURES if name not in there),
        columns=np.concatenate([there[name] for name in names], axis=2),
        owner=np.concatenate([np.full(there[name].shape[2], at) for at, name in enumerate(names)]),
        encoding=encoding,
    )


def _check(tasks: Sequence[TaskFacts], *similarities: NDArray[np.float64] | None) -> None:
    wrong = [matrix.shape for matrix in similarities if matrix is not None and matrix.shape != (len(tasks), len(tasks))]
    if wrong:
        raise UsageError(
            f"similarities must be {len(tasks)} x {len(tasks)}, one row and column per task, but are {wrong[0]}"
        )


def _rating(tasks: Sequence[TaskFacts], name: str) -> NDArray[np.float64] | None:
    values = np.array([getattr(task, name) for task in tasks], dtype=np.float64)
    return None if np.isnan(values).any() else (values[:, None] - values[None, :])[:, :, None]


def _change(tasks: Sequence[TaskFacts], name: str, encoding: Encoding) -> NDArray[np.float64] | None:
    values = np.array([getattr(task, name) for task in tasks], dtype=np.float64)
    if np.isnan(values).any():
        return None
    sign = np.sign(values[None, :] - values[:, None])
    return sign[:, :, None] if encoding == "pair" else (sign[:, :, None] == np.array([-1, 0, 1])).astype(np.float64)


def _category(tasks: Sequence[TaskFacts], name: str, encoding: Encoding) -> NDArray[np.float64] | None:
    values = [task.kind if name == "task_type" else getattr(task, name) for task in tasks]
    if not all(values):
        return None
    kinds, codes = np.unique(values, return_inverse=True)
    if encoding == "ends":
        indicators = np.eye(len(kinds))[codes]
        shape = (len(tasks), len(tasks), len(kinds))
        return np.concatenate(
            [np.broadcast_to(indicators[:, None], shape), np.broadcast_to(indicators[None, :], shape)], axis=2
        )
    return np.asarray(np.eye(len(kinds) ** 2)[codes[:, None] * len(kinds) + codes[None, :]])


def _similarity(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    if values is None:
        return None
    off_diagonal = ~np.eye(len(values), dtype=bool)
    if np.isnan(values[off_diagonal]).any():
        return None
    return np.where(off_diagonal, values, 0.0)[:, :, None]
