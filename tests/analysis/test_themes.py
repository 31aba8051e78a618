"""Figure 3's counts, rates and intervals, and mean effects with correlated errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from empslurm import reference
from empslurm.analysis.themes import mean_effect, theme_table
from empslurm.errors import UsageError

THEMES = {"a": "direct", "b": "direct", "c": "adjacent"}
PAIRS = [("a", "b"), ("b", "a"), ("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")]
VERDICTS = ["helps", "harms", "inconclusive", "undecided", "harms", "harms"]


def cells(panel: str):
    table = theme_table(PAIRS, VERDICTS, THEMES, panel, ("direct", "adjacent"))  # type: ignore[arg-type]
    return {(cell.source_theme, cell.target_theme): cell for cell in table}


def test_counts_and_rates() -> None:
    gains, harms, kept = cells("helps"), cells("harms"), cells("not harmed")
    assert gains["direct", "direct"].n == 1
    assert gains["direct", "direct"].rate == 0.5
    assert harms["adjacent", "direct"].n == 2
    assert harms["adjacent", "direct"].rate == 1.0
    assert (kept["direct", "adjacent"].n, kept["direct", "adjacent"].n_pairs) == (1, 1)
    assert kept["direct", "adjacent"].n_undecided == 1
    assert gains["adjacent", "adjacent"].n_pairs == 0
    assert math.isnan(gains["adjacent", "adjacent"].rate)


def test_wilsons_interval_by_hand() -> None:
    """1 of 2: centre (1 + z^2 / 2) / (2 + z^2), half width z sqrt(2 x 1/4 + z^2 / 4) / (2 + z^2)."""
    cell, z = cells("helps")["direct", "direct"], 1.959964
    half = z * math.sqrt(0.5 + z**2 / 4) / (2 + z**2)
    assert (cell.low, cell.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)


def test_the_papers_themes_have_thirty_and_thirty_six_pairs() -> None:
    themes = {row.task: row.theme for row in reference.themes()}
    pairs = [(source, target) for source in themes for target in themes if source != target]
    table = theme_table(pairs, ["harms"] * len(pairs), themes, "harms")
    assert [cell.n for cell in table] == [30, 36, 36, 36, 30, 36, 36, 36, 30]


def test_misfits_are_sentences() -> None:
    with pytest.raises(UsageError, match="align"):
        theme_table(PAIRS, VERDICTS[:2], THEMES, "harms")
    with pytest.raises(UsageError, match="c has none"):
        theme_table(PAIRS, VERDICTS, {"a": "direct", "b": "direct"}, "harms")


def test_a_shared_baseline_does_not_average_out() -> None:
    differences = np.array([0.1, 0.2, 0.3, np.nan])
    shared = 0.01 + 0.01 * np.eye(4)
    found = mean_effect("direct", differences, shared)
    assert found.n_pairs == 3
    assert found.mean == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(math.sqrt(0.01 + 0.01 / 3))
    assert mean_effect("none", np.array([np.nan]), np.eye(1)).n_pairs == 0
