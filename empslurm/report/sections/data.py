"""The data section: which test texts are also in a training part, and which data are invented or not recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.gather.collect import CARD
from empslurm.report.contents import GroupContents
from empslurm.report.formats import capital
from empslurm.report.group_results import Analyses
from empslurm.report.tables import title_of

NOTES = {"sample": "invented sample data", CARD: "data of a card, for which empslurm has no record"}


def is_known(analyses: Analyses) -> bool:
    """Whether anything is known about the data, as for all but a table of results."""
    return analyses.gathered.origin == "runs"


def data(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values: leaks by pair, then notes on the data; None where nothing is known."""
    analyses = group.analyses
    if not is_known(analyses):
        return None
    registry, leaks = analyses.gathered.registry, analyses.group.leaks
    by_text: dict[str, list[str]] = {}
    for (source, target), text in leaks.items():
        pair = f"{title_of(source, registry)} → {title_of(target, registry)}"
        by_text.setdefault(text, []).append(title_of(target, registry) if source == target else pair)
    said = [f"{', '.join(pairs)}: {text}." for text, pairs in by_text.items()]
    notes: dict[str, list[str]] = {}
    for task, note in analyses.group.notes.items():
        notes.setdefault(note, []).append(title_of(task, registry))
    for note, tasks in notes.items():
        said.append(f"{capital(NOTES.get(note, note))}: {', '.join(tasks)}.")
    n = len(leaks)
    answer = (
        f"In {n} {'case' if n == 1 else 'cases'}, test texts are also in a training part."
        if n
        else "No leak is known, neither from the split rule nor from an audit (run one with `empslurm data audit`)."
    )
    return {"answer": answer, "sentences": said}
