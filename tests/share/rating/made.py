"""Invented tasks, on cards, with forms that two invented raters filled, and results whose gains follow the ratings."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CARD = """\
id: {task}
title: {title}
file: {task}.csv
format: csv
columns: {{text: said, label: mood}}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
# Task -> what A and what B rate: definition, link, conduciveness.
LEVELS: Mapping[str, tuple[str, str]] = {
    "kite_mood": ("554", "543"),
    "kite_care": ("445", "455"),
    "kite_help": ("332", "333"),
    "kite_talk": ("343", "334"),
    "kite_wind": ("211", "121"),
    "kite_role": ("112", "111"),
}
TASKS = tuple(LEVELS)
NAMES = ("definition", "link", "conduciveness")


def cards(folder: Path, tasks: Sequence[str] = TASKS) -> Path:
    """A folder with a card for each task."""
    folder.mkdir(parents=True)
    for task in tasks:
        title = task.replace("_", " ").title()
        (folder / f"{task}.yaml").write_text(CARD.format(task=task, title=title), encoding="utf-8")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a blank form."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def filled(
    rows: Sequence[Mapping[str, str]], rater: int, levels: Mapping[str, tuple[str, str]] = LEVELS
) -> list[dict[str, str]]:
    """The rows with the levels of the first or second rater (0 or 1)."""
    return [{**row, **dict(zip(NAMES, levels[row["task"]][rater], strict=True))} for row in rows]


def save(path: Path, rows: Sequence[Mapping[str, str]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """Write a form as spreadsheet programs do."""
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_xlsx(form: Path, path: Path, levels: Mapping[str, Sequence[object]]) -> Path:
    """Fill the blank spreadsheet: task -> the cells of the three criteria."""
    from openpyxl import load_workbook

    book = load_workbook(form)
    sheet = book["ratings"]
    columns = {cell.value: cell.column for cell in sheet[1]}
    for row in range(2, sheet.max_row + 1):
        task = sheet.cell(row, columns["task"]).value
        for name, value in zip(NAMES, levels[task], strict=True):
            sheet.cell(row, columns[name]).value = value
    book.save(path)
    return path


def results(path: Path, tasks: Sequence[str] = TASKS) -> Path:
    """Scores of all pairs in three seeds: a source helps the more, the finer its definition is."""
    rng = np.random.default_rng(5)
    finest = {task: int(a[0]) + int(b[0]) for task, (a, b) in LEVELS.items()}
    lines = ["source,target,seed,metric,value"]
    for target in tasks:
        for source in tasks:
            gain = 0.0 if source == target else 0.02 * (finest[source] - finest[target])
            lines += [
                f"{'' if source == target else source},{target},{seed},f1_macro,{0.6 + gain + rng.normal(0, 0.004):.4f}"
                for seed in (1, 2, 3)
            ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows_of_semicolons(path: Path) -> list[dict[str, str]]:
    """The rows of a filled form with semicolons."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=";"))
