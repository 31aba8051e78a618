"""Heat maps of improvements and of similarities."""

from __future__ import annotations

import numpy as np

from empslurm.report import html
from empslurm.report.contents import GroupContents
from empslurm.report.figures import values_of
from empslurm.report.formats import Part, Table, part, shown
from empslurm.report.group_results import Analyses
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.significance import PairResult
from empslurm.report.tables import improvements, suffix, title_of

Pairs = dict[tuple[float, str, str], PairResult]  # by data fraction, source and target


def heat_maps(group: GroupContents) -> str:
    """Figures 6, 7, 9 and 10, whose cells say more when hovered."""
    analyses = group.analyses
    pairs = {
        (significance.fraction, pair.verdict.source, pair.verdict.target): pair
        for significance in analyses.significance
        for pair in significance.pairs
    }
    pieces = [
        html.paragraph(
            "Blue: better than the baseline, orange: worse. Hover or tap a cell for its numbers.", class_="soft"
        )
    ]
    for scores in analyses.tables:
        name = f"figure{6 if scores.kind == 'classification' else 7}{suffix(scores)}"
        for table in [table for table in group.tables if table.name == name]:
            kept = part(table, group.most_cells, np.abs(values_of(table)))
            tip = _improvement_tip(scores, analyses, pairs, kept)
            pieces.append(html.heat_map(kept.table, group.identifier(table), tip, diverging=True, unit="%"))
    for table in group.named("figure9", "figure10"):
        cut = part(table, group.most_cells).table
        pieces.append(html.heat_map(cut, group.identifier(table), _plain_tip(cut), diverging=False, unit=""))
    pieces.append(group.lacking("Figure 9", "Figure 10"))
    return "".join(pieces)


def _improvement_tip(table: ScoreTable, analyses: Analyses, pairs: Pairs, kept: Part) -> html.Tip:
    matrix = improvements(table)
    registry = analyses.gathered.registry

    def tip(shown_row: int, shown_column: int) -> str:
        row, column = kept.rows[shown_row], kept.columns[shown_column]
        source, target = matrix.sources[row], matrix.targets[column]
        if source == target:
            return ""
        said = [f"{title_of(source, registry)} → {title_of(target, registry)}"]
        said += [
            f"baseline {_told(table.scores.get((target, target)))}",
            f"transfer {_told(table.scores.get((source, target)))}",
        ]
        said.append(f"change {shown(float(matrix.percent[row, column]), 1, signed=True)} %")
        pair = pairs.get((table.fraction, source, target))
        if pair is not None:
            said.append(
                f"verdict: {pair.verdict.verdict}" + (f" ({pair.verdict.reason})" if pair.verdict.reason else "")
            )
            if table.fraction != 1.0:
                said.append(f"(against the full-data baseline, {shown(pair.verdict.baseline)})")
            if pair.paper_outcome:
                test = "paper's test" if analyses.of_paper else "test on one seed"
                said.append(f"{test}: {pair.paper_outcome} (p {shown(pair.paper_p)})")
        return "\n".join(said)

    return tip


def _told(score: Score | None) -> str:
    if score is None or score.state == "missing":
        return "missing"
    seeds = f"{len(score.seeds)} seed{'' if len(score.seeds) == 1 else 's'}"
    flags = f", {score.flagged}" if score.flagged else ""
    return f"{shown(score.value)} ({seeds}{flags})"


def _plain_tip(table: Table) -> html.Tip:
    return lambda row, column: (
        f"{table.rows[row][0].text}, {table.columns[column + 1]}: {table.rows[row][column + 1].text}"
    )
