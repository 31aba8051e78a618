"""The audit of the data as files: every pair of tasks, a matrix per split rule, duplicates by id, tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.report.datasets import csv_text
from empslurm.tasks.audit import RULES, Audit, TaskAudit
from empslurm.tasks.overlap import Overlap


def ranked(rows: Iterable[Overlap]) -> list[Overlap]:
    """The largest share of test examples first, then the most equal texts."""
    return sorted(rows, key=lambda row: (-row.share, -row.exact, row.source, row.target))


def write(audit: Audit, folder: Path) -> list[Path]:
    """overlap.csv, overlap_matrix_RULE.csv and .md, duplicates.csv, audit_tasks.csv."""
    texts = {
        "overlap.csv": _records([_overlap(row) for row in ranked(audit.overlaps)]),
        "duplicates.csv": _records([asdict(row) for row in audit.duplicates]),
        "audit_tasks.csv": _records([_task(row) for row in audit.tasks]),
    }
    for rule in RULES:
        names, cells = matrix([row for row in audit.overlaps if row.splits == rule])
        texts[f"overlap_matrix_{rule}.csv"] = csv_text(("source", *names), cells)
        texts[f"overlap_matrix_{rule}.md"] = _markdown(rule, names, cells)
    for name, text in texts.items():
        files.write_text(folder / name, text)
    return [folder / name for name in texts]


def matrix(rows: Sequence[Overlap]) -> tuple[list[str], list[list[str]]]:
    """Targets, and per source its name and the percent of each target's test examples that leak."""
    names = list(dict.fromkeys(row.source for row in rows))
    shares = {(row.source, row.target): f"{100 * row.share:.1f}" for row in rows}
    return names, [[source, *(shares[source, target] for target in names)] for source in names]


def _overlap(row: Overlap) -> dict[str, Any]:
    return {**asdict(row), "exact_by_chance": row.exact_by_chance, "share": f"{row.share:.4f}"}


def _task(row: TaskAudit) -> dict[str, Any]:
    unseen = {f"unseen_labels_{rule}": "; ".join(row.unseen_labels.get(rule, ())) for rule in RULES}
    plain = {name: value for name, value in asdict(row).items() if name != "unseen_labels"}
    return {**plain, "empty_labels": "; ".join(row.empty_labels), **unseen}


def _records(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(rows[0]) if rows else ["splits", "source", "target"]
    return csv_text(columns, [list(row.values()) for row in rows])


def _markdown(rule: str, names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [
        f"Percent of each target's (columns) test examples that lie in a group that the source (rows) trains on, or "
        f"that stand in its training part with their context, equal or nearly; {rule} splits.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)]) + "\n"
