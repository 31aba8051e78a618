"""A group's scores as the paper's Tables 7 and 8: sources as rows, targets as columns, baselines on the diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from empslurm import metrics
from empslurm.gather import Gathered, Group
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

TABLES = {"classification": 7, "regression": 8}  # by the numbers of the paper


@dataclass(frozen=True, kw_only=True)
class Score:
    """One place of the table: the mean over its seeds, and all that a reader must know of it."""

    source: str  # equal to the target: the baseline
    target: str
    metric: str
    value: float  # mean over seeds; NaN where there is none, or where one of them is undefined
    deviation: float  # standard deviation over seeds; NaN with fewer than two
    seeds: tuple[int, ...]  # with a result
    values: tuple[float, ...]  # one per seed
    n_missing: int  # seeds without one
    flags: tuple[str, ...]
    sample: bool  # the data are invented
    pinned: bool  # the data are a recorded release
    leaks: bool  # test texts stand in the source's or in the target's own training part
    n_examples: int  # test examples of the largest run; 0: not known
    ids: tuple[str, ...]  # one per seed
    predictions: tuple[str, ...]  # paths, one per seed; "" where there are none

    @property
    def state(self) -> str:
        """missing, undefined (a seed has no defined score), partial (a seed is missing) or complete."""
        if not self.seeds:
            return "missing"
        if np.isnan(self.value):
            return "undefined"
        return "partial" if self.n_missing else "complete"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Table 7 or 8 at one data fraction."""

    number: int
    kind: str  # of the targets
    metric: str
    group: str
    fraction: float
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    scores: dict[tuple[str, str], Score]  # (source, target); absent: no such pair is asked for
    seeds: tuple[int, ...]

    def best(self, target: str) -> float:
        """The best value of a column; NaN where there is none."""
        values = [score.value for (_, at), score in self.scores.items() if at == target and not np.isnan(score.value)]
        lowest = self.metric == "mae"
        return (min(values) if lowest else max(values)) if values else float("nan")


def score_tables(gathered: Gathered, group: Group) -> tuple[ScoreTable, ...]:
    """All tables of a group: one per fraction, kind of target and metric, in that order."""
    registry = gathered.registry
    runs = group.runs[group.runs["kind"].isin(("baseline", "transfer")) & (group.runs["labels"] == "all")]
    tasks = _tasks(runs, group, registry)
    fractions = sorted({*runs["fraction"], *(cell.fraction for cell in group.missing)}, reverse=True)
    made = []
    for fraction in fractions:
        at = runs[runs["fraction"] == fraction]
        absent = _absent(group, float(fraction))
        for metric in _metrics(tasks, registry, runs):
            targets = tuple(task for task in tasks if _metric(task, registry, runs) == metric)
            table = _table(at, absent, metric, tasks, targets, float(fraction), group, registry)
            if table.scores:
                made.append(table)
    return tuple(made)


def _tasks(runs: pd.DataFrame, group: Group, registry: Registry) -> tuple[str, ...]:
    """All tasks of the group: the registry's in its order, then others by name."""
    found = {*runs["target"], *runs["source"].dropna(), *(cell.target for cell in group.missing)}
    found |= {cell.source for cell in group.missing if cell.source is not None}
    known = [task for task in registry.tasks if task in found]
    return (*known, *sorted(found - set(known)))


def _metric(task: str, registry: Registry, runs: pd.DataFrame) -> str:
    own = runs.loc[runs["target"] == task, "metric"]
    if len(own):
        return str(own.iloc[0])
    return registry.tasks[task].metric if task in registry.tasks else "f1_macro"


def _metrics(tasks: Sequence[str], registry: Registry, runs: pd.DataFrame) -> tuple[str, ...]:
    used = {_metric(task, registry, runs) for task in tasks}
    return tuple(name for name in (*metrics.CLASSIFICATION, *metrics.REGRESSION) if name in used)


def _absent(group: Group, fraction: float) -> dict[tuple[str, str], int]:
    """How many seeds each place lacks."""
    found: dict[tuple[str, str], int] = {}
    for cell in group.missing:
        if cell.fraction == fraction and cell.kind in ("baseline", "transfer") and "-manual-" not in cell.id:
            place = (cell.source or cell.target, cell.target)
            found[place] = found.get(place, 0) + 1
    return found


def _table(
    runs: pd.DataFrame,
    absent: dict[tuple[str, str], int],
    metric: str,
    tasks: tuple[str, ...],
    targets: tuple[str, ...],
    fraction: float,
    group: Group,
    registry: Registry,
) -> ScoreTable:
    rows = runs.assign(source=runs["source"].fillna(runs["target"]))
    by_place: dict[tuple[str, str], pd.DataFrame] = {}
    for place, own in rows.groupby(["source", "target"], sort=False):
        by_place[str(place[0]), str(place[1])] = own
    places = [place for place in {**by_place, **absent} if place[1] in targets]
    scores = {
        place: _score(place, metric, by_place.get(place, rows.iloc[:0]), absent.get(place, 0), group)
        for place in places
    }
    kind = "regression" if metric in metrics.REGRESSION else "classification"
    seeds = sorted({seed for score in scores.values() for seed in score.seeds})
    return ScoreTable(
        number=TABLES[kind],
        kind=kind,
        metric=metric,
        group=group.name,
        fraction=fraction,
        sources=tuple(task for task in tasks if any(place[0] == task for place in places)),
        targets=tuple(target for target in targets if any(place[1] == target for place in places)),
        scores=scores,
        seeds=tuple(seeds),
    )


def _score(place: tuple[str, str], metric: str, own: pd.DataFrame, n_missing: int, group: Group) -> Score:
    own = own.sort_values("seed")
    values = own[f"test.{metric}"].to_numpy(dtype=np.float64)
    note = group.notes.get(place[1], "")
    flags = {flag for text in own["flags"] for flag in text.split(",") if flag}
    return Score(
        source=place[0],
        target=place[1],
        metric=metric,
        value=float(values.mean()) if len(values) else float("nan"),
        deviation=float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        seeds=tuple(int(seed) for seed in own["seed"]),
        values=tuple(float(value) for value in values),
        n_missing=n_missing,
        flags=tuple(sorted(flags)),
        sample=note == "sample",
        pinned=note == "",
        leaks=place in group.leaks or (place[1], place[1]) in group.leaks,
        n_examples=int(own["n_test"].fillna(0).max()) if len(own) else 0,
        ids=tuple(own["id"]),
        predictions=tuple(own["predictions"].fillna("")),
    )
