"""The leakage audit as files: every pair of tasks, a matrix per split rule, duplicates by id, and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.config import SplitRule
from empslurm.report.formats import Table, number, text, write_forms
from empslurm.report.tables import to_rows_csv
from empslurm.tasks.leakage import RULES, Audit, TaskAudit
from empslurm.tasks.overlap import Overlap


def ranked(rows: Iterable[Overlap]) -> list[Overlap]:
    """Rows ordered by the share of leaking test examples, then by the number of equal texts, largest first."""
    return sorted(rows, key=lambda row: (-row.share, -row.exact, row.source, row.target))


def write(audit: Audit, folder: Path) -> list[Path]:
    """Write overlap.csv, duplicates.csv, audit_tasks.csv, and overlap_matrix_RULE as CSV, Markdown and LaTeX."""
    records = {
        "overlap.csv": [_overlap(row) for row in ranked(audit.overlaps)],
        "duplicates.csv": [asdict(row) for row in audit.duplicates],
        "audit_tasks.csv": [_task(row) for row in audit.tasks],
    }
    written = []
    for name, rows in records.items():
        written.append(folder / name)
        files.write_text(written[-1], to_rows_csv([*rows[0]] if rows else ["splits", "source", "target"], rows))
    for rule in RULES:
        written += write_forms(matrix(rule, [row for row in audit.overlaps if row.splits == rule]), folder)
    return written


def matrix(rule: SplitRule, rows: Sequence[Overlap]) -> Table:
    """Percent of the target's test examples that leak: sources as rows, targets as columns."""
    names = tuple(dict.fromkeys(row.source for row in rows))
    shares = {(row.source, row.target): row.share for row in rows}
    entries = {pair: number(100 * share, 1) for pair, share in shares.items()}
    return Table(
        name=f"overlap_matrix_{rule}",
        title=f"Test examples that a source trains on, {rule} splits",
        caption="Percent of the test examples of the target (columns) that belong to a group which the source (rows) "
        "trains on, or whose text and context are equal or nearly equal to a training text; the larger of both.",
        head=(("source", *names),),
        columns=("source", *names),
        rows=tuple((text(source), *(entries[source, target] for target in names)) for source in names),
    )


def _overlap(row: Overlap) -> dict[str, Any]:
    return {**asdict(row), "exact_by_chance": row.exact_by_chance, "share": f"{row.share:.4f}"}


def _task(row: TaskAudit) -> dict[str, Any]:
    unseen = {f"unseen_labels_{rule}": "; ".join(row.unseen_labels.get(rule, ())) for rule in RULES}
    plain = {name: value for name, value in asdict(row).items() if name != "unseen_labels"}
    return {**plain, "empty_labels": "; ".join(row.empty_labels), **unseen}
