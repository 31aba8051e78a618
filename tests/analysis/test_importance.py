"""Permutation importance finds what drives the outcome; the checks reject a model that does not predict."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import SVR

from empslurm import reference
from empslurm.analysis.features import RATINGS, PairFeatures, TaskFacts, pair_features
from empslurm.analysis.importance import Regression, Settings, importances, r2, rows_of
from empslurm.analysis.importance_checks import ImportanceChecks, check, leave_out_r2, noise_ceiling
from empslurm.analysis.importance_estimator import Parameter
from empslurm.analysis.improvement import improvement_matrix
from empslurm.analysis.support_vectors import SUPPORT_VECTORS
from empslurm.errors import UsageError


def facts() -> list[TaskFacts]:
    ratings = {(row.task, row.aspect): row.mean for row in reference.ratings()}
    sizes = {row.dataset: row for row in reference.dataset_sizes()}
    return [
        TaskFacts(
            task=row.task,
            kind=row.kind,
            n_labels=float(row.n_labels or 1),
            n_samples=sizes[row.dataset].n_samples,
            n_tokens=sizes[row.dataset].n_tokens,
            n_vocabulary=sizes[row.dataset].n_vocabulary,
            data_source=row.data_source,
            language_setting=row.language_setting,
            **{aspect: ratings[row.task, aspect] for aspect in RATINGS},
        )
        for row in reference.tasks()
    ]


def published() -> NDArray[np.float64]:
    scores = {(row.source, row.target): row.value for row in reference.scores()}
    return improvement_matrix(scores, [row.task for row in reference.tasks()]).percent


def driven(features: PairFeatures, name: str, noise: float = 0.3) -> NDArray[np.float64]:
    """An outcome that follows one feature's first column."""
    column = features.columns[:, :, features.owner == features.names.index(name)][:, :, 0]
    return 3 * column + noise * np.random.default_rng(0).normal(size=column.shape)


FEATURES = pair_features(facts())
# The paper's estimator with fewer values of its parameters in the stability check.
FEW = Settings(
    estimator=replace(
        SUPPORT_VECTORS,
        parameters={
            "C": Parameter(default=1.0, values=(1.0, 10.0)),
            "epsilon": Parameter(default=0.1, values=(0.1,)),
        },
    )
)


def test_the_driving_feature_is_found() -> None:
    found = importances(FEATURES, driven(FEATURES, "link"), rng=np.random.default_rng(1), n_permutations=5)
    ranked = sorted(found.rows, key=lambda row: -row.importance)
    assert ranked[0].feature == "link"
    assert ranked[0].importance > 3 * abs(ranked[1].importance)  # definition is rated alike
    assert np.mean(found.held_out_r2) > 0.7
    assert (found.n_pairs, found.n_splits, len(found.held_out_r2)) == (306, 10, 10)


def test_predictions_equal_scikit_learns() -> None:
    columns, values = rows_of(FEATURES.columns, published())
    scaled = (columns - columns.mean(0)) / np.where(columns.std(0) > 0, columns.std(0), 1)
    ours = Regression(columns, values, Settings()).predict(columns[:20])
    theirs = SVR(kernel="rbf", gamma="scale").fit(scaled, values).predict(scaled[:20])
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_grouped_columns_move_together() -> None:
    """The permuted copies hold whole category rows only: a one-hot row never gets two ones or none."""
    seen: list[NDArray[np.float64]] = []

    class Spy(Regression):
        def predict(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
            seen.append(columns)
            return super().predict(columns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("empslurm.analysis.importance.Regression", Spy)
        importances(FEATURES, published(), rng=np.random.default_rng(2), n_splits=1, n_permutations=2)
    own = FEATURES.owner == FEATURES.names.index("data_source")
    assert all((columns[:, own].sum(1) == 1).all() for columns in seen)


def test_missing_pairs_and_too_few() -> None:
    outcome = published()
    outcome[3] = np.nan
    found = importances(FEATURES, outcome, rng=np.random.default_rng(3), n_splits=2, n_permutations=2)
    assert found.n_pairs == 306 - 17
    with pytest.raises(UsageError, match="at least 10 pairs"):
        importances(FEATURES, np.full((18, 18), np.nan), rng=np.random.default_rng(3))


def test_r2_by_hand() -> None:
    assert r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0])) == pytest.approx(0.5)
    assert math.isnan(r2(np.ones(3), np.ones(3)))


def test_the_ceiling_by_hand() -> None:
    """Two pairs with means 1 and 3 (variance 2) and seed variance 2 each, halved by two seeds: 1 - 1 / 2."""
    outcomes = np.full((2, 2, 2), np.nan)
    outcomes[:, 0, 1], outcomes[:, 1, 0] = [0, 2], [2, 4]
    assert noise_ceiling(outcomes) == pytest.approx(0.5)
    assert math.isnan(noise_ceiling(outcomes[:1]))


def test_leaving_targets_out_sees_through_what_only_targets_carry() -> None:
    """An outcome that depends on the target alone is predicted at random splits, but not for a new target."""
    whim = np.tile(np.random.default_rng(4).normal(size=18) * 5, (18, 1))
    seen = importances(
        FEATURES, whim, rng=np.random.default_rng(5), settings=Settings(changed={"C": 100}), n_permutations=1
    )
    assert np.mean(seen.held_out_r2) > 0.3
    assert leave_out_r2(FEATURES, whim, Settings(changed={"C": 100}), targets=True) < 0.1


def small_check(outcome: NDArray[np.float64], **more: object) -> ImportanceChecks:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STABILITY_SPLITS", "NULL_SPLITS", "FEW_PERMUTATIONS"):
            patch.setattr(f"empslurm.analysis.importance_checks.{name}", 2)
        patch.setattr("empslurm.analysis.importance_checks.importances", partial(importances, n_permutations=3))
        return check(FEATURES, outcome, rng=np.random.default_rng(6), settings=FEW, n_null=19, **more)  # type: ignore[arg-type]


def test_a_real_effect_is_interpretable() -> None:
    seeds = np.stack([driven(FEATURES, "definition") + 0.1 * at for at in range(3)])
    other = pair_features(facts(), encoding="ends")
    found = small_check(driven(FEATURES, "definition"), seed_outcomes=seeds, other_encodings=[other])
    assert found.interpretable
    assert "can be interpreted" in found.sentence
    rows = {row.feature: row for row in found.features}
    assert rows["definition"].p_ratings == pytest.approx(0.05)
    assert rows["definition"].p_value == pytest.approx(0.05)
    assert rows["definition"].worst_rank == 1
    assert math.isnan(rows["n_tokens"].p_ratings)
    assert found.noise_ceiling > 0.9
    assert len(found.stability) == 2 * 1 * 2 * 2
    assert {row.settings.encoding for row in found.stability} == {"pair", "ends"}


def test_the_published_table_is_not_interpretable() -> None:
    found = small_check(published())
    assert found.held_out_r2 < 0.1
    assert not found.interpretable
    assert "does not predict" in found.sentence
    assert found.importances.missing == ("dataset_similarity", "task_similarity")
    assert math.isnan(found.noise_ceiling)
    assert all(0 < row.p_value <= 1 for row in found.features)


def test_pure_noise_is_not_interpretable() -> None:
    found = small_check(np.random.default_rng(7).normal(size=(18, 18)))
    assert not found.interpretable
    assert found.held_out_r2 < 0.1
