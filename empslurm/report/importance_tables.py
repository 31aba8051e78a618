"""Importances (Table 6) with checks of whether to trust them, and the settings that were tried, for each estimator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from empslurm import reference
from empslurm.analysis.features import FEATURES
from empslurm.analysis.importance_checks import FeatureChecks, ImportanceChecks
from empslurm.report.formats import Entry, Table, capital, number, shown, text
from empslurm.report.group_results import Analyses

FEATURE_TITLES = {row.feature: row.title for row in reference.importances()}
PRINTED = ("printed", "difference")  # columns with the paper's values
OF_THE_PAPER = "Printed: the paper's values."
# Columns of each estimator: plain name -> what is printed.
MEASURES = {
    "importance": "drop in R²",
    "p_value": "p",
    "p_ratings": "p, ratings only",
    "rank_range": "rank over settings",
}


def tables(analyses: Analyses) -> list[Table]:
    """Table 6 and a table of settings for each estimator; none without importances."""
    checked = analyses.importances
    if not checked:
        return []
    table = table6(checked) if analyses.of_paper else without_printed(table6(checked))
    return [table, *(settings_table(checks, first=checks is checked[0]) for checks in checked)]


def of_each(checked: Sequence[ImportanceChecks], say: Callable[[ImportanceChecks], str]) -> list[str]:
    """One sentence per estimator, with its name in front where there are several."""
    if len(checked) < 2:
        return list(map(say, checked))
    return [f"{capital(estimator_title(checks))}: {say(checks)}" for checks in checked]


def estimator_title(checks: ImportanceChecks) -> str:
    """The estimator's title."""
    return checks.importances.settings.estimator.title


def table6(checked: Sequence[ImportanceChecks]) -> Table:
    """One row per feature: the first estimator next to the printed importances, then the other estimators."""
    first, *others = checked
    printed = {row.feature: row.importance for row in reference.importances()}
    others_rows = [{row.feature: row for row in checks.features} for checks in others]
    rows = []
    for row in sorted(first.features, key=lambda row: -row.importance):
        drop, *rest = _measures(row)
        before = printed.get(row.feature, float("nan"))
        rows.append(
            (
                text(FEATURE_TITLES.get(row.feature, row.feature)),
                drop,
                number(before, 3),
                number(row.importance - before, 3, signed=True),
                *rest,
                *(entry for features in others_rows for entry in _measures(features[row.feature])),
            )
        )
    n_measures = len(MEASURES) * len(checked)
    for name in first.importances.missing:
        before_entry = number(printed[name], 3) if name in printed else text(None)
        title = text(FEATURE_TITLES.get(name, name))
        rows.append((title, text(None), before_entry, *[text(None)] * n_measures))
    drop_name, *rest_names = MEASURES
    columns = {"feature": "feature", drop_name: MEASURES[drop_name], "printed": "printed", "difference": "difference"}
    columns |= {name: MEASURES[name] for name in rest_names}
    for checks in others:
        estimator = checks.importances.settings.estimator
        columns |= {f"{name}_{estimator.name}": f"{title}, {estimator.title}" for name, title in MEASURES.items()}
    return Table(
        name="table6",
        number="Table 6",
        title="Feature importances in a regression on the improvement over the baseline",
        caption="Drop in held-out R² when one feature is permuted: mean ± standard deviation. "
        + ("" if first.interpretable else "The model does not predict, so these numbers say nothing about the tasks. ")
        + OF_THE_PAPER,
        details=" ".join(of_each(checked, caption)),
        head=(tuple(columns.values()),),
        columns=tuple(columns),
        rows=tuple(rows),
        main=("feature", drop_name, "printed", "difference", *rest_names),
    )


def without_printed(table: Table) -> Table:
    """Table 6 without the paper's values, which say nothing about other tasks."""
    kept = [at for at, name in enumerate(table.columns) if name not in PRINTED]
    return replace(
        table,
        caption=table.caption.removesuffix(OF_THE_PAPER).strip(),
        head=tuple(tuple(line[at] for at in kept) for line in table.head),
        columns=tuple(table.columns[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in table.rows),
        main=tuple(name for name in table.main if name not in PRINTED),
    )


def _measures(row: FeatureChecks) -> tuple[Entry, ...]:
    """In the order of MEASURES."""
    ranks = f"{row.best_rank} to {row.worst_rank}"
    return (
        Entry(text=f"{shown(row.importance)} ± {shown(row.spread)}", raw=row.importance),
        number(row.p_value, 2),
        number(row.p_ratings, 2),
        Entry(text=ranks, raw=ranks),
    )


def caption(checks: ImportanceChecks) -> str:
    """How the importances were computed, and whether to trust them."""
    ceiling = checks.noise_ceiling
    known = "unknown (one seed)" if np.isnan(ceiling) else f"{ceiling:.2f}"
    table = checks.importances
    varied = ", ".join([*table.settings.estimator.parameters, "scaling"])
    said = [
        checks.sentence,
        f"{table.n_pairs} pairs, {table.n_splits} splits × {table.n_permutations} permutations, "
        f"{100 * table.test_share:.0f} % of the pairs held out.",
        f"Held-out R² {checks.held_out_r2:.2f} ± {checks.held_out_r2_spread:.2f}; ceiling set by seed noise {known}; "
        f"targets left out {checks.leave_target_out_r2:.2f}, sources left out {checks.leave_source_out_r2:.2f}; "
        f"without the {checks.n_extremes} most extreme pairs {checks.r2_without_extremes:.2f}.",
        f"p of R² {checks.p_r2:.2f} and the p of each feature: from {checks.n_null} permutations of the tasks.",
        f"Rank: from best to worst over {len(checks.stability)} settings of {varied} and encoding.",
    ]
    if table.missing:
        said.append(f"{len(table.missing)} of {len(FEATURES)} features are missing.")
    return " ".join(said)


def settings_table(checks: ImportanceChecks, *, first: bool) -> Table:
    """The settings of the stability check, one row each. `first`: whether this is the paper's estimator."""
    estimator = checks.importances.settings.estimator
    rows = [
        (
            text(row.settings.encoding),
            text("yes" if row.settings.scaled else "no"),
            *(number(value, estimator.parameters[name].digits) for name, value in row.settings.parameters.items()),
            number(row.held_out_r2, 2),
            number(row.leave_target_out_r2, 2),
            *(number(value, 3) for value in row.importances),
        )
        for row in checks.stability
    ]
    features = [row.feature for row in checks.importances.rows]
    columns = ("encoding", "scaled", *estimator.parameters, "held_out_r2", "leave_target_out_r2", *features)
    unknown = "The paper gives none of these settings. " if first else ""
    return Table(
        # The name of its files, kept from earlier versions.
        name="audit-settings" if first else f"audit-settings-{estimator.name}",
        title="Importances over settings of the regression" + ("" if first else f", {estimator.title}"),
        caption=f"{unknown}Importances from a model whose R² is about zero mean nothing.",
        head=(columns,),
        columns=columns,
        rows=tuple(rows),
        n_labels=2,
        main=columns[:8],
    )
