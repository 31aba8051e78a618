"""How well a representation suits a task, without training on it: published estimators, each a pure function.

`features`: (n, n_dimensions), a row per example, as a source's adapter represents the target's texts. `classes`: (n,)
integers; `targets`: (n, n_columns) numbers. More is better in each. An estimator whose value is not defined is NaN: all
examples of one class or of one value, or features that do not vary. More dimensions than rows, and collinear features,
are defined. Estimators of classes take a regression's values in quantiles (`quantile_classes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from empslurm.errors import UsageError

CODING_ERROR = 1e-4  # of TransRate's coding rate, for features of Frobenius norm 1
N_QUANTILES = 5
N_FOLDS = 5
N_NEIGHBOURS = 10
PENALTIES = tuple(10.0**power for power in range(-2, 6))  # of the ridge probe, for standardised features
CONSTANT = 1e-12  # a variance below this share of the mean square is rounding
SPAN = 1e12  # ratios of prior to noise precision that are searched, around the features' largest
N_RATIOS, N_FINER = 97, 9
NEAR = 1e-4  # of the logarithm of a ratio, where the search ends: the evidence is flat there

Predict = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def one_hot(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, n_present) indicators of the classes that occur."""
    return np.asarray(classes[:, None] == np.unique(classes)[None, :], dtype=np.float64)


def quantile_classes(values: NDArray[np.float64], n: int = N_QUANTILES) -> NDArray[np.int64]:
    """Values in n classes of about equal size; equal values share a class."""
    _, at, sizes = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(sizes) - sizes / 2) / len(values)  # the share of values below the middle of equal ones
    return np.asarray((middle * n).astype(np.int64)[at.ravel()])


def log_me(features: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """The logarithm of maximum evidence per example: You et al. (2021, arXiv 2102.11005), equations 2 to 4.

    A linear model y = F w + noise with w ~ N(0, 1/alpha) and noise ~ N(0, 1/beta), whose evidence is maximised over
    alpha and beta; the mean over the columns of `targets` (one per class, or the values). For a given alpha / beta the
    best beta is known, so one number is searched instead of iterating over both; the maximum is the same.
    """
    _check(features, len(targets))
    varied = targets[:, ~_constant(targets)]
    if varied.shape[1] == 0 or _constant(features).all():
        return float("nan")
    n = len(features)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    squares = singular**2
    squares = np.where(squares > squares[0] * np.finfo(float).eps ** 2 * n, squares, 0.0)
    inside = (left.T @ varied) ** 2  # (rank, n_columns): squared length of each column along each direction
    outside = np.maximum((varied**2).sum(0) - inside.sum(0), 0.0)
    at = np.log(squares[0] * np.geomspace(1 / SPAN, SPAN, N_RATIOS))[:, None].repeat(varied.shape[1], 1)
    while True:  # the best of a grid, then of ever finer grids around it
        shrunk = 1 / (1 + squares / np.exp(at)[:, :, None])  # (n_ratios, n_columns, rank); a ratio is alpha / beta
        misfit = np.einsum("acr,rc->ac", shrunk, inside) + outside  # |F m - y|^2 + alpha / beta |m|^2
        evidence = 0.5 * np.log(shrunk).sum(2) - n / 2 * (np.log(2 * np.pi * misfit / n) + 1)
        best, columns = evidence.argmax(0), np.arange(varied.shape[1])
        low, high = at[np.maximum(best - 1, 0), columns], at[np.minimum(best + 1, len(at) - 1), columns]
        if (high - low).max() < NEAR:
            return float(evidence[best, columns].mean()) / n
        at = np.linspace(low, high, N_FINER)


def h_score(features: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The shrunken H-score: Ibrahim et al. (2021, arXiv 2110.06893), equation 6, of Bao et al. (2019).

    tr(S^-1 (1 - a) C): C is the covariance of the classes' mean features, S that of the features, shrunk by
    Ledoit and Wolf (2004) with intensity a.
    """
    from sklearn.covariance import ledoit_wolf

    _check(features, len(classes))
    indicators = one_hot(classes)
    if indicators.shape[1] < 2 or _constant(features).all():
        return float("nan")
    covariance, shrinkage = ledoit_wolf(features)
    sizes = indicators.sum(0)
    means = (indicators / sizes).T @ features - features.mean(0)
    try:
        solved = np.linalg.solve(covariance, means.T).T
    except np.linalg.LinAlgError:  # collinear features that need no shrinkage
        solved = means @ np.linalg.pinv(covariance, hermitian=True)
    return float((1 - shrinkage) * (sizes / len(classes) * (means * solved).sum(1)).sum())


def trans_rate(features: NDArray[np.float64], classes: NDArray[np.int64], error: float = CODING_ERROR) -> float:
    """TransRate: Huang et al. (2022, arXiv 2106.09362), equations 3 to 5: R(Z) - R(Z | Y) of centred features.

    R(Z) = 1/2 log det(I + Z'Z / (n error)), and R(Z | Y) its mean over the classes, weighted by their sizes. Features
    are scaled to a Frobenius norm of 1, since the value depends on their scale.
    """
    _check(features, len(classes))
    if len(np.unique(classes)) < 2 or _constant(features).all():
        return float("nan")
    scaled = features - features.mean(0)
    scaled = scaled / np.linalg.norm(scaled)
    parts = [scaled[classes == name] for name in np.unique(classes)]
    return _rate(scaled, error) - sum(len(part) / len(scaled) * _rate(part, error) for part in parts)


def _rate(rows: NDArray[np.float64], error: float) -> float:
    """The coding rate; det(I + Z'Z) = det(I + ZZ'), so the smaller one is computed."""
    gram = rows.T @ rows if rows.shape[1] < len(rows) else rows @ rows.T
    return 0.5 * float(np.linalg.slogdet(np.eye(len(gram)) + gram / (len(rows) * error))[1])


def nearest_neighbours(
    features: NDArray[np.float64], targets: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean `targets` of each other row's `N_NEIGHBOURS` most similar rows (cosine): (n_others, n_columns)."""
    similarity = _unit(others) @ _unit(features).T
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    return np.asarray(targets[nearest].mean(1))


def ridge_probe(
    features: NDArray[np.float64], targets: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A ridge regression on standardised features, its penalty chosen by leave-one-out: (n_others, n_columns)."""
    from sklearn.linear_model import RidgeCV

    centre, spread = features.mean(0), features.std(0)
    spread = np.where(_constant(features), 1.0, spread)
    fitted = RidgeCV(alphas=PENALTIES).fit((features - centre) / spread, targets)
    return np.asarray(fitted.predict((others - centre) / spread)).reshape(len(others), -1)


def cross_validated(
    predict: Predict, features: NDArray[np.float64], targets: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Every row's prediction by `predict` fitted on the other folds: (n, n_columns). Groups stay together.

    With fewer than two groups nothing can be left out: all NaN.
    """
    from sklearn.model_selection import GroupKFold

    _check(features, len(targets))
    predicted = np.full(targets.shape, np.nan)
    n_folds = min(N_FOLDS, len(np.unique(groups)))
    if n_folds < 2:
        return predicted
    for fitted, held_out in GroupKFold(n_folds).split(features, groups=groups):
        predicted[held_out] = predict(features[fitted], targets[fitted], features[held_out])
    return predicted


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A target's answers to the examples whose features are judged."""

    classes: NDArray[np.int64]  # (n,) of a regression: quantiles
    targets: NDArray[np.float64]  # (n, n_columns) one column per class, or the values
    groups: NDArray[np.int64]  # (n,) rows of one group are never on both sides of a cross-validation
    score: Callable[[NDArray[np.float64]], float]  # the target's metric of predicted `targets`, more is better

    def cross_validated(self, predict: Predict, features: NDArray[np.float64]) -> float:
        """The score of predictions from other folds; NaN where a part has no variation, or nothing can be left out."""
        if _constant(self.targets).all():
            return float("nan")
        return self.score(cross_validated(predict, features, self.targets, self.groups))


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """One entry of ESTIMATORS."""

    title: str
    value: Callable[[NDArray[np.float64], Answers], float]


ESTIMATORS: Mapping[str, Estimator] = {
    "log_me": Estimator(title="LogME", value=lambda features, answers: log_me(features, answers.targets)),
    "h_score": Estimator(title="H-score", value=lambda features, answers: h_score(features, answers.classes)),
    "trans_rate": Estimator(title="TransRate", value=lambda features, answers: trans_rate(features, answers.classes)),
    "neighbours": Estimator(
        title="nearest neighbours",
        value=lambda features, answers: answers.cross_validated(nearest_neighbours, features),
    ),
    "ridge_probe": Estimator(
        title="ridge probe", value=lambda features, answers: answers.cross_validated(ridge_probe, features)
    ),
}


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0))


def _constant(columns: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which columns of (n, n_columns) do not vary."""
    return np.asarray(columns.var(0) <= CONSTANT * np.maximum((columns**2).mean(0), np.finfo(float).tiny))


def _check(features: NDArray[np.float64], n: int) -> None:
    if features.ndim != 2 or len(features) != n or n < 2 or not np.isfinite(features).all():
        raise UsageError(
            f"features must be finite numbers with a row for each of at least two labels, but have shape "
            f"{features.shape} for {n} labels; give one row per example"
        )
