"""Gains predicted from finished grids: the model beside its dense form, shrinkage, coverage, and no grid at all."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from empslurm.analysis import source_prediction as model
from empslurm.analysis.source_prediction import Pairs, Prior, Variances

VARIANCES = Variances(popularity=9e-4, level=4e-4, slope=1e-4, common=1e-4, rest=4e-4)
PRIOR = Prior(variances=VARIANCES, common=0.01, noise=4e-4)
HELPFUL = np.array([True, True, False])
N = 6


def grid(
    rng: np.random.Generator,
    n: int = N,
    *,
    popularity: float = 0.03,
    level: float = 0.02,
    slopes: tuple[float, ...] = (0.02, 0.0, 0.01),
    rest: float = 0.02,
    noise: float = 0.02,
) -> tuple[list[Pairs], list[NDArray[np.float64]]]:
    """A full grid of n tasks, and the true gains."""
    popular = popularity * rng.normal(size=n)
    targets, truth = [], []
    for own in range(n):
        sources = np.array([source for source in range(n) if source != own])
        features = rng.normal(size=(n - 1, len(slopes)))
        gains = popular[sources] + level * rng.normal() + model.standardised(features) @ slopes
        gains = gains + rest * rng.normal(size=n - 1)
        measured = gains + noise * rng.normal(size=n - 1) + noise / 2 * rng.normal()  # its baseline is shared
        covariance = noise**2 * (np.eye(n - 1) + 0.25)
        targets.append(Pairs(sources=sources, features=features, gains=measured, noise=covariance))
        truth.append(gains)
    return targets, truth


def dense(targets: list[Pairs]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of all true gains, and the covariance of all measured ones, pair by pair."""
    pairs = [(at, row) for at, own in enumerate(targets) for row in range(len(own.sources))]
    features = [model.standardised(own.features) for own in targets]
    true, noise = np.zeros((len(pairs), len(pairs))), np.zeros((len(pairs), len(pairs)))
    for i, (t, a) in enumerate(pairs):
        for j, (u, b) in enumerate(pairs):
            x, y = features[t][a], features[u][b]
            true[i, j] = (
                model.MEAN_VARIANCE
                + VARIANCES.popularity * (targets[t].sources[a] == targets[u].sources[b])
                + VARIANCES.level * (t == u)
                + VARIANCES.slope * x @ y
                + VARIANCES.common * x[HELPFUL].sum() * y[HELPFUL].sum()
                + VARIANCES.rest * (i == j)
            )
            noise[i, j] = targets[t].noise[a, b] if t == u else 0.0
    mean = np.array([PRIOR.common * features[t][a][HELPFUL].sum() for t, a in pairs])
    return mean, true, noise


def fitted(targets: list[Pairs], monkeypatch: pytest.MonkeyPatch) -> model.Fit:
    """A fit with the known variances."""
    monkeypatch.setattr(model._Problem, "estimate", lambda self: VARIANCES)
    return model.fit(targets, N, HELPFUL, PRIOR)


def test_the_model_is_the_gaussian_that_its_equation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    targets, _ = grid(rng)
    mean, true, noise = dense(targets)
    gains = np.concatenate([own.gains for own in targets])
    seen = np.arange(len(gains)) < len(gains) - (N - 1)  # the last target is new
    weight = np.linalg.solve((true + noise)[np.ix_(seen, seen)], true[seen]).T
    expected = mean + weight @ (gains - mean)[seen]
    covariance = true - weight @ true[seen]
    fit = fitted(targets[:-1], monkeypatch)
    got = model._of_target(fit, model._unmeasured(targets[-1]))
    assert got[0] == pytest.approx(expected[~seen], abs=1e-8)
    assert got[1] == pytest.approx(covariance[np.ix_(~seen, ~seen)], abs=1e-8)

    # Two of the new target's own pairs are measured, too.
    seen[-2:] = True
    weight = np.linalg.solve((true + noise)[np.ix_(seen, seen)], true[seen]).T
    expected = mean + weight @ (gains - mean)[seen]
    own = replace(targets[-1], gains=np.append(np.full(N - 3, np.nan), targets[-1].gains[-2:]))
    found = model.predict(fit, own, 2, rng)
    assert found.mean == pytest.approx(expected[-(N - 1) :], abs=1e-8)
    assert found.best.sum() == pytest.approx(2)
    parts = found.popularity + found.parts.sum(1) + found.measured
    assert np.ptp(found.mean - parts) == pytest.approx(0, abs=1e-12)


def test_the_likelihood_is_that_of_the_dense_gaussian() -> None:
    targets, _ = grid(np.random.default_rng(2))
    targets[1] = replace(
        targets[1], **{name: getattr(targets[1], name)[:3] for name in ("sources", "features", "gains")}
    )
    targets[1] = replace(targets[1], noise=targets[1].noise[:3, :3])  # a target with fewer sources
    mean, true, noise = dense(targets)
    gains = np.concatenate([own.gains for own in targets]) - mean
    problem = model._Problem(targets, N, HELPFUL, PRIOR)
    direct = -(gains @ np.linalg.solve(true + noise, gains) + np.linalg.slogdet(true + noise)[1]) / 2
    value, slope = problem.log_likelihood(VARIANCES)
    assert value == pytest.approx(direct, rel=1e-6)
    for name, at in zip(asdict(VARIANCES), slope, strict=True):
        ends = [replace(VARIANCES, **{name: getattr(VARIANCES, name) * np.exp(step)}) for step in (-1e-4, 1e-4)]
        low, high = (problem.log_likelihood(end)[0] for end in ends)
        assert at == pytest.approx((high - low) / 2e-4, rel=1e-4, abs=1e-6), name


def test_nine_in_ten_measured_gains_of_a_new_target_lie_in_their_intervals() -> None:
    rng, inside, first = np.random.default_rng(3), [], []
    for _ in range(20):
        targets, truth = grid(rng, 10)
        fit = model.calibrated(targets[1:], 10, HELPFUL, PRIOR)
        found = model.predict(fit, model._unmeasured(targets[0]), 3, rng)
        inside += list((found.low <= targets[0].gains) & (targets[0].gains <= found.high))
        first.append(truth[0].argmax() in np.argsort(-found.best)[:3])
    assert 0.85 <= np.mean(inside) <= 0.95
    assert np.mean(first) >= 0.7  # of nine sources; by chance 1 in 3


def test_popularity_is_shrunk_by_its_noise() -> None:
    def spread(noise: float) -> float:
        targets, _ = grid(np.random.default_rng(4), 8, slopes=(0.0, 0.0, 0.0), rest=0.0, noise=noise)
        fit = model.fit(targets[1:], 8, HELPFUL, PRIOR)
        return float(np.std(model.predict(fit, model._unmeasured(targets[0]), 3, np.random.default_rng(1)).popularity))

    assert spread(0.001) == pytest.approx(0.03, rel=0.5)
    assert spread(0.3) < 0.015


def test_features_that_say_nothing_get_no_weight_and_those_that_do_get_theirs() -> None:
    targets, _ = grid(np.random.default_rng(5), 14, slopes=(0.04, 0.0, 0.0))
    fit = model.fit(targets, 14, HELPFUL, PRIOR)
    parts = model.predict(fit, model._unmeasured(targets[0]), 3, np.random.default_rng(1)).parts.std(0)
    assert parts[0] == pytest.approx(0.04, rel=0.25)
    assert max(parts[1:]) < 0.01


def test_without_a_finished_grid_helpful_features_rank_and_intervals_are_wide() -> None:
    targets, _ = grid(np.random.default_rng(6))
    own = model._unmeasured(targets[0])
    for history in ([], [model._unmeasured(one) for one in targets[1:]]):
        fit = model.calibrated(history, N, HELPFUL, PRIOR)
        found = model.predict(fit, own, 2, np.random.default_rng(1))
        agreed = model.standardised(own.features)[:, :2].sum(1)
        assert found.mean.argsort().tolist() == agreed.argsort().tolist()
        assert (fit.n_targets, fit.noise, (found.popularity == 0).all()) == (0, PRIOR.noise, True)
        assert (found.high - found.low > 2).all()  # even the mean gain is unknown


def test_what_is_unknown_adds_nothing() -> None:
    features = np.array([[np.nan, 1.0, 5.0], [np.nan, 2.0, 5.0], [np.nan, np.nan, 5.0]])
    got = model.standardised(features)
    assert got[:, 0].tolist() == got[:, 2].tolist() == [0.0, 0.0, 0.0]
    assert got[:, 1] == pytest.approx([-1.0, 1.0, 0.0])
    targets, _ = grid(np.random.default_rng(7))
    unknown = [replace(own, noise=np.full(own.noise.shape, np.nan)) for own in targets]
    fit = model.calibrated(unknown, N, HELPFUL, PRIOR)  # one seed: the rest holds the noise
    assert fit.noise == 0
    assert np.isfinite(model.predict(fit, model._unmeasured(targets[0]), 2, np.random.default_rng(1)).high).all()


def test_few_targets_with_large_gains_are_not_shrunk_to_the_scale_of_another_study() -> None:
    targets, truth = grid(np.random.default_rng(8), popularity=0.5, level=0.3, rest=0.2)
    few = model.fit(targets[1:3], N, HELPFUL, PRIOR)
    assert few.variances.popularity > 10 * VARIANCES.popularity
    found = model.predict(few, targets[0], 3, np.random.default_rng(1))
    assert found.mean == pytest.approx(truth[0], abs=0.1)
    assert model.fit([], N, HELPFUL, PRIOR).variances == VARIANCES
