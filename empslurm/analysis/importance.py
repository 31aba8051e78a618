"""Permutation importance of the transfer features (section 5.1, Figure 2 and Table 6 of the paper).

A regression (an entry of ESTIMATORS) predicts the percent improvement of every pair; a feature's importance is the drop
in R^2 on held-out pairs when the feature is permuted (Breiman 2001), all its columns together.
`analysis.importance_checks` tests whether the importances can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.features import Encoding, PairFeatures
from empslurm.analysis.importance_estimator import Estimator
from empslurm.analysis.support_vectors import SUPPORT_VECTORS
from empslurm.errors import UsageError

ESTIMATORS: tuple[Estimator, ...] = (
    SUPPORT_VECTORS,  # the paper's; it must be first: its importances are Figure 2 and order Table 6
)
FEWEST_PAIRS = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How importances are computed; by default with the estimator's default parameters on standardised columns."""

    estimator: Estimator = SUPPORT_VECTORS
    changed: Mapping[str, float] = field(default_factory=dict)  # parameters that differ from their defaults
    scaled: bool = True
    encoding: Encoding = "pair"  # of the features; they are built before (`features.pair_features`)

    @property
    def parameters(self) -> dict[str, float]:
        """The values of all parameters."""
        return {name: parameter.default for name, parameter in self.estimator.parameters.items()} | {**self.changed}


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The importance of one feature."""

    feature: str
    importance: float  # mean drop in held-out R^2 over splits and permutations
    spread: float  # standard deviation over splits and permutations


@dataclass(frozen=True, kw_only=True)
class Importances:
    """Table 6, in the features' order."""

    settings: Settings
    rows: tuple[Importance, ...]
    missing: tuple[str, ...]
    held_out_r2: tuple[float, ...]  # per split, of the models behind the importances
    n_pairs: int
    n_splits: int
    n_permutations: int
    test_share: float


def importances(
    features: PairFeatures,
    outcome: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    settings: Settings | None = None,
    n_splits: int = 10,
    n_permutations: int = 50,
    test_share: float = 0.2,
) -> Importances:
    """Permutation importance over random train/test splits of the pairs.

    `outcome`: (n_tasks, n_tasks) percent improvement, source by target, NaN where a pair is missing; the diagonal is
    not used. `test_share`: share of the pairs that each split holds out (the paper does not give it).
    """
    settings = settings or Settings(encoding=features.encoding)
    columns, values = rows_of(features.columns, outcome)
    split_r2, drops = drop_in_r2(
        columns,
        values,
        features.owner,
        settings=settings,
        splits=random_splits(len(values), n_splits, test_share, rng),
        n_permutations=n_permutations,
        rng=rng,
    )
    return Importances(
        settings=settings,
        rows=tuple(
            Importance(feature=name, importance=float(drops[:, at].mean()), spread=float(drops[:, at].std()))
            for at, name in enumerate(features.names)
        ),
        missing=features.missing,
        held_out_r2=tuple(float(value) for value in split_r2),
        n_pairs=len(values),
        n_splits=n_splits,
        n_permutations=n_permutations,
        test_share=test_share,
    )


def pairs_of(outcome: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sources and targets of the pairs that have an outcome, shapes (n_pairs,)."""
    there = np.isfinite(outcome) & ~np.eye(len(outcome), dtype=bool)
    sources, targets = np.nonzero(there)
    if len(sources) < FEWEST_PAIRS:
        raise UsageError(
            f"importance must have at least {FEWEST_PAIRS} pairs, but there are {len(sources)}; run more of the grid"
        )
    return sources, targets


def rows_of(
    columns: NDArray[np.float64], outcome: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns (n_pairs, n_columns) and values (n_pairs,) of the pairs that have an outcome."""
    sources, targets = pairs_of(outcome)
    return columns[sources, targets], outcome[sources, targets]


def random_splits(
    n_pairs: int, n_splits: int, test_share: float, rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(train, test) row indices of each split."""
    n_test = max(2, round(test_share * n_pairs))
    orders = [rng.permutation(n_pairs) for _ in range(n_splits)]
    return [(order[n_test:], order[:n_test]) for order in orders]


class Regression:
    """A fitted model with the scaling of its columns."""

    def __init__(self, columns: NDArray[np.float64], values: NDArray[np.float64], settings: Settings) -> None:
        self.centre = columns.mean(0) if settings.scaled else np.zeros(columns.shape[1])
        spread = columns.std(0) if settings.scaled else np.ones(columns.shape[1])
        self.spread = np.where(spread > 0, spread, 1.0)
        self.model = settings.estimator.make(settings.parameters)
        self.model.fit(self._scale(columns), values)

    def _scale(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((columns - self.centre) / self.spread)

    def predict(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predictions (n_rows,)."""
        return np.asarray(self.model.predict(self._scale(columns)))


def r2(values: NDArray[np.float64], predicted: NDArray[np.float64], centre: float | None = None) -> float:
    """Coefficient of determination relative to the values' mean, or to `centre`; NaN where the values do not vary."""
    total = float(((values - (values.mean() if centre is None else centre)) ** 2).sum())
    return 1 - float(((values - predicted) ** 2).sum()) / total if total > 0 else float("nan")


def drop_in_r2(
    columns: NDArray[np.float64],
    values: NDArray[np.float64],
    owner: NDArray[np.int64],
    *,
    settings: Settings,
    splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    n_permutations: int,
    rng: np.random.Generator,
    only: tuple[int, ...] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Held-out R^2 (n_splits,) and its drops (n_splits, n_features, n_permutations).

    `owner`: (n_columns,) the feature of each column; `only`: the features to permute, by default all.
    """
    wanted = tuple(range(int(owner.max()) + 1)) if only is None else only
    scores, drops = np.empty(len(splits)), np.empty((len(splits), len(wanted), n_permutations))
    for split, (train, test) in enumerate(splits):
        model = Regression(columns[train], values[train], settings)
        scores[split] = r2(values[test], model.predict(columns[test]))
        for at, feature in enumerate(wanted):
            own = owner == feature
            orders = np.array([rng.permutation(test) for _ in range(n_permutations)])
            permuted = np.repeat(columns[test][None], n_permutations, axis=0)  # (n_permutations, n_test, n_columns)
            permuted[:, :, own] = columns[orders][:, :, own]
            predicted = model.predict(permuted.reshape(-1, columns.shape[1])).reshape(n_permutations, -1)
            drops[split, at] = [scores[split] - r2(values[test], row) for row in predicted]
    return scores, drops
