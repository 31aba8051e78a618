"""How sources could have been chosen without the grid: ways to choose, each judged with targets or sources left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis import source_selection
from empslurm.analysis.source_prediction import Pairs, Prior, Variances
from empslurm.analysis.source_selection import MODEL, POPULARITY, History, Quality
from empslurm.analysis.transferability import ESTIMATORS
from empslurm.metrics import METRICS
from empslurm.report import task_facts
from empslurm.report.embeddings import square
from empslurm.report.group_results import Analyses, Finding, Significance
from empslurm.report.scores import ScoreTable
from empslurm.report.significance import TargetResult, stream

CEILING = "half of the seeds"
FEWEST_TARGETS, FEWEST_SOURCES = 3, 3
MOST_SPLITS = 20  # of the seeds in halves
NAME = "the choice of sources"
PERCENT = 100.0  # of the baseline, in place of the metric, where a metric has no common scale
# What is assumed before any grid is finished, in units of a metric between 0 and 1.
PRIOR = Prior(
    variances=Variances(popularity=1e-3, level=1e-3, slope=1e-4, common=1e-4, rest=1e-3), common=0.005, noise=1e-3
)

Matrix = NDArray[np.float64]  # (n_tasks, n_tasks), source by target


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A number per pair. `values`: in the order of the tasks; None where it is not known."""

    title: str
    helpful: bool  # whether more is expected to be better
    values: Callable[[Analyses], Matrix | None]


def _of_source(name: str, function: Callable[[Matrix], Matrix]) -> Callable[[Analyses], Matrix | None]:
    """A fact about the source, the same for every target."""

    def values(analyses: Analyses) -> Matrix | None:
        facts = task_facts.task_facts(analyses.tasks, analyses.gathered.registry, analyses.ratings)
        known = function(np.array([getattr(fact, name) for fact in facts], dtype=np.float64))
        return np.repeat(known[:, None], len(known), axis=1)

    return values


def _similar_tasks(analyses: Analyses) -> Matrix | None:
    fused = analyses.task_similarity
    return square(fused[0].similarity.fused, fused[0].similarity.tasks, analyses.tasks) if fused else None


def _similar_data(analyses: Analyses) -> Matrix | None:
    data = analyses.data_similarity
    return None if data is None else square(data.cosine, data.tasks, analyses.tasks)


def _stored(name: str) -> Callable[[Analyses], Matrix | None]:
    """What `suggest` has kept: the value of an estimator on what the source's adapter reads of the target's texts."""

    def values(analyses: Analyses) -> Matrix | None:
        at = {task: place for place, task in enumerate(analyses.tasks)}
        known = np.full((len(at), len(at)), np.nan)
        for (source, target), row in analyses.group.suitability.items():
            if source in at and target in at:
                known[at[source], at[target]] = row.get(name, np.nan)
        return known if np.isfinite(known).any() else None

    return values


FEATURES: Mapping[str, Feature] = {
    **{
        name: Feature(title=estimator.title, helpful=True, values=_stored(name))
        for name, estimator in ESTIMATORS.items()
    },
    "task_similarity": Feature(title="task embeddings", helpful=True, values=_similar_tasks),
    "dataset_similarity": Feature(title="dataset embeddings", helpful=True, values=_similar_data),
    "n_samples": Feature(title="source's size", helpful=True, values=_of_source("n_samples", np.log)),
    "n_labels": Feature(title="source's labels", helpful=False, values=_of_source("n_labels", np.log)),
    "definition": Feature(title="source's definition", helpful=False, values=_of_source("definition", np.asarray)),
    "link": Feature(title="source's link", helpful=False, values=_of_source("link", np.asarray)),
    "conduciveness": Feature(
        title="source's conduciveness", helpful=False, values=_of_source("conduciveness", np.asarray)
    ),
}


@dataclass(frozen=True, kw_only=True)
class SourceChoice:
    """Ways to choose sources, judged on one group's largest share of data; in the order of the tables."""

    fraction: float
    percent: bool  # whether gains are in percent of the baseline
    targets: tuple[str, ...]
    n_sources: int
    targets_left_out: tuple[Quality, ...]
    sources_left_out: tuple[Quality, ...]
    ceiling: Quality | None  # None: one seed
    over_popularity: tuple[float, float, float]  # tau of the model less that of popularity, with its 95 % interval
    lacking: tuple[str, ...]  # titles of features that are not known


def choose(analyses: Analyses) -> Finding:
    """Judge every way to choose, or say why it cannot be judged."""
    if not analyses.significance:
        return Finding(result=None, lacking={NAME: "no pair has a baseline to be compared with"})
    chosen = max(analyses.significance, key=lambda one: one.fraction)
    results = [one for one in chosen.results if np.isfinite(one.comparison.difference).sum() >= FEWEST_SOURCES]
    if len(results) < FEWEST_TARGETS:
        return Finding(
            result=None,
            lacking={
                NAME: f"it is judged on at least {FEWEST_TARGETS} targets with the gains of {FEWEST_SOURCES} sources, "
                f"but {len(results) or 'none'} {'has' if len(results) == 1 else 'have'} them"
            },
        )
    history = history_of(analyses, results)
    rng = stream(NAME, *(result.target for result in results))

    def judged(values: Mapping[str, Sequence[Matrix]]) -> tuple[Quality, ...]:
        found = []
        for way, rows in values.items():
            pairs = zip(rows, results, strict=True)
            by_target = [
                source_selection.of_target(
                    row, one.comparison.transfer, one.comparison.baseline, one.comparison.sign, rng
                )
                for row, one in pairs
            ]
            found.append(source_selection.quality(way, by_target, rng))
        return tuple(found)

    targets_left_out = judged(source_selection.targets_left_out(history))
    by_way = {one.way: one for one in targets_left_out}
    mean, low, high = source_selection.difference(by_way[MODEL], by_way[POPULARITY], rng)
    return Finding(
        result=SourceChoice(
            fraction=chosen.fraction,
            percent=in_percent(results),
            targets=tuple(one.target for one in results),
            n_sources=history.n_sources,
            targets_left_out=targets_left_out,
            sources_left_out=judged(source_selection.sources_left_out(history)),
            ceiling=_ceiling(analyses, chosen, results, rng),
            over_popularity=(float(mean[0]), float(low[0]), float(high[0])),
            lacking=tuple(one.title for name, one in FEATURES.items() if name not in history.features),
        )
    )


def in_percent(results: Sequence[TargetResult]) -> bool:
    """Whether a metric of the targets is an error, which has no common scale."""
    return any(not METRICS[one.metric].higher_is_better for one in results)


def history_of(analyses: Analyses, results: Sequence[TargetResult]) -> History:
    """The gains of a group's pairs with their noise, and what is known of each pair."""
    sources = tuple(dict.fromkeys(name for one in results for name in one.comparison.sources))
    known = {name: feature.values(analyses) for name, feature in FEATURES.items()}
    there = {name: matrix for name, matrix in known.items() if matrix is not None and _varies(matrix)}
    percent = in_percent(results)
    at = {task: place for place, task in enumerate(analyses.tasks)}
    return History(
        targets=tuple(_pairs(one, sources, list(there.values()), at, percent=percent) for one in results),
        n_sources=len(sources),
        features=tuple(there),
        helpful=np.array([FEATURES[name].helpful for name in there], dtype=bool),
        prior=PRIOR,
    )


def _varies(matrix: Matrix) -> bool:
    off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
    known = off_diagonal[np.isfinite(off_diagonal)]
    return len(known) > 1 and bool(np.ptp(known) > 0)


def _pairs(
    one: TargetResult, sources: Sequence[str], matrices: Sequence[Matrix], at: Mapping[str, int], *, percent: bool
) -> Pairs:
    own = [source for source in one.comparison.sources if source in at]
    kept = [place for place, source in enumerate(one.comparison.sources) if source in at]
    unit = 1 / abs(one.comparison.baseline) if percent else 1.0
    column = at[one.target]
    return Pairs(
        sources=np.array([sources.index(source) for source in own], dtype=np.int64),
        features=np.array([[matrix[at[source], column] for matrix in matrices] for source in own]).reshape(
            len(own), len(matrices)
        ),
        gains=unit * one.comparison.sign * one.comparison.difference[kept],
        noise=unit**2 * one.comparison.covariance[np.ix_(kept, kept)],
    )


def _ceiling(
    analyses: Analyses, chosen: Significance, results: Sequence[TargetResult], rng: np.random.Generator
) -> Quality | None:
    """How well one half of the seeds predicts the other, a mean over splits; None where a target has one seed."""
    tables = [table for table in analyses.tables if table.fraction == chosen.fraction]
    rows = []
    for one in results:
        table = next(table for table in tables if one.target in table.targets)
        scores = _by_seed(table, one)
        n_seeds = scores.shape[1]
        if n_seeds < 2:
            return None
        halves = list(combinations(range(n_seeds), n_seeds // 2))
        taken = (
            halves if len(halves) <= MOST_SPLITS else [halves[i] for i in rng.permutation(len(halves))[:MOST_SPLITS]]
        )
        judged = []
        for half in taken:
            mask = np.isin(np.arange(n_seeds), half)
            first, second = (_mean(scores[:, chosen_seeds]) for chosen_seeds in (mask, ~mask))
            judged.append(
                source_selection.of_target(
                    one.comparison.sign * first, second, one.comparison.baseline, one.comparison.sign, rng
                )
            )
        rows.append(np.nanmean(judged, 0) if np.isfinite(judged).any() else judged[0])
    return source_selection.quality(CEILING, rows, rng)


def _by_seed(table: ScoreTable, one: TargetResult) -> Matrix:
    """(n_sources, n_seeds) scores of a target's transfers; NaN where missing."""
    own = {source: table.scores[source, one.target] for source in one.comparison.sources}
    seeds = sorted({seed for score in own.values() for seed in score.seeds})
    scores = np.full((len(own), len(seeds)), np.nan)
    for row, score in enumerate(own.values()):
        for seed, value in zip(score.seeds, score.values, strict=True):
            scores[row, seeds.index(seed)] = value
    return scores


def _mean(scores: Matrix) -> Matrix:
    known = np.isfinite(scores)
    n = known.sum(1)
    return np.where(n > 0, np.where(known, scores, 0.0).sum(1) / np.maximum(n, 1), np.nan)
