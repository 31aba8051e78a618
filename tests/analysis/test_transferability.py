"""Each estimator beside a direct transcription of its equations, and its limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from empslurm.analysis import transferability as estimators
from empslurm.errors import UsageError

RNG = np.random.default_rng(5)
SHAPES = [(40, 3), (12, 12), (9, 30)]  # more rows, as many, more dimensions


def example(n: int, d: int, n_classes: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    classes = np.arange(n) % n_classes
    return RNG.normal(size=(n, d)) + 1.5 * classes[:, None] * RNG.normal(size=d), classes.astype(np.int64)


def evidence(features: NDArray[np.float64], column: NDArray[np.float64], alpha: float, beta: float) -> float:
    """You et al. (2021), equation 2, as printed."""
    n, d = features.shape
    a = alpha * np.eye(d) + beta * features.T @ features
    m = beta * np.linalg.solve(a, features.T @ column)
    return float(
        n / 2 * np.log(beta)
        + d / 2 * np.log(alpha)
        - n / 2 * np.log(2 * np.pi)
        - beta / 2 * ((features @ m - column) ** 2).sum()
        - alpha / 2 * m @ m
        - np.linalg.slogdet(a)[1] / 2
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_log_me_is_the_maximum_of_the_evidence(shape: tuple[int, int]) -> None:
    features, classes = example(*shape)
    targets = estimators.one_hot(classes)
    largest = []
    for column in targets.T:
        starts = [(-2.0, 0.0), (0.0, 2.0), (3.0, 0.0), (6.0, 4.0), (0.0, 5.0), (15.0, 1.0)]
        tries = [
            minimize(
                lambda x: -evidence(features, column, *np.exp(x)),  # noqa: B023
                start,
                method="Nelder-Mead",
                bounds=[(-25, 25)] * 2,
                options={"maxiter": 4_000, "xatol": 1e-6, "fatol": 1e-9},
            )
            for start in starts
        ]
        largest.append(-min(found.fun for found in tries))
    assert estimators.log_me(features, targets) == pytest.approx(np.mean(largest) / len(features), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_h_score_is_the_trace_of_its_equation(shape: tuple[int, int]) -> None:
    from sklearn.covariance import LedoitWolf

    features, classes = example(*shape)
    fitted = LedoitWolf().fit(features)
    mean = np.stack([features[classes == classes[row]].mean(0) for row in range(len(features))])
    between = np.cov(mean, rowvar=False, bias=True)
    direct = np.trace(np.linalg.inv(fitted.covariance_) @ ((1 - fitted.shrinkage_) * between))
    assert estimators.h_score(features, classes) == pytest.approx(direct, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_trans_rate_is_the_difference_of_its_equations(shape: tuple[int, int]) -> None:
    features, classes = example(*shape)

    def rate(z: NDArray[np.float64]) -> float:
        n, d = z.shape
        return float(np.log(np.linalg.det(np.eye(d) + z.T @ z / (n * 1e-4))) / 2)

    z = features - features.mean(0)
    z /= np.sqrt(np.trace(z @ z.T))
    conditional = sum((classes == c).mean() * rate(z[classes == c]) for c in np.unique(classes))
    assert estimators.trans_rate(features, classes) == pytest.approx(rate(z) - conditional, rel=1e-6)
    assert estimators.trans_rate(7 * features + 3, classes) == pytest.approx(rate(z) - conditional, rel=1e-6)


def test_neighbours_are_those_of_a_loop() -> None:
    features, classes = example(40, 5)
    targets, others = estimators.one_hot(classes), RNG.normal(size=(6, 5))
    for row, got in zip(others, estimators.nearest_neighbours(features, targets, others), strict=True):
        cosine = [row @ x / np.linalg.norm(row) / np.linalg.norm(x) for x in features]
        nearest = sorted(range(40), key=lambda at: -cosine[at])[:10]
        assert got == pytest.approx(targets[nearest].mean(0))


def test_the_ridge_probe_is_the_ridge_of_the_best_left_out_error() -> None:
    features, _ = example(30, 4)
    target = features @ [1.0, -2.0, 0.0, 0.5] + RNG.normal(size=30)
    z = (features - features.mean(0)) / features.std(0)

    def fit(rows: NDArray[np.float64], values: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        centre = rows.mean(0)
        slope = np.linalg.solve((rows - centre).T @ (rows - centre) + penalty * np.eye(4), (rows - centre).T @ values)
        return np.append(slope, values.mean() - centre @ slope)

    def left_out(penalty: float) -> float:
        fits = [fit(np.delete(z, row, 0), np.delete(target, row), penalty) for row in range(30)]
        return float(sum((target[row] - np.append(z[row], 1) @ found) ** 2 for row, found in enumerate(fits)))

    found = fit(z, target, min(estimators.PENALTIES, key=left_out))
    expected = np.hstack([z, np.ones((30, 1))]) @ found
    assert estimators.ridge_probe(features, target[:, None], features)[:, 0] == pytest.approx(expected)


def test_no_row_is_predicted_from_its_own_group() -> None:
    groups = np.repeat(np.arange(12), 3)
    features = np.eye(12)[groups] + 0.01 * RNG.normal(size=(36, 12))
    targets = groups[:, None].astype(float)
    predicted = estimators.cross_validated(estimators.nearest_neighbours, features, targets, groups)
    assert np.isfinite(predicted).all()
    assert not np.isclose(predicted, targets).any()
    assert np.isnan(estimators.cross_validated(estimators.ridge_probe, features, targets, 0 * groups)).all()


def test_quantiles_are_of_equal_size_and_keep_ties_together() -> None:
    values = RNG.normal(size=100)
    classes = estimators.quantile_classes(values)
    assert np.bincount(classes).tolist() == [20] * 5
    assert all(low <= high for low, high in pairwise(classes[np.argsort(values)]))
    assert len(np.unique(estimators.quantile_classes(np.repeat([1.0, 2.0], [90, 10])))) == 2
    assert len(np.unique(estimators.quantile_classes(np.ones(9)))) == 1


def estimate(features: NDArray[np.float64], classes: NDArray[np.int64]) -> dict[str, float]:
    return {
        "log_me": estimators.log_me(features, estimators.one_hot(classes)),
        "h_score": estimators.h_score(features, classes),
        "trans_rate": estimators.trans_rate(features, classes),
    }


def test_what_does_not_vary_has_no_value() -> None:
    features, classes = example(20, 4)
    assert all(np.isnan(value) for value in estimate(features, 0 * classes).values())
    assert all(np.isnan(value) for value in estimate(np.ones((20, 4)), classes).values())
    assert np.isnan(estimators.log_me(features, np.full((20, 1), 2.5)))
    with pytest.raises(UsageError, match="one row per example"):
        estimators.h_score(features[:5], classes)
    with pytest.raises(UsageError, match="must be finite"):
        estimators.trans_rate(features * np.nan, classes)


@pytest.mark.parametrize("shape", [(60, 4), (10, 40)])
def test_collinear_and_constant_features_change_nothing_that_they_should_not(shape: tuple[int, int]) -> None:
    features, classes = example(*shape)
    doubled = estimate(np.hstack([features, features, np.zeros((len(features), 2))]), classes)
    assert all(np.isfinite(value) for value in doubled.values())
    for name in ("log_me", "trans_rate"):  # the same directions, scaled: another value for the H-score's shrinkage
        assert doubled[name] == pytest.approx(estimate(features, classes)[name], abs=2e-3), name


def test_a_representation_that_separates_the_classes_is_better() -> None:
    classes = np.arange(300) % 3
    noise = RNG.normal(size=(300, 20))
    weak, strong = noise.copy(), noise.copy()
    weak[:, 0] += classes
    strong[:, 0] += 4 * classes
    for name, value in estimate(strong, classes).items():
        assert value > estimate(weak, classes)[name] > estimate(noise, classes)[name], name
