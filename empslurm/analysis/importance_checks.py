"""Can the importances be trusted? Does the model predict beyond chance, also for new tasks, and at which settings?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.features import RATINGS, PairFeatures
from empslurm.analysis.importance import (
    Importances,
    Regression,
    Settings,
    drop_in_r2,
    importances,
    pairs_of,
    r2,
    random_splits,
    rows_of,
)

ABOUT_ZERO = 0.1  # with a held-out R^2 below this, a model predicts almost nothing
LEVEL = 0.05
TEST_SHARE = 0.2
# Fewer splits and permutations than for the table: they run hundreds of times, equally for observed and null values.
NULL_SPLITS = 5
STABILITY_SPLITS = 10
FEW_PERMUTATIONS = 5
N_EXTREMES = 3
# The time of a support vector regression grows with more than the square of the pairs, and there are thousands of them.
MOST_PAIRS = 1_000
MOST_FOLDS = 32  # groups of tasks that are left out in turn; 32 tasks have about a thousand pairs


@dataclass(frozen=True, kw_only=True)
class FeatureChecks:
    """One feature under the permutation null, and over all settings of the regression."""

    feature: str
    importance: float  # at the default settings
    spread: float
    p_value: float  # from permuting all features over the tasks
    p_ratings: float  # from permuting the ratings alone; NaN for other features
    best_rank: int  # 1 = most important; over the settings of the stability check
    worst_rank: int
    lowest: float  # importance over the settings
    highest: float


@dataclass(frozen=True, kw_only=True)
class StabilityRow:
    """The results of one setting of the regression."""

    settings: Settings
    held_out_r2: float  # mean over splits
    leave_target_out_r2: float
    importances: tuple[float, ...]  # in the features' order


@dataclass(frozen=True, kw_only=True)
class ImportanceChecks:
    """Everything a caption of Table 6 must say."""

    importances: Importances
    held_out_r2: float  # mean over splits, of the models behind the importances
    held_out_r2_spread: float
    noise_ceiling: (
        float  # share of the variance between pairs that is not seed noise: no R^2 can exceed it; NaN: one seed
    )
    leave_target_out_r2: float  # with whole targets left out, relative to the mean of the other pairs
    leave_source_out_r2: float
    p_r2: float  # of the held-out R^2 under the permutation null
    r2_without_extremes: float  # held-out R^2 without the `n_extremes` pairs of largest |outcome|
    n_extremes: int
    features: tuple[FeatureChecks, ...]
    stability: tuple[StabilityRow, ...]
    n_null: int  # permutations of the tasks
    interpretable: bool
    sentence: str  # why, for the caption


def noise_ceiling(outcomes: NDArray[np.float64]) -> float:
    """Share of the variance between pairs' seed means that is not seed noise; NaN with fewer than two seeds.

    `outcomes`: (n_seeds, n_tasks, n_tasks) percent improvement per seed, NaN where missing. Pairs with fewer than two
    seeds are left out.
    """
    values = outcomes.reshape(len(outcomes), -1)
    counts = np.isfinite(values).sum(0)
    values, counts = values[:, counts >= 2], counts[counts >= 2]
    if values.shape[1] < 2:
        return float("nan")
    between = float(np.nanmean(values, axis=0).var(ddof=1))
    noise = float((np.nanvar(values, axis=0, ddof=1) / counts).mean())
    return max(0.0, 1 - noise / between) if between > 0 else float("nan")


def sampled(outcome: NDArray[np.float64], most: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`outcome` with at most `most` pairs, drawn at random where there are more; the others become NaN."""
    sources, targets = pairs_of(outcome)
    if len(sources) <= most:
        return outcome
    drawn = rng.choice(len(sources), most, replace=False)
    kept = np.full_like(outcome, np.nan)
    kept[sources[drawn], targets[drawn]] = outcome[sources[drawn], targets[drawn]]
    return kept


def leave_out_r2(features: PairFeatures, outcome: NDArray[np.float64], settings: Settings, *, targets: bool) -> float:
    """R^2 over all pairs when each target's (or source's) pairs are predicted from the others alone.

    More than `MOST_FOLDS` tasks are left out in `MOST_FOLDS` groups, every `MOST_FOLDS`-th task together.
    Zero means no better than the mean of the training pairs, the best guess for a new task without features.
    """
    columns, values = rows_of(features.columns, outcome)
    left_out = pairs_of(outcome)[1 if targets else 0]
    predicted, centre = np.empty(len(values)), np.empty(len(values))
    tasks = np.unique(left_out)
    for first in range(min(MOST_FOLDS, len(tasks))):
        test = np.isin(left_out, tasks[first::MOST_FOLDS])
        predicted[test] = Regression(columns[~test], values[~test], settings).predict(columns[test])
        centre[test] = values[~test].mean()
    return r2(values - centre, predicted - centre, centre=0.0)


@dataclass(frozen=True, kw_only=True)
class _Null:
    """p-values from permuting tasks."""

    features: NDArray[np.float64]  # (n_features,)
    r2: float


def _null(
    features: PairFeatures,
    outcome: NDArray[np.float64],
    settings: Settings,
    permuted: tuple[int, ...],
    n_null: int,
    rng: np.random.Generator,
) -> _Null:
    """Quadratic-assignment permutation: the `permuted` features of tasks pi(i) and pi(j) replace those of i and j.

    Pairs share tasks, so shuffling the pairs would not give a valid null distribution; permuting the tasks keeps the
    dependence within rows and columns (Hubert and Schultz 1976; Krackhardt 1988). The observed value uses the same
    splits.
    """
    values = rows_of(features.columns, outcome)[1]
    sources, targets = pairs_of(outcome)
    splits = random_splits(len(values), NULL_SPLITS, TEST_SHARE, rng)
    own = np.isin(features.owner, permuted)

    def statistic(order: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
        columns = features.columns[sources, targets].copy()
        columns[:, own] = features.columns[order[sources], order[targets]][:, own]
        scores, drops = drop_in_r2(
            columns,
            values,
            features.owner,
            settings=settings,
            splits=splits,
            n_permutations=FEW_PERMUTATIONS,
            rng=rng,
            only=permuted,
        )
        return float(scores.mean()), drops.mean((0, 2))

    n_tasks = len(features.tasks)
    observed_r2, observed = statistic(np.arange(n_tasks))
    as_large, r2_as_large = np.zeros(len(permuted)), 0
    for _ in range(n_null):
        null_r2, null = statistic(rng.permutation(n_tasks))
        as_large += null >= observed
        r2_as_large += null_r2 >= observed_r2
    p_values = np.full(len(features.names), np.nan)
    p_values[list(permuted)] = (1 + as_large) / (1 + n_null)
    return _Null(features=p_values, r2=(1 + r2_as_large) / (1 + n_null))


def stability(
    features: Sequence[PairFeatures], outcome: NDArray[np.float64], settings: Settings, rng: np.random.Generator
) -> tuple[StabilityRow, ...]:
    """Importances for all parameter values, scalings and encodings (in `features`), on the same splits."""
    n_pairs = len(pairs_of(outcome)[0])
    splits = random_splits(n_pairs, STABILITY_SPLITS, TEST_SHARE, rng)
    parameters = settings.estimator.parameters
    grid = product(*(parameter.values for parameter in parameters.values()))
    rows = []
    for encoded, values_of_parameters, scaled in product(features, grid, (True, False)):
        changed = dict(zip(parameters, values_of_parameters, strict=True))
        varied = replace(settings, changed=changed, scaled=scaled, encoding=encoded.encoding)
        columns, values = rows_of(encoded.columns, outcome)
        scores, drops = drop_in_r2(
            columns,
            values,
            encoded.owner,
            settings=varied,
            splits=splits,
            n_permutations=FEW_PERMUTATIONS,
            rng=rng,
        )
        rows.append(
            StabilityRow(
                settings=varied,
                held_out_r2=float(scores.mean()),
                leave_target_out_r2=leave_out_r2(encoded, outcome, varied, targets=True),
                importances=tuple(float(value) for value in drops.mean((0, 2))),
            )
        )
    return tuple(rows)


def check(
    features: PairFeatures,
    outcome: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    settings: Settings | None = None,
    other_encodings: Sequence[PairFeatures] = (),
    seed_outcomes: NDArray[np.float64] | None = None,
    n_null: int = 199,
) -> ImportanceChecks:
    """The importances at `settings`, with every check of whether they can be trusted.

    `outcome`: (n_tasks, n_tasks) percent improvement, source by target; `other_encodings`: the same features encoded in
    other ways, for the stability check; `seed_outcomes`: (n_seeds, n_tasks, n_tasks), for the ceiling. Of more than
    `MOST_PAIRS` pairs, a random sample of that size is used.
    """
    settings = settings or Settings(encoding=features.encoding)
    n_there = len(pairs_of(outcome)[0])
    outcome = sampled(outcome, MOST_PAIRS, rng)
    table = importances(features, outcome, rng=rng, settings=settings)
    everything = tuple(range(len(features.names)))
    ratings = tuple(at for at in everything if features.names[at] in RATINGS)
    nothing = _Null(features=np.full(len(everything), np.nan), r2=float("nan"))
    whole = _null(features, outcome, settings, everything, n_null, rng)
    only_ratings = _null(features, outcome, settings, ratings, n_null, rng) if ratings else nothing
    rows = stability((features, *other_encodings), outcome, settings, rng)
    measures = {
        "held_out_r2": float(np.mean(table.held_out_r2)),
        "leave_target_out_r2": leave_out_r2(features, outcome, settings, targets=True),
        "leave_source_out_r2": leave_out_r2(features, outcome, settings, targets=False),
        "p_r2": whole.r2,
    }
    doubts = _doubts(**measures)
    return ImportanceChecks(
        importances=table,
        **measures,
        held_out_r2_spread=float(np.std(table.held_out_r2)),
        noise_ceiling=float("nan") if seed_outcomes is None else noise_ceiling(seed_outcomes),
        r2_without_extremes=_without_extremes(features, outcome, settings, rng),
        n_extremes=N_EXTREMES,
        features=_feature_rows(table, whole, only_ratings, rows),
        stability=rows,
        n_null=n_null,
        interpretable=not doubts,
        sentence=_sentence(measures["held_out_r2"], doubts, rows) + _sample_note(table.n_pairs, n_there),
    )


def _without_extremes(
    features: PairFeatures, outcome: NDArray[np.float64], settings: Settings, rng: np.random.Generator
) -> float:
    """Held-out R^2 without the most extreme pairs, which are mostly collapsed runs and could carry it alone."""
    columns, values = rows_of(features.columns, outcome)
    kept = np.argsort(np.abs(values))[:-N_EXTREMES]
    splits = random_splits(len(kept), STABILITY_SPLITS, TEST_SHARE, rng)
    scores = [
        r2(
            values[kept][test],
            Regression(columns[kept][train], values[kept][train], settings).predict(columns[kept][test]),
        )
        for train, test in splits
    ]
    return float(np.mean(scores))


def _feature_rows(
    table: Importances, whole: _Null, ratings: _Null, rows: tuple[StabilityRow, ...]
) -> tuple[FeatureChecks, ...]:
    values = np.array([row.importances for row in rows])  # (n_settings, n_features)
    ranks = 1 + (-values).argsort(1).argsort(1)
    return tuple(
        FeatureChecks(
            feature=row.feature,
            importance=row.importance,
            spread=row.spread,
            p_value=float(whole.features[at]),
            p_ratings=float(ratings.features[at]),
            best_rank=int(ranks[:, at].min()),
            worst_rank=int(ranks[:, at].max()),
            lowest=float(values[:, at].min()),
            highest=float(values[:, at].max()),
        )
        for at, row in enumerate(table.rows)
    )


def _doubts(held_out_r2: float, leave_target_out_r2: float, leave_source_out_r2: float, p_r2: float) -> tuple[str, ...]:
    """Each reason not to interpret the importances; an undefined value is a reason too."""
    doubts = []
    if not held_out_r2 >= ABOUT_ZERO:
        doubts.append(f"its held-out R² is {_printed(held_out_r2)}")
    if not p_r2 <= LEVEL:
        doubts.append(f"randomly permuted tasks do as well in {100 * p_r2:.0f} % of cases")
    if not leave_target_out_r2 > 0:
        doubts.append(f"it predicts unseen targets worse than the mean does (R² {_printed(leave_target_out_r2)})")
    if not leave_source_out_r2 > 0:
        doubts.append(f"it predicts unseen sources worse than the mean does (R² {_printed(leave_source_out_r2)})")
    return tuple(doubts)


def _sentence(held_out_r2: float, doubts: tuple[str, ...], rows: tuple[StabilityRow, ...]) -> str:
    best = max(row.leave_target_out_r2 for row in rows)
    reach = f"over {len(rows)} settings of the regression, R² for unseen targets reaches {_printed(best)} at most"
    if not doubts:
        return (
            "The model predicts unseen pairs, targets and sources "
            f"(held-out R² {_printed(held_out_r2)}), "
            f"beyond chance: its importances can be interpreted, within their spread ({reach})."
        )
    return f"These importances are not interpretable, because the model does not predict: {'; '.join(doubts)}; {reach}."


def _sample_note(n_used: int, n_there: int) -> str:
    return "" if n_used == n_there else f" A random sample of {n_used:,} of {n_there:,} pairs was used."


def _printed(value: float) -> str:
    """Two decimals, with a typographic minus."""
    return f"{value:.2f}".replace("-", "−")
