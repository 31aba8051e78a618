"""The importance section: importances of features, with checks of whether to trust them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from empslurm import reference
from empslurm.analysis.importance_checks import ImportanceChecks
from empslurm.report.contents import GroupContents
from empslurm.report.formats import capital, shown
from empslurm.report.importance_tables import FEATURE_TITLES, caption, estimator_title, of_each


def importance(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: for every estimator its checks, then the importances as bars; None without importances."""
    analyses = group.analyses
    checked, of_paper = analyses.importances, analyses.of_paper
    if not checked:
        return None
    printed = {row.feature: row.importance for row in reference.importances()} if of_paper else {}
    sentences = of_each(checked, lambda checks: checks.sentence)
    return {
        "estimators": [
            _estimator(checks, sentence, printed if checks is checked[0] else {}, first=checks is checked[0])
            for checks, sentence in zip(checked, sentences, strict=True)
        ]
    }


def _estimator(
    checks: ImportanceChecks, sentence: str, printed: Mapping[str, float], *, first: bool
) -> Mapping[str, Any]:
    title = "drop in held-out R² when a feature is permuted"
    return {
        "interpretable": checks.interpretable,
        "sentence": sentence,
        "facts": _facts(checks),
        "title": capital(title if first else f"{estimator_title(checks)}: drop in held-out R²"),
        "caption": "Blue: here. Orange, below it: printed in the paper." if printed else "",
        "details": caption(checks),
        "bars": _bars(checks, printed),
    }


def _bars(checks: ImportanceChecks, printed: Mapping[str, float]) -> list[Mapping[str, Any]]:
    """Bars of the importances, the largest first. `printed`: feature -> the paper's importance."""
    features = sorted(checks.features, key=lambda row: -row.importance)
    values = [value for row in features for value in (row.importance, printed.get(row.feature, np.nan))]
    top = max([abs(value) for value in values if np.isfinite(value)], default=1.0) or 1.0

    def width(value: float) -> float | None:
        return round(100 * max(0.0, value) / top, 1) if np.isfinite(value) else None

    return [
        {
            "name": FEATURE_TITLES.get(row.feature, row.feature),
            "width": width(row.importance),
            "before": width(printed.get(row.feature, np.nan)),
            "value": shown(row.importance),
            "said": f"{row.importance:.3f} ± {row.spread:.3f}, p {row.p_value:.2f}; rank {row.best_rank} to "
            f"{row.worst_rank} over settings",
        }
        for row in features
    ]


def _facts(checks: ImportanceChecks) -> list[tuple[str, str]]:
    ceiling = "unknown" if np.isnan(checks.noise_ceiling) else shown(checks.noise_ceiling, 2)
    return [
        (shown(checks.held_out_r2, 2), "held-out R² of these models"),
        (shown(checks.leave_target_out_r2, 2), "R² for targets not seen in training"),
        (shown(checks.leave_source_out_r2, 2), "R² for sources not seen in training"),
        (shown(checks.p_r2, 2), "p of R², tasks permuted"),
        (ceiling, "ceiling set by seed noise"),
        ("yes" if checks.interpretable else "no", "importances interpretable"),
    ]
