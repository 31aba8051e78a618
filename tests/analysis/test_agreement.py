"""Agreement: the paper's Table 3 from its Table 2, and cases where there is nothing to agree about."""

from __future__ import annotations

import math

import numpy as np
import pytest

from empslurm import reference
from empslurm.analysis.agreement import Agreement, agreement, agreements
from empslurm.errors import UsageError


def packaged(level: str = "interval") -> dict[str, Agreement]:
    rows = reference.ratings()
    aspects = dict.fromkeys(row.aspect for row in rows)
    arrays = {aspect: np.array([row.values for row in rows if row.aspect == aspect]) for aspect in aspects}
    return {found.aspect: found for found in agreements(arrays, level)}  # type: ignore[arg-type]


def test_table_3_of_the_paper() -> None:
    found = packaged()
    published = {row.aspect: row for row in reference.agreement()}
    assert list(found) == list(published) == ["definition", "link", "conduciveness", "overall"]
    assert [round(row.alpha, 2) for row in found.values()] == [0.86, 0.83, 0.46, 0.72]
    assert [round(row.spearman, 2) for row in found.values()] == [0.91, 0.89, 0.49, 0.70]
    assert [round(row.p_value, 2) for row in found.values()] == [0.0, 0.0, 0.04, 0.0]
    assert [row.n_units for row in found.values()] == [18, 18, 18, 54]


def test_figure_8_counts() -> None:
    found = packaged()
    assert found["definition"].difference_counts == {0.0: 12, 1.0: 6}
    assert found["conduciveness"].difference_counts[2.0] == 4  # "in four cases, they differ by two points"
    assert sum(found["overall"].difference_counts.values()) == 54


def test_the_level_matters() -> None:
    assert packaged("ordinal")["link"].alpha != pytest.approx(packaged()["link"].alpha, abs=1e-3)


def test_alpha_by_hand() -> None:
    """Nominal, units (0,0) (1,1) (0,1) (0,0): observed disagreement 2/8, expected 2 * 5 * 3 / (8 * 7)."""
    found = agreement("x", np.array([[0, 0], [1, 1], [0, 1], [0, 0]], dtype=float), "nominal")
    assert found.alpha == pytest.approx(1 - (2 / 8) / (2 * 5 * 3 / 56))


def test_constant_ratings_are_undefined() -> None:
    found = agreement("x", np.full((5, 2), 3.0))
    assert math.isnan(found.alpha)
    assert math.isnan(found.spearman)
    one_sided = agreement("x", np.array([[3, 1], [3, 2], [3, 3.0]]))
    assert math.isnan(one_sided.spearman)
    assert np.isfinite(one_sided.alpha)


def test_missing_ratings_and_three_annotators() -> None:
    nan = float("nan")
    found = agreement("x", np.array([[1, 1, nan], [2, nan, nan], [3, 3, 2.0], [5, 4, 5]]))
    assert found.n_units == 3
    assert math.isnan(found.spearman)
    assert found.difference_counts == {0.0: 3, 1.0: 4}


def test_shapes_are_checked() -> None:
    with pytest.raises(UsageError, match="two or more annotators"):
        agreement("x", np.ones((3, 1)))
    with pytest.raises(UsageError, match="same annotators"):
        agreements({"x": np.ones((3, 2)), "y": np.ones((3, 3))})
    assert agreements({}) == ()
