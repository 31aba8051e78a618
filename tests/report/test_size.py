"""Large tables: the page shows a part and says which, and what is computed of many pairs stays bounded."""

from dataclasses import replace

import numpy as np
import pytest

from empslurm.analysis import importance_checks
from empslurm.analysis.features import TaskFacts, pair_features
from empslurm.analysis.importance import Regression, Settings
from empslurm.analysis.importance_estimator import Parameter
from empslurm.analysis.support_vectors import SUPPORT_VECTORS
from empslurm.report.formats import Table, number, part, text


def _table(values):
    names = [f"t{at}" for at in range(values.shape[1])]
    rows = tuple((text(f"s{at}"), *(number(float(value)) for value in row)) for at, row in enumerate(values))
    return Table(
        name="figure6", title="", caption="Percent.", head=(("", *names),), columns=("source", *names), rows=rows
    )


def test_a_table_that_fits_is_left_as_it_is():
    table = _table(np.ones((3, 4)))
    assert part(table, 12).table is table


def test_of_a_table_too_large_the_rows_and_columns_of_largest_weight_are_kept_in_order():
    values = np.zeros((20, 30))
    values[3, 28], values[17, 2], values[9, 9] = -7, 5, np.nan
    kept = part(_table(values), 16, np.abs(values))
    assert (len(kept.rows), len(kept.columns)) == (4, 4)
    assert {3, 17} <= set(kept.rows)
    assert {2, 28} <= set(kept.columns)
    assert list(kept.rows) == sorted(kept.rows)
    at = 1 + kept.columns.index(28)
    assert kept.table.columns[at] == kept.table.head[0][at] == "t28"
    assert kept.table.rows[kept.rows.index(3)][at].raw == -7
    assert kept.table.caption.startswith(
        "4 of 20 rows and 4 of 30 columns are shown, those with the largest changes; figure6.csv has all."
    )


def test_a_long_table_keeps_all_columns():
    kept = part(_table(np.ones((100, 5))), 50)
    assert (kept.rows, kept.columns) == (tuple(range(10)), tuple(range(5)))
    assert kept.table.caption.startswith("10 of 100 rows are shown, the first; figure6.csv has all.")


def _facts(n):
    rng = np.random.default_rng(5)
    return tuple(
        TaskFacts(
            task=f"t{at}",
            kind="classification",
            n_labels=2.0,
            n_samples=float(rng.integers(100, 900)),
            n_tokens=9.0,
            n_vocabulary=50.0,
            data_source="web",
            language_setting="written",
            **dict(zip(("definition", "link", "conduciveness"), rng.uniform(1, 3, 3).tolist(), strict=True)),
        )
        for at in range(n)
    )


@pytest.mark.parametrize(("most", "n_used"), [(30, 30), (56, 56), (500, 56)])
def test_importances_of_many_pairs_are_those_of_a_sample_and_say_so(monkeypatch, most, n_used):
    monkeypatch.setattr(importance_checks, "MOST_PAIRS", most)
    one_c = {**SUPPORT_VECTORS.parameters, "C": Parameter(default=1.0, values=(1.0,))}
    settings = Settings(estimator=replace(SUPPORT_VECTORS, parameters=one_c))
    outcome = np.random.default_rng(1).normal(size=(8, 8))
    made = importance_checks.check(
        pair_features(_facts(8)), outcome, rng=np.random.default_rng(2), settings=settings, n_null=1
    )
    assert made.importances.n_pairs == n_used
    assert ("A random sample of 30 of 56 pairs was used." in made.sentence) == (n_used < 56)


def test_a_sample_is_whole_where_it_may_be_and_the_same_for_the_same_stream():
    outcome = np.random.default_rng(1).normal(size=(8, 8))
    assert importance_checks.sampled(outcome, 56, np.random.default_rng(2)) is outcome
    one, two = (importance_checks.sampled(outcome, 20, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).sum() == 20
    np.testing.assert_array_equal(one[np.isfinite(one)], outcome[np.isfinite(one)])


def test_no_more_models_are_fitted_than_there_are_folds(monkeypatch):
    fitted = []

    class Counted(Regression):
        def __init__(self, *arguments):
            fitted.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr(importance_checks, "Regression", Counted)
    outcome = np.random.default_rng(1).normal(size=(40, 40))
    features = pair_features(_facts(40))
    importance_checks.leave_out_r2(features, outcome, Settings(), targets=True)
    assert len(fitted) == importance_checks.MOST_FOLDS
