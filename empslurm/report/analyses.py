"""The analyses that run on a group of gathered results, in order, and the tables that show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from empslurm.gather import Gathered, Group
from empslurm.reference import Rating
from empslurm.report import (
    baseline_tables,
    importance_tables,
    paper,
    similarity,
    source_choice,
    source_choice_tables,
    source_rank_tables,
    source_tables,
    task_facts,
    themes,
    verdict_tables,
)
from empslurm.report.embeddings import data_similarity, fused_similarity
from empslurm.report.formats import Table
from empslurm.report.group_results import Analyses, Analysis
from empslurm.report.importances import importances
from empslurm.report.scores import score_tables
from empslurm.report.tables import table_of_improvements, table_of_scores
from empslurm.report.verdicts import judge
from empslurm.report.wording import plain_missing, plain_table

# They run, and their tables are written, in this order. An analysis may read the results of those above it.
ANALYSES = (
    Analysis(name="baselines", run=baseline_tables.judge, tables=baseline_tables.tables),
    Analysis(name="verdicts", run=judge, tables=verdict_tables.tables),
    Analysis(name="source ranks", run=source_rank_tables.rank, tables=source_rank_tables.tables),
    Analysis(name="source choice", run=source_choice.choose, tables=source_choice_tables.tables),
    Analysis(name="themes", run=themes.theme_panels, tables=themes.tables),
    Analysis(name="importances", run=importances, tables=importance_tables.tables),
    Analysis(name="data similarity", run=similarity.of_data, tables=similarity.data_tables),
    Analysis(name="task similarity", run=similarity.of_tasks, tables=similarity.task_tables),
    Analysis(name="sources", run=source_tables.rank, tables=source_tables.tables),
)


def analyse(
    gathered: Gathered, group: Group, *, ratings: Sequence[Rating], grouped: bool = True, margin: float | None = None
) -> Analyses:
    """Run every analysis on one group. `margin`: see `analysis.verdicts.decide`."""
    analyses = begun(gathered, group, ratings=ratings, grouped=grouped, margin=margin)
    for analysis in ANALYSES:
        finding = analysis.run(analyses)
        analyses = replace(
            analyses,
            results={**analyses.results, analysis.name: finding.result},
            lacking={**analyses.lacking, **finding.lacking},
        )
    if analyses.of_paper:
        return analyses
    rated = task_facts.by_rule(task_facts.themes(analyses.tasks, gathered.registry, analyses.ratings))
    lacking = plain_missing(analyses.lacking, from_results=analyses.from_results, rated=bool(rated))
    return replace(analyses, lacking=lacking)


def begun(
    gathered: Gathered, group: Group, *, ratings: Sequence[Rating], grouped: bool = True, margin: float | None = None
) -> Analyses:
    """What `analyse` reads before any analysis has run: scores and similarities."""
    analyses = Analyses(
        gathered=gathered,
        group=group,
        ratings=tuple(ratings),
        grouped=grouped,
        margin=margin,
        tables=score_tables(gathered, group),
    )
    return replace(
        analyses,
        data_similarity=data_similarity(group.runs, analyses.tasks),
        task_similarity=fused_similarity(group.runs, analyses.tasks),
    )


def tables_of(analyses: Analyses) -> tuple[Table, ...]:
    """All tables of a group: scores, improvements, and those of every analysis."""
    shown = [*_score_tables(analyses), *(table for analysis in ANALYSES for table in analysis.tables(analyses))]
    return tuple(shown) if analyses.of_paper else tuple(map(plain_table, shown))


def _score_tables(analyses: Analyses) -> list[Table]:
    """Tables 7 and 8 and the numbers of Figures 6 and 7; for the paper's tasks also compared with the printed ones."""
    registry = analyses.gathered.registry
    shown: list[Table | None] = []
    for table in analyses.tables:
        shown.append(table_of_scores(table, registry))
        shown += [paper.versus_printed(table, registry)] if analyses.of_paper else []
        if not analyses.ranked and any(source != target for source, target in table.scores):
            shown.append(table_of_improvements(table, registry))
            shown += [paper.versus_printed(table, registry, percent=True)] if analyses.of_paper else []
    return [table for table in shown if table is not None]
