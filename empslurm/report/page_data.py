"""The data of a page's script: the rows of its tables, and the runs of each pair with their learning curves.

A page stays below about 3 MB: where the data are larger, first the learning curves and then the runs are left out. The
page says so and names the file that has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from empslurm.metrics import FLAGS, METRICS
from empslurm.report.contents import Block, GroupContents, View, setting
from empslurm.report.formats import Entry
from empslurm.report.sections.cost import hardware_line
from empslurm.report.wording import plain

MOST_BYTES = 1_800_000  # of tables, runs and curves together; the markup of a page of many pairs takes 1 MB more
RUNS_LEFT_OUT = (
    "The runs of so many pairs would make this page too large; long.csv next to it has every seed's score and the ids."
)
CURVES_LEFT_OUT = "The learning curves of so many runs would make this page too large; curves.csv next to it has them."
NO_CURVES = "No learning curves were recorded."
LARGEST_SEED = 2**53  # the largest whole number that a script can hold exactly
Data = dict[str, Any]


def page_data(blocks: Iterable[Block], groups: Sequence[GroupContents]) -> Data:
    """Everything that the script of a page reads; NaN becomes null."""
    tables = {block.identifier: table_data(block) for block in blocks}
    views = [(group, view) for group in groups for view in group.views]
    room = MOST_BYTES - _size(tables)
    for curves, runs in ((True, True), (False, True), (False, False)):
        view_data = [_view(group, view, runs=runs, curves=curves) for group, view in views]
        if _size(view_data) <= room:
            break
    notes = {"runs": RUNS_LEFT_OUT, "curves": NO_CURVES if curves else CURVES_LEFT_OUT}
    if groups and all(group.analyses.gathered.origin != "runs" for group in groups):
        notes["curves"] = ""  # a table of results never has learning curves
    return {"tables": tables, "views": view_data, "notes": notes, "flags": dict(FLAGS)}


def _size(data: object) -> int:
    return len(json.dumps(data, ensure_ascii=True, separators=(",", ":")))


def table_data(block: Block) -> Data:
    """A table's rows as printed; an entry with marks is [text, marks], with the marks b (bold), u (underlined)."""
    table = block.kept.table
    heads = [" ".join(dict.fromkeys(filter(None, parts))) for parts in zip(*table.head, strict=True)]
    return {
        "name": table.name,
        "title": block.title,
        "columns": [list(pair) for pair in zip(table.columns, heads, strict=True)],
        "main": list(table.main),
        "labels": table.n_labels,
        "heat": block.heat,
        "rows": [list(map(_cell, row)) for row in table.rows],
    }


def _cell(entry: Entry) -> str | list[str]:
    marks = ("b" if entry.bold else "") + ("u" if entry.underlined else "")
    return [entry.text, marks] if marks else entry.text


def _view(group: GroupContents, view: View, *, runs: bool, curves: bool) -> Data:
    """The pairs of a verdict table and what the panel shows of them; tasks are their index in `analyses.tasks`."""
    analyses, significance, table = group.analyses, view.significance, view.block.kept.table
    tasks = analyses.tasks
    index_of = {task: index for index, task in enumerate(tasks)}
    origin = group.named(table.name)[0].origin
    kept = [(row, *origin[row][:2]) for row in view.block.kept.rows]
    n_pairs = len(significance.pairs)  # the rows of the control follow them
    pairs = [[index_of[source] if row < n_pairs else -1, index_of[target]] for row, source, target in kept]
    test = "the paper's test, of one model each"
    metrics = {result.target: METRICS[result.metric].title for result in significance.results}
    leaks = {
        f"{index_of[source]},{index_of[target]}": text
        for (source, target), text in analyses.group.leaks.items()
        if source in index_of and target in index_of
    }
    panel_runs = _runs(group, view, index_of, curves=curves) if runs else None
    commits = sorted(set(analyses.group.runs["commit"].dropna()))
    return {
        "table": view.block.identifier,
        "pairs": pairs,
        "metrics": {index_of[target]: title for target, title in metrics.items()},
        "leaks": leaks,
        "one_seed_test": test if analyses.of_paper else plain(test),
        "setting": "; ".join(f"{name}: {value}" for name, value in setting(analyses).items() if value != "none"),
        "code": ", ".join(map(str, commits)),
        "runs": None if panel_runs is None else panel_runs[0],
        "devices": [] if panel_runs is None else panel_runs[1],
    }


def _runs(
    group: GroupContents, view: View, index_of: Mapping[str, int], *, curves: bool
) -> tuple[dict[str, list[list[object]]], list[str]]:
    """`source,target` -> its runs (seed, score, flags, id, seconds, index of the device, curve); and the devices."""
    analyses, significance = group.analyses, view.significance
    notes = _notes(group, curves=curves)
    devices: dict[str, int] = {}
    runs_of: dict[str, list[list[object]]] = {}
    shown = {pair[0] for pair in view.rows} | {pair[1] for pair in view.rows}
    for scores in analyses.tables:
        for (source, target), score in scores.scores.items():
            alone = source == target
            fraction = significance.baseline_fraction if alone else significance.fraction
            if target not in shown or not (scores.fraction == fraction or _is_control(scores.fraction, alone, view)):
                continue
            key = f"{index_of[source]},{index_of[target]}"
            if alone and scores.fraction != significance.baseline_fraction:
                key = f"-1,{index_of[target]}"
            elif not alone and (source, target) not in view.rows:
                continue
            runs_of[key] = [
                [
                    seed if seed < LARGEST_SEED else str(seed),
                    None if value != value else round(value, 4),
                    list(flags),
                    id,
                    *_note(notes.get(id), devices),
                ]
                for seed, value, flags, id in zip(
                    score.seeds, score.values, score.flags_of_seeds, score.ids, strict=True
                )
            ]
    return runs_of, list(devices)


def _is_control(fraction: float, alone: bool, view: View) -> bool:
    return alone and fraction == view.significance.fraction and bool(view.significance.control)


def _notes(
    group: GroupContents, *, curves: bool
) -> dict[str, tuple[float | None, str, list[list[float | None]] | None]]:
    """Run id -> its seconds, its device and its learning curve."""
    runs = group.analyses.group.runs
    names = ["id", "wall_s", "device", "driver", "gpu_memory_mib", "mig_profile", "curve"]
    columns = [runs[name].astype(object).where(runs[name].notna(), None).tolist() for name in names]
    return {
        str(id): (
            None if seconds is None else round(float(seconds), 1),
            "" if device is None else hardware_line(device, driver, memory, mig),
            _curve(curve) if curves else None,
        )
        for id, seconds, device, driver, memory, mig, curve in zip(*columns, strict=True)
    }


def _note(
    note: tuple[float | None, str, list[list[float | None]] | None] | None, devices: dict[str, int]
) -> tuple[object, ...]:
    if note is None:
        return None, -1, None
    seconds, device, curve = note
    return seconds, devices.setdefault(device, len(devices)) if device else -1, curve


def _curve(text: str | None) -> list[list[float | None]] | None:
    """Training losses and validation scores, one entry per epoch; None where they were not recorded."""
    entries = json.loads(text) if text else []
    return [[_rounded(entry[which]) for entry in entries] for which in (1, 2)] if entries else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
