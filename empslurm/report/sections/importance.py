"""Importances of features, with what says whether to believe them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from empslurm import reference
from empslurm.analysis.importance_checks import ImportanceChecks
from empslurm.report import html
from empslurm.report.contents import GroupContents
from empslurm.report.formats import capital
from empslurm.report.importance_tables import FEATURE_TITLES, caption, estimator_title, of_each
from empslurm.report.importances import NAME


def is_there(group: GroupContents) -> bool:
    """Whether there are importances, or a reason to give why there are none."""
    analyses = group.analyses
    return bool(analyses.importances) or not analyses.from_results or analyses.of_paper


def importance(group: GroupContents) -> str:
    """Of every estimator the checks, then the importances as bars; below, the tables."""
    analyses = group.analyses
    checked, of_paper = analyses.importances, analyses.of_paper
    if not checked:
        return group.lacking(NAME)
    printed = {row.feature: row.importance for row in reference.importances()} if of_paper else {}
    figure, colours = ("Figure 2: ", "Blue: here. Orange, below it: printed in the paper. ") if of_paper else ("", "")
    pieces = []
    for checks, sentence in zip(checked, of_each(checked, lambda checks: checks.sentence), strict=True):
        title = f"{figure}drop in held-out R² when a feature is permuted"
        if checks is not checked[0]:
            title, colours, printed = f"{capital(estimator_title(checks))}: drop in held-out R²", "", {}
        pieces += [
            html.paragraph(sentence, class_="" if checks.interpretable else "warn"),
            _facts(checks),
            html.heading(3, capital(title)),
            html.paragraph(colours + caption(checks), class_="caption"),
            _bars(checks, printed),
        ]
    return "".join([*pieces, group.shown("table6"), group.shown("audit-settings", tall=True)])


def _bars(checks: ImportanceChecks, printed: Mapping[str, float]) -> str:
    """The largest first; `printed`: what the paper has, by feature."""
    return html.bars(
        [
            (
                FEATURE_TITLES.get(row.feature, row.feature),
                row.importance,
                printed.get(row.feature, float("nan")),
                f"{row.importance:.3f} ± {row.spread:.3f}, p {row.p_value:.2f}\n"
                f"rank {row.best_rank} to {row.worst_rank} over settings",
            )
            for row in sorted(checks.features, key=lambda row: -row.importance)
        ]
    )


def _facts(checks: ImportanceChecks) -> str:
    ceiling = "unknown" if np.isnan(checks.noise_ceiling) else f"{checks.noise_ceiling:.2f}"
    return html.facts(
        [
            (f"{checks.held_out_r2:.2f}", "held-out R² of the very models"),
            (f"{checks.leave_target_out_r2:.2f}", "R² for targets never seen"),
            (f"{checks.leave_source_out_r2:.2f}", "R² for sources never seen"),
            (f"{checks.p_r2:.2f}", "p of R², tasks permuted"),
            (ceiling, "ceiling set by seed noise"),
            ("yes" if checks.interpretable else "no", "importances interpretable"),
        ]
    )
