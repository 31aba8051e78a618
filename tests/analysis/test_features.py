"""The twelve features on three tasks, by hand, in both encodings, and features that are not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from empslurm.analysis.features import FEATURES, PairFeatures, TaskFacts, pair_features
from empslurm.errors import UsageError


def task(name: str, **change: object) -> TaskFacts:
    facts = TaskFacts(
        task=name,
        kind="classification",
        n_labels=3,
        n_samples=100,
        n_tokens=1000,
        n_vocabulary=500,
        data_source="Reddit",
        language_setting="social media",
        definition=3.0,
        link=2.0,
        conduciveness=4.0,
    )
    return replace(facts, **change)  # type: ignore[arg-type]


TASKS = (
    task("a"),
    task("b", kind="regression", n_labels=1, n_samples=200, data_source="Twitter", definition=4.5),
    task("c", n_samples=100, language_setting="essay", link=5.0),
)


def own(features: PairFeatures, name: str) -> np.ndarray:
    return features.columns[:, :, features.owner == features.names.index(name)]


def test_by_hand() -> None:
    found = pair_features(TASKS)
    assert found.names == FEATURES[:10]
    assert found.missing == ("dataset_similarity", "task_similarity")
    assert own(found, "definition")[0, 1, 0] == -1.5  # source a minus target b
    assert own(found, "link")[2, 0, 0] == 3.0
    assert own(found, "n_samples")[0, 1, 0] == 1  # more samples in the target
    assert own(found, "n_samples")[1, 0, 0] == -1
    assert own(found, "n_samples")[0, 2, 0] == 0
    assert own(found, "n_labels")[0, 1, 0] == -1
    kinds = own(found, "task_type")  # classification, regression: c->c, c->r, r->c, r->r
    np.testing.assert_array_equal(kinds[0, 1], [0, 1, 0, 0])
    np.testing.assert_array_equal(kinds[1, 0], [0, 0, 1, 0])
    np.testing.assert_array_equal(kinds[0, 2], [1, 0, 0, 0])


def test_the_other_encoding() -> None:
    found = pair_features(TASKS, encoding="ends")
    np.testing.assert_array_equal(own(found, "task_type")[0, 1], [1, 0, 0, 1])
    np.testing.assert_array_equal(own(found, "n_samples")[1, 0], [1, 0, 0])
    assert found.encoding == "ends"


def test_similarities_and_unknown_values() -> None:
    similarity = np.array([[np.nan, 0.1, 0.2], [0.1, np.nan, 0.3], [0.2, 0.3, np.nan]])
    tasks = (replace(TASKS[0], link=float("nan")), replace(TASKS[1], data_source=""), TASKS[2])
    found = pair_features(tasks, dataset_similarity=similarity)
    assert found.missing == ("link", "data_source", "task_similarity")
    assert own(found, "dataset_similarity")[1, 2, 0] == 0.3
    assert np.isfinite(found.columns).all()
    similarity[0, 1] = np.nan
    assert "dataset_similarity" in pair_features(tasks, dataset_similarity=similarity).missing
    with pytest.raises(UsageError, match="3 x 3"):
        pair_features(tasks, task_similarity=np.ones((2, 2)))


def test_nothing_known_is_a_sentence() -> None:
    nan = float("nan")
    unknown = dict.fromkeys(
        ("n_labels", "n_samples", "n_tokens", "n_vocabulary", "definition", "link", "conduciveness"), nan
    )
    empty = task("x", kind="", data_source="", language_setting="", **unknown)
    with pytest.raises(UsageError, match="at least one feature"):
        pair_features((empty, empty))
