"""Evaluate a hyper-parameter search, on validation scores only: rankings, intervals, histories, importances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=str)
N_RANKED = 10  # finished trials of a type; with fewer, a search cannot rank it
IMPORTANCE_FROM = 10  # finished trials; with fewer, importances are not computed


def mean_ranks(scores: Mapping[str, Mapping[Name, float]], types: Sequence[Name]) -> dict[Name, float]:
    """Type -> its rank by score (1: best, ties share), averaged over tasks; a type that a task lacks is last there.

    `scores`: task -> type -> score, higher is better. Scores of different tasks have no common unit, so ranks are
    averaged.
    """
    ranks: dict[Name, list[float]] = {name: [] for name in types}
    for row in scores.values():
        values = [row.get(name, float("-inf")) for name in types]
        for name, value in zip(types, values, strict=True):
            above = sum(other > value for other in values)
            equal = sum(other == value for other in values)
            ranks[name].append(above + (equal + 1) / 2)
    return {name: sum(each) / len(each) if each else float("nan") for name, each in ranks.items()}


def best_types(scores: Mapping[str, Mapping[Name, float]], types: Sequence[Name]) -> list[Name]:
    """Types from best to worst mean rank; equal ones keep their order."""
    ranks = mean_ranks(scores, types)
    return sorted(types, key=lambda name: ranks[name])


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % t interval; `low` and `high` are None for a single value."""

    mean: float
    low: float | None
    high: float | None
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean over seeds with its t interval, which is wide with few seeds."""
    from scipy.stats import t

    n, mean = len(values), sum(values) / len(values)
    if n == 1:
        return Interval(mean=mean, low=None, high=None, n=1)
    deviation = (sum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5
    half = float(t.ppf(0.975, n - 1)) * deviation / n**0.5
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def best_so_far(values: Sequence[float | None]) -> list[float | None]:
    """The highest defined value up to each trial, in the order given; None before there is one."""
    best: float | None = None
    highest: list[float | None] = []
    for value in values:
        best = value if best is None or (value is not None and value > best) else best
        highest.append(best)
    return highest


def importances(rows: Sequence[Mapping[str, str | float]], values: Sequence[float], seed: int) -> dict[str, float]:
    """Parameter -> its share of what the parameters explain of the values, by functional ANOVA; empty with few trials.

    `rows`: the parameters of each finished trial; `lr` enters as its logarithm. A forest over some twenty trials is
    itself uncertain: shares only suggest where to look.
    """
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if len(rows) < IMPORTANCE_FROM or len(set(values)) < 2:
        return {}
    space = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        if isinstance(column[0], str):
            space[name] = CategoricalDistribution(sorted({str(value) for value in column}))
        else:
            numbers = [float(value) for value in column]
            space[name] = FloatDistribution(min(numbers), max(numbers), log=name == "lr")
    varied = {name: distribution for name, distribution in space.items() if not distribution.single()}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for row, value in zip(rows, values, strict=True):
        params = {name: row[name] if isinstance(row[name], str) else float(row[name]) for name in varied}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=varied, value=value))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator)) if len(varied) > 1 else {}
