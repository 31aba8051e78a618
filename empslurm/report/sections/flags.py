"""What is known against the data and the runs."""

from __future__ import annotations

from html import escape

import numpy as np

from empslurm import metrics
from empslurm.report import html
from empslurm.report.contents import GroupContents
from empslurm.report.formats import shown
from empslurm.report.group_results import Analyses
from empslurm.report.scores import ScoreTable
from empslurm.report.tables import title_of

SHOWN_FLAGS = 200
OUTLIER = 0.5  # of its column's median: a run that did not learn
FEWEST_FOR_OUTLIER = 5


def flags(group: GroupContents) -> str:
    """A list of sentences, or that there is nothing to say."""
    said = flagged(group.analyses)
    if not said:
        nothing = "None: every run is on recorded data, and none collapsed."
        if group.analyses.from_results:
            nothing = "None: the table flags no score, and none is far below the others of its target."
        return html.paragraph(nothing)
    note = ""
    if len(said) > SHOWN_FLAGS:
        text = f"{SHOWN_FLAGS} of {len(said):,} are shown; pairs.csv has the scores and flags of all pairs."
        note = html.paragraph(text, class_="soft")
    items = (html.element("li", escape(text)) for text in said[:SHOWN_FLAGS])
    return note + html.element("ul", "".join(items))


def flagged(analyses: Analyses) -> list[str]:
    """Everything about the data and the runs that a reader must not miss, as sentences."""
    registry = analyses.gathered.registry
    said = []
    notes: dict[str, list[str]] = {}
    for task, note in analyses.group.notes.items():
        notes.setdefault(note, []).append(title_of(task, registry))
    for note, tasks in notes.items():
        text = "invented sample data" if note == "sample" else note
        said.append(f"{', '.join(tasks)}: {text}.")
    said += [f"{text[0].upper()}{text[1:]}." for text in dict.fromkeys(analyses.group.leaks.values())]
    for table in analyses.tables:
        halves = _halves(table)
        for (source, target), score in sorted(table.scores.items()):
            name = (
                title_of(target, registry)
                if source == target
                else f"{title_of(source, registry)} → {title_of(target, registry)}"
            )
            if score.flags:
                kind = "" if metrics.FLAGS.keys() >= {*score.flags} else " as flagged"
                said.append(f"{name}: {score.flagged}{kind}, {table.metric} {shown(score.value)}.")
            elif score.value < halves.get(target, -np.inf):
                said.append(
                    f"{name}: {table.metric} {shown(score.value)}, less than half of its column's median: not learnt."
                )
    return said


def _halves(table: ScoreTable) -> dict[str, float]:
    """Half the median of each column with enough scores, below which a run has not learnt; none of an error."""
    if not table.higher_is_better:
        return {}
    columns = {
        target: [score.value for score in column.values() if np.isfinite(score.value)]
        for target, column in table.columns.items()
    }
    return {
        target: OUTLIER * float(np.median(own)) for target, own in columns.items() if len(own) >= FEWEST_FOR_OUTLIER
    }
