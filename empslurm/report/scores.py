"""A group's scores in the form of the paper's Tables 7 and 8: sources as rows, targets as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from empslurm import metrics
from empslurm.analysis.collapse import collapsed_runs
from empslurm.gather import Gathered, Group
from empslurm.gather.collect import CARD
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

TABLES = {"classification": 7, "regression": 8}  # numbers in the paper
# Flags that show from predictions that a run did not learn at all; the scores of its target may show it of other runs.
# A run that did worse than a constant answer has learnt something, so it is compared.
TOLD = frozenset((metrics.CONSTANT, metrics.DIVERGED))


@dataclass(frozen=True, kw_only=True)
class Score:
    """One pair of the table: the mean over its seeds, and everything that a reader must know about it."""

    source: str  # equal to the target: the baseline
    target: str
    metric: str
    value: float  # mean over seeds; NaN without any, or where a seed's score is undefined
    deviation: float  # standard deviation over seeds; NaN with fewer than two
    seeds: tuple[int, ...]  # with a result
    values: tuple[float, ...]  # one per seed
    n_missing: int  # seeds without one
    flags: tuple[str, ...]  # flags of any seed
    flags_of_seeds: tuple[tuple[str, ...], ...]  # one per seed
    sample: bool  # the data are invented
    pinned: bool  # the data are a release whose checksums are recorded
    of_card: bool = False  # the data are of a user's card
    leaks: bool  # test texts are also in the training part of the source or of the target itself
    n_examples: int  # test examples of the largest run; 0: unknown
    ids: tuple[str, ...]  # one per seed
    predictions: tuple[str, ...]  # paths, one per seed; "" where there are none

    @property
    def flagged(self) -> str:
        """Which seeds have which flag, such as `constant in 2 of 4 seeds (1, 3)`; "" where none has any."""
        if len(self.seeds) == 1:
            return ", ".join(self.flags)
        own = {
            flag: [str(seed) for seed, flags in zip(self.seeds, self.flags_of_seeds, strict=True) if flag in flags]
            for flag in self.flags
        }
        return "; ".join(
            f"{flag} in {len(seeds)} of {len(self.seeds)} seeds ({', '.join(seeds)})" for flag, seeds in own.items()
        )

    @property
    def not_learnt(self) -> tuple[int, ...]:
        """Seeds with a flag which says that the run did not learn at all."""
        return self._with({*TOLD, metrics.COLLAPSED})

    @property
    def worse(self) -> tuple[int, ...]:
        """The other seeds that did worse on the test part than the same answer to all examples."""
        return tuple(seed for seed in self._with({metrics.WORSE}) if seed not in self.not_learnt)

    def _with(self, wanted: set[str]) -> tuple[int, ...]:
        marked = zip(self.seeds, self.flags_of_seeds, strict=True)
        return tuple(seed for seed, flags in marked if wanted & {*flags})

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
    scores: dict[tuple[str, str], Score]  # (source, target) -> score; absent: the pair was not asked for
    seeds: tuple[int, ...]

    @property
    def higher_is_better(self) -> bool:
        """False where the metric is an error."""
        return metrics.METRICS[self.metric].higher_is_better

    @cached_property
    def columns(self) -> Mapping[str, Mapping[str, Score]]:
        """Target -> source -> score, sources in the order of `scores`."""
        columns: dict[str, dict[str, Score]] = {}
        for (source, target), score in self.scores.items():
            columns.setdefault(target, {})[source] = score
        return columns

    @cached_property
    def _bests(self) -> Mapping[str, float]:
        best = max if self.higher_is_better else min
        values = {
            target: [score.value for score in column.values() if score.value == score.value]
            for target, column in self.columns.items()
        }
        return {target: best(own) for target, own in values.items() if own}

    def best(self, target: str) -> float:
        """The best value of a column; NaN where there is none."""
        return self._bests.get(target, float("nan"))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The part of one run that a score needs."""

    seed: int
    value: float
    flags: str
    n_test: float
    id: str
    predictions: str


def score_tables(gathered: Gathered, group: Group) -> tuple[ScoreTable, ...]:
    """All score tables of a group: one per data fraction, kind of target and metric, in that order."""
    registry = gathered.registry
    runs = scored(group)
    tasks = _tasks(runs, group, registry)
    metric_of = _metrics(tasks, registry, runs)
    fractions = sorted({*runs["fraction"], *(cell.fraction for cell in group.missing)}, reverse=True)
    tables = []
    for fraction in fractions:
        at = runs[runs["fraction"] == fraction]
        absent = _absent(group, float(fraction))
        for metric in (name for kind in metrics.KINDS for name in metrics.of_kind(kind)):
            targets = tuple(task for task in tasks if metric_of[task] == metric)
            table = _table(at, absent, metric, tasks, targets, float(fraction), group)
            if table.scores:
                tables.append(table)
    return tuple(tables)


def scored(group: Group) -> pd.DataFrame:
    """The runs of the score tables: baselines and transfers that were trained on all labels."""
    return group.runs[group.runs["kind"].isin(("baseline", "transfer")) & (group.runs["labels"] == "all")]


def _tasks(runs: pd.DataFrame, group: Group, registry: Registry) -> tuple[str, ...]:
    """All tasks of the group: the registry's in its order, then others by name."""
    there = {*runs["target"], *runs["source"].dropna(), *(cell.target for cell in group.missing)}
    there |= {cell.source for cell in group.missing if cell.source is not None}
    known = [task for task in registry.tasks if task in there]
    return (*known, *sorted(there - set(known)))


def _metrics(tasks: Sequence[str], registry: Registry, runs: pd.DataFrame) -> dict[str, str]:
    """Each task's metric: that of its first run, or else the registry's."""
    first = runs.drop_duplicates("target")
    used = {str(target): str(metric) for target, metric in zip(first["target"], first["metric"], strict=True)}
    known = {task: registry.tasks[task].metric for task in tasks if task in registry.tasks}
    return {task: used.get(task, known.get(task, metrics.PAPERS["classification"])) for task in tasks}


def _absent(group: Group, fraction: float) -> dict[tuple[str, str], int]:
    """(source, target) -> how many of its seeds have no result."""
    missing: dict[tuple[str, str], int] = {}
    for cell in group.missing:
        if cell.fraction == fraction and cell.kind in ("baseline", "transfer") and "-manual-" not in cell.id:
            pair = (cell.source or cell.target, cell.target)
            missing[pair] = missing.get(pair, 0) + 1
    return missing


def _table(
    runs: pd.DataFrame,
    absent: dict[tuple[str, str], int],
    metric: str,
    tasks: tuple[str, ...],
    targets: tuple[str, ...],
    fraction: float,
    group: Group,
) -> ScoreTable:
    present = _by_pair(runs[runs["target"].isin(targets)], metric)
    own = set(targets)
    pairs = [pair for pair in {**present, **absent} if pair[1] in own]
    scores = {pair: _score(pair, metric, present.get(pair, []), absent.get(pair, 0), group) for pair in pairs}
    columns: dict[str, dict[tuple[str, str], Score]] = {}
    for pair, score in scores.items():
        columns.setdefault(pair[1], {})[pair] = score
    for column in columns.values():
        scores |= _collapsed(column, metric)
    sources_there, targets_there = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    kind = metrics.METRICS[metric].kind
    seeds = sorted({seed for score in scores.values() for seed in score.seeds})
    return ScoreTable(
        number=TABLES[kind],
        kind=kind,
        metric=metric,
        group=group.name,
        fraction=fraction,
        sources=tuple(task for task in tasks if task in sources_there),
        targets=tuple(target for target in targets if target in targets_there),
        scores=scores,
        seeds=tuple(seeds),
    )


def _collapsed(scores: Mapping[tuple[str, str], Score], metric: str) -> dict[tuple[str, str], Score]:
    """The scores of one target with runs that fell far below the others, now flagged so; other flags stay."""
    seeds = sorted({seed for score in scores.values() for seed in score.seeds})
    values, known = np.full((len(scores), len(seeds)), np.nan), np.zeros((len(scores), len(seeds)), dtype=bool)
    for row, score in enumerate(scores.values()):
        for seed, value, flags in zip(score.seeds, score.values, score.flags_of_seeds, strict=True):
            at = row, seeds.index(seed)
            values[at], known[at] = value, bool(TOLD & {*flags})
    fell = collapsed_runs(values, higher_is_better=metrics.METRICS[metric].higher_is_better, known=known) & ~known
    changed = {}
    for row, (pair, score) in enumerate(scores.items()):
        if fell[row].any():
            flags_of_seeds = tuple(
                (*flags, metrics.COLLAPSED) if fell[row, seeds.index(seed)] else flags
                for seed, flags in zip(score.seeds, score.flags_of_seeds, strict=True)
            )
            flags = tuple(sorted({*score.flags, metrics.COLLAPSED}))
            changed[pair] = replace(score, flags=flags, flags_of_seeds=flags_of_seeds)
    return changed


def _by_pair(runs: pd.DataFrame, metric: str) -> dict[tuple[str, str], list[_Run]]:
    """(source, target) -> its runs by seed; pairs in the order of their first run."""
    columns = [
        runs["source"].fillna(runs["target"]),
        runs["target"],
        runs["seed"],
        runs[f"test.{metric}"],
        runs["flags"],
        runs["n_test"].fillna(0),
        runs["id"],
        runs["predictions"].fillna(""),
    ]
    by_pair: dict[tuple[str, str], list[_Run]] = {}
    for source, target, seed, value, flags, n_test, id, path in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        run = _Run(seed=seed, value=value, flags=flags, n_test=n_test, id=id, predictions=path)
        by_pair.setdefault((source, target), []).append(run)
    for own in by_pair.values():
        own.sort(key=lambda run: run.seed)
    return by_pair


def _score(pair: tuple[str, str], metric: str, runs: Sequence[_Run], n_missing: int, group: Group) -> Score:
    values = np.array([run.value for run in runs], dtype=np.float64)
    note = group.notes.get(pair[1], "")
    flags = [tuple(filter(None, run.flags.split(","))) for run in runs]
    return Score(
        source=pair[0],
        target=pair[1],
        metric=metric,
        value=float(values.mean()) if len(values) else float("nan"),
        deviation=float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        seeds=tuple(run.seed for run in runs),
        values=tuple(run.value for run in runs),
        n_missing=n_missing,
        flags=tuple(sorted({flag for own in flags for flag in own})),
        flags_of_seeds=tuple(flags),
        sample=note == "sample",
        pinned=note == "",
        of_card=note == CARD,
        leaks=pair in group.leaks or (pair[1], pair[1]) in group.leaks,
        n_examples=int(max((run.n_test for run in runs), default=0)),
        ids=tuple(run.id for run in runs),
        predictions=tuple(run.predictions for run in runs),
    )
