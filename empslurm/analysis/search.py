"""Reading a hyper-parameter search: rankings, histories, importances. Selection sees validation scores only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def mean_ranks(scores: Mapping[str, Mapping[str, float]], types: Sequence[str]) -> dict[str, float]:
    """Type -> its rank (1: best, ties share) by score, averaged over tasks; one that a task lacks is last there.

    scores: by task and type, higher is better. Scores of different tasks have no common unit, so ranks are averaged.
    """
    ranks: dict[str, list[float]] = {name: [] for name in types}
    for row in scores.values():
        values = [row.get(name, float("-inf")) for name in types]
        for name, value in zip(types, values, strict=True):
            above = sum(other > value for other in values)
            equal = sum(other == value for other in values)
            ranks[name].append(above + (equal + 1) / 2)
    return {name: sum(each) / len(each) if each else float("nan") for name, each in ranks.items()}


def best_types(scores: Mapping[str, Mapping[str, float]], types: Sequence[Name]) -> list[Name]:
    """Types from best to worst mean rank; equals keep their order."""
    ranks = mean_ranks(scores, types)
    return sorted(types, key=lambda name: ranks[name])
