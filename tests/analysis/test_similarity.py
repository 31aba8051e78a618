"""Cosine and reciprocal rank fusion by hand, with ties, zeros and missing tasks."""

from __future__ import annotations

import numpy as np
import pytest

from empslurm.analysis.similarity import cosine, reciprocal_rank_fusion, task_similarity
from empslurm.errors import UsageError


def test_cosine_by_hand() -> None:
    found = cosine(np.array([[1.0, 0.0], [3.0, 4.0], [-2.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found[0], [1.0, 0.6, -1.0, np.nan])
    assert np.isnan(found[3]).all()


def test_fusion_by_hand() -> None:
    """Task 0 ranks (1, 2) as first, second in one component and second, first in the other, and ties in a third."""
    one = np.array([[9, 0.8, 0.2], [0, 9, 0], [0, 0, 9.0]])
    two = np.array([[9, 0.1, 0.3], [0, 9, 0], [0, 0, 9.0]])
    three = np.array([[9, 0.5, 0.5], [0, 9, 0], [0, 0, 9.0]])
    np.testing.assert_allclose(reciprocal_rank_fusion(np.stack([one]))[0], [np.nan, 1 / 61, 1 / 62])
    np.testing.assert_allclose(reciprocal_rank_fusion(np.stack([one, two]))[0, 1:], 1 / 61 + 1 / 62)
    np.testing.assert_allclose(reciprocal_rank_fusion(np.stack([three]))[0, 1:], 1 / 61.5)


def test_a_missing_similarity_adds_nothing() -> None:
    one = np.array([[1, 0.8, 0.2], [0.8, 1, 0.5], [0.2, 0.5, 1.0]])
    two = one.copy()
    two[0, 1] = np.nan
    found = reciprocal_rank_fusion(np.stack([one, two]))
    np.testing.assert_allclose(found[0], [np.nan, 1 / 61, 1 / 62 + 1 / 61])
    assert np.isnan(reciprocal_rank_fusion(np.full((2, 3, 3), np.nan))).all()


def test_task_similarity_ranks_the_closest_first() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2, 50))
    vectors = np.stack([base[0], base[0] + 0.1 * rng.normal(size=50), base[1], np.full(50, np.nan)])
    found = task_similarity(("a", "b", "c", "d"), {"layer0": vectors, "layer1": 2 * vectors})
    assert found.ranks[0, 1] == 1
    assert found.ranks[1, 0] == 1
    assert found.ranks[0, 2] == 2
    assert np.isnan(found.fused[3]).all()
    assert np.isnan(found.fused[:, 3]).all()
    assert found.cosine.shape == (2, 4, 4)


def test_wrong_components_are_sentences() -> None:
    with pytest.raises(UsageError, match="NaN for missing tasks"):
        task_similarity(("a", "b"), {"x": np.ones((3, 2))})
    with pytest.raises(UsageError, match="at least one"):
        task_similarity(("a", "b"), {})
