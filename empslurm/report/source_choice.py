"""How sources could have been chosen without the grid: ways to choose, each judged with targets or sources left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis import source_selection
from empslurm.analysis.source_prediction import Pairs, Prior, Variances
from empslurm.analysis.source_selection import MODEL, POPULARITY, History, Quality
from empslurm.analysis.transferability import ESTIMATORS
from empslurm.analysis.verdicts import Comparison
from empslurm.report import task_facts
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.scores import ScoreTable
from empslurm.report.significance import CONTROL, comparable, compare_with, stream

CEILING = "half of the seeds"
FEWEST_TARGETS, FEWEST_SOURCES = 3, 3
MOST_SPLITS = 20  # of the seeds in halves
NAME = "the choice of sources"
# What is assumed before three targets are finished, in the unit of a metric between 0 and 1: about twice the variance
# of the gains of a grid of 14 tasks on MiniLM (docs/choosing.md), split among the causes as in that grid.
PRIOR = Prior(
    variances=Variances(popularity=1e-4, level=8e-4, slope=2e-6, common=1e-5, rest=4e-4), common=0.001, noise=5e-4
)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One target whose sources were tried."""

    target: str
    comparison: Comparison
    table: ScoreTable  # that has its runs


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one group of results says of its targets."""

    analyses: Analyses
    targets: tuple[Compared, ...]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A number per pair. `values`: (n_sources,) of some sources for one target; NaN where it is not known."""

    title: str
    helpful: bool  # whether more is expected to be better
    values: Callable[[Analyses, Sequence[str], str], Numbers]


def _of_source(name: str, function: Callable[[Numbers], Numbers]) -> Callable[[Analyses, Sequence[str], str], Numbers]:
    """A fact about the source, the same for every target. In a table, a name may be that of another task."""

    def values(analyses: Analyses, sources: Sequence[str], target: str) -> Numbers:
        if analyses.from_results and not analyses.of_paper:
            return _unknown(sources)
        facts = task_facts.task_facts(sources, analyses.gathered.registry, analyses.ratings)
        return function(np.array([getattr(fact, name) for fact in facts], dtype=np.float64))

    return values


def _similar_tasks(analyses: Analyses, sources: Sequence[str], target: str) -> Numbers:
    fused = analyses.task_similarity
    similarity = fused[0].similarity if fused else None
    return _column(similarity.fused, similarity.tasks, sources, target) if similarity else _unknown(sources)


def _similar_data(analyses: Analyses, sources: Sequence[str], target: str) -> Numbers:
    data = analyses.data_similarity
    return _unknown(sources) if data is None else _column(data.cosine, data.tasks, sources, target)


def _column(matrix: Numbers, tasks: Sequence[str], sources: Sequence[str], target: str) -> Numbers:
    at = {task: place for place, task in enumerate(tasks)}
    return np.array([matrix[at[source], at[target]] if {source, target} <= at.keys() else np.nan for source in sources])


def _unknown(sources: Sequence[str]) -> Numbers:
    return np.full(len(sources), np.nan)


def _stored(name: str) -> Callable[[Analyses, Sequence[str], str], Numbers]:
    """What `suggest` has kept: the value of an estimator on the source adapter's features of the target's texts."""

    def values(analyses: Analyses, sources: Sequence[str], target: str) -> Numbers:
        known = analyses.group.suitability
        return np.array([known.get((source, target), {}).get(name, np.nan) for source in sources])

    return values


FEATURES: Mapping[str, Feature] = {
    **{
        name: Feature(title=estimator.title, helpful=True, values=_stored(name))
        for name, estimator in ESTIMATORS.items()
    },
    "task_similarity": Feature(title="task embeddings", helpful=True, values=_similar_tasks),
    "dataset_similarity": Feature(title="dataset embeddings", helpful=True, values=_similar_data),
    "n_samples": Feature(title="source's size", helpful=True, values=_of_source("n_samples", np.log)),
    "n_labels": Feature(title="source's number of labels", helpful=False, values=_of_source("n_labels", np.log)),
    "definition": Feature(
        title="source's rating: definition", helpful=False, values=_of_source("definition", np.asarray)
    ),
    "link": Feature(title="source's rating: link", helpful=False, values=_of_source("link", np.asarray)),
    "conduciveness": Feature(
        title="source's rating: conduciveness", helpful=False, values=_of_source("conduciveness", np.asarray)
    ),
}


@dataclass(frozen=True, kw_only=True)
class SourceChoice:
    """Ways to choose sources, judged on one group's largest share of data; in the order of the tables."""

    fraction: float
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
    tables = {
        target: table for table in analyses.tables if table.fraction == chosen.fraction for target in table.targets
    }
    targets = tuple(
        Compared(target=one.target, comparison=one.comparison, table=tables[one.target]) for one in chosen.results
    )
    return judge([Part(analyses=analyses, targets=targets)])


def compared(analyses: Analyses, advance: Callable[[int], None] = lambda done: None) -> tuple[Compared, ...]:
    """The targets of a group at the largest share of data that has transfers, with the noise of their gains.

    `advance`: gets the number of targets that are done.
    """
    full = {table.metric: table for table in analyses.tables if table.fraction == 1.0}
    found: dict[float, list[Compared]] = {}
    for table in analyses.tables:
        for target, base, moved in comparable(table, None if table.fraction == 1.0 else full.get(table.metric)):
            tried = {source: score for source, score in moved.items() if source != CONTROL}
            if tried:
                comparison, _ = compare_with(table, target, base, tried, grouped=analyses.grouped)
                one = Compared(target=target, comparison=comparison, table=table)
                found.setdefault(table.fraction, []).append(one)
                advance(sum(map(len, found.values())))
    return tuple(found[max(found)]) if found else ()


def judge(parts: Sequence[Part]) -> Finding:
    """As `choose`, on the targets of several groups that one history is made of."""
    known = [Part(analyses=part.analyses, targets=tuple(filter(_tells, part.targets))) for part in parts]
    targets = [one for part in known for one in part.targets]
    if len(targets) < FEWEST_TARGETS:
        return Finding(
            result=None,
            lacking={
                NAME: f"this needs at least {FEWEST_TARGETS} targets, each with measured gains of at least "
                f"{FEWEST_SOURCES} sources, but {len(targets) or 'none'} {'has' if len(targets) == 1 else 'have'} them"
            },
        )
    sources = sources_of(known)
    pairs = measured(known, sources)
    history = history_of(pairs, len(sources), varying(pairs))
    rng = stream(NAME, *(one.target for one in targets))

    def judged(values: Mapping[str, Sequence[Numbers]]) -> tuple[Quality, ...]:
        found = []
        for way, rows in values.items():
            comparisons = [one.comparison for one in targets]
            by_target = [
                source_selection.of_target(row, one.transfer, one.baseline, one.sign, rng)
                for row, one in zip(rows, comparisons, strict=True)
            ]
            found.append(source_selection.quality(way, by_target, rng))
        return tuple(found)

    targets_left_out = judged(source_selection.targets_left_out(history))
    by_way = {one.way: one for one in targets_left_out}
    mean, low, high = source_selection.difference(by_way[MODEL], by_way[POPULARITY], rng)
    return Finding(
        result=SourceChoice(
            fraction=targets[0].table.fraction,
            targets=tuple(one.target for one in targets),
            n_sources=history.n_sources,
            targets_left_out=targets_left_out,
            sources_left_out=judged(source_selection.sources_left_out(history)),
            ceiling=_ceiling(targets, rng),
            over_popularity=(float(mean[0]), float(low[0]), float(high[0])),
            lacking=tuple(one.title for name, one in FEATURES.items() if name not in history.features),
        )
    )


def _tells(one: Compared) -> bool:
    return int(np.isfinite(one.comparison.difference).sum()) >= FEWEST_SOURCES


def sources_of(parts: Sequence[Part]) -> tuple[str, ...]:
    """Every source that was tried, each once."""
    return tuple(dict.fromkeys(name for part in parts for one in part.targets for name in one.comparison.sources))


def measured(parts: Sequence[Part], sources: Sequence[str]) -> list[Pairs]:
    """The pairs of every target, with every feature of FEATURES, their gains, and the noise of these."""
    return [
        pairs_of(part.analyses, one.target, one.comparison.sources, one.comparison, among=sources)
        for part in parts
        for one in part.targets
    ]


def varying(targets: Sequence[Pairs]) -> list[str]:
    """The names of the features that differ between pairs."""
    columns = np.array([row for own in targets for row in own.features]).reshape(-1, len(FEATURES)).T
    return [name for name, column in zip(FEATURES, columns, strict=True) if _varies(column)]


def _varies(values: Numbers) -> bool:
    known = values[np.isfinite(values)]
    return len(known) > 1 and bool(np.ptp(known) > 0)


def history_of(targets: Sequence[Pairs], n_sources: int, features: Sequence[str]) -> History:
    """What is known of some targets, with some of the features."""
    return History(
        targets=tuple(with_features(own, features) for own in targets),
        n_sources=n_sources,
        features=tuple(features),
        helpful=np.array([FEATURES[name].helpful for name in features], dtype=bool),
        prior=PRIOR,
    )


def with_features(own: Pairs, features: Sequence[str]) -> Pairs:
    """The pairs with some of their features."""
    return replace(own, features=own.features[:, [list(FEATURES).index(name) for name in features]])


def pairs_of(
    analyses: Analyses,
    target: str,
    sources: Sequence[str],
    comparison: Comparison | None,
    *,
    among: Sequence[str],
) -> Pairs:
    """Some sources of a target with every feature of FEATURES, and with the gains that were measured.

    `among`: all sources, which the pairs name by number. Gains are in the metric; of an error, which has no common
    scale, they are shares of the baseline's (unknown where that is 0).
    """
    n = len(sources)
    features = [feature.values(analyses, sources, target) for feature in FEATURES.values()]
    gains, noise = np.full(n, np.nan), np.full((n, n), np.nan)
    if comparison is not None:
        base = abs(comparison.baseline)
        unit = 1.0 if comparison.higher_is_better else 1 / base if base else np.nan
        here = [at for at, name in enumerate(sources) if name in comparison.sources]
        there = [comparison.sources.index(sources[at]) for at in here]
        gains[here] = unit * comparison.sign * comparison.difference[there]
        noise[np.ix_(here, here)] = unit**2 * comparison.covariance[np.ix_(there, there)]
    numbers = {name: at for at, name in enumerate(among)}
    return Pairs(
        sources=np.array([numbers[name] for name in sources], dtype=np.int64),
        features=np.array(features).T.reshape(n, len(FEATURES)),
        gains=gains,
        noise=noise,
    )


def _ceiling(targets: Sequence[Compared], rng: np.random.Generator) -> Quality | None:
    """How well one half of the seeds predicts the other, a mean over splits; None where a target has one seed."""
    rows = []
    for one in targets:
        scores, comparison = _by_seed(one), one.comparison
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
                source_selection.of_target(comparison.sign * first, second, comparison.baseline, comparison.sign, rng)
            )
        rows.append(np.nanmean(judged, 0) if np.isfinite(judged).any() else judged[0])
    return source_selection.quality(CEILING, rows, rng)


def _by_seed(one: Compared) -> Numbers:
    """(n_sources, n_seeds) scores of a target's transfers; NaN where missing."""
    own = {source: one.table.scores[source, one.target] for source in one.comparison.sources}
    seeds = sorted({seed for score in own.values() for seed in score.seeds})
    scores = np.full((len(own), len(seeds)), np.nan)
    for row, score in enumerate(own.values()):
        for seed, value in zip(score.seeds, score.values, strict=True):
            scores[row, seeds.index(seed)] = value
    return scores


def _mean(scores: Numbers) -> Numbers:
    known = np.isfinite(scores)
    n = known.sum(1)
    return np.where(n > 0, np.where(known, scores, 0.0).sum(1) / np.maximum(n, 1), np.nan)
