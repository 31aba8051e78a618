"""`explain`: in which fields two cells differ, or what two manifests share and how their cells differ."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from empslurm import resources
from empslurm.cells import Cell, differences
from empslurm.cli import common
from empslurm.cli.cell import CELL_HELP, missing_files, started
from empslurm.cli.completion import cell_ids, completed, manifest_names
from empslurm.cli.names import cell_of, planned
from empslurm.cli.output import Output
from empslurm.errors import UnknownCellError, UsageError
from empslurm.plan import counts
from empslurm.store.runs import RunsRoot
from empslurm.validation.reader import unknown

SHOWN = 40  # differences of manifests that are printed for people

Change = tuple[str, object, object]  # dotted field, its value in the first and in the second


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    for name, text in (("first", f"{CELL_HELP}; or a manifest"), ("second", "the second cell, or the second manifest")):
        completed(parser.add_argument(name, metavar="CELL|MANIFEST", help=text), _names)
    text = "look in this manifest's plan first; this also finds cells that have not run yet"
    completed(parser.add_argument("--manifest", metavar="MANIFEST", help=text), manifest_names)


def _names(prefix: str, **settings: Any) -> list[str]:
    return [*cell_ids(**settings), *manifest_names(prefix)]


def run(options: argparse.Namespace, out: Output) -> int:
    names = (options.first, options.second)
    are_manifests = [common.is_manifest(name) for name in names]
    if options.manifest is None and all(are_manifests):
        return _explain_manifests(options, out)
    if options.manifest is None and any(are_manifests):
        other = names[are_manifests.index(False)]
        _, fix = unknown(other, resources.names("manifests"), "manifest")
        raise UsageError(f"explain must compare two cells or two manifests, but {other!r} is not a manifest; {fix}")
    return _explain_cells(options, out)


# ---- cells -----------------------------------------------------------------------------------------------------------


def _explain_cells(options: argparse.Namespace, out: Output) -> int:
    plan = None
    if options.manifest is not None:
        plan, _ = common.load_plan(options)
    found = [_identity(name, plan.cells if plan else (), options) for name in (options.first, options.second)]
    (first, one), (second, other) = found
    changes = differences(one, other)
    out.document({"cells": [first, second], "differences": _as_document(changes)})
    if changes:
        out.table("", ("field", first, second), [(key, str(a), str(b)) for key, a, b in changes])
    else:
        out.line("the same cell")
    return 0


def _identity(name: str, cells: Iterable[Cell], options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Id and identity of a planned cell, else of one that has run. Raises UnknownCellError."""
    root, cells = RunsRoot(options.runs), tuple(cells)
    if any(cell.id.startswith(name) for cell in cells):
        cell = planned(cells, name, f"cell of {options.manifest}")
        return cell.id, cell.identity()
    try:
        with missing_files():
            folder = started(cell_of(root, name), root)
            return folder.id, folder.identity()
    except UnknownCellError as error:
        hint = f"no cell of {options.manifest} has this id either" if cells else "give --manifest for planned cells"
        raise UnknownCellError(f"{error}; {hint}") from error


def _as_document(changes: Iterable[Change]) -> list[dict[str, object]]:
    return [{"field": key, "first": a, "second": b} for key, a, b in changes]


# ---- manifests -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The cells of two manifests. Cells whose ids differ only in the digest are pairs."""

    shared: tuple[str, ...]
    pairs: tuple[tuple[Cell, Cell], ...]
    first_only: tuple[Cell, ...]
    second_only: tuple[Cell, ...]

    def changes(self) -> list[tuple[Change, list[tuple[str, str]]]]:
        """Every change between the cells of a pair, with the ids of the pairs that have it; the most frequent first."""
        grouped: dict[str, tuple[Change, list[tuple[str, str]]]] = {}
        for one, other in self.pairs:
            found = differences(one.identity(), other.identity())
            # Whatever changes a source gives all that start from it another parent: that says nothing new.
            for change in [item for item in found if item[0] != "parent"] or found:
                grouped.setdefault(str(change), (change, []))[1].append((one.id, other.id))
        return sorted(grouped.values(), key=lambda item: -len(item[1]))


def compare(first: Iterable[Cell], second: Iterable[Cell]) -> Compared:
    """What two plans share, and the pairs of cells of the same kind, tasks, seed and amount of data."""
    one, other = ({cell.id: cell for cell in cells} for cells in (first, second))
    partners: dict[tuple[str, str], list[Cell]] = {}
    for cell in other.values():
        if cell.id not in one:
            partners.setdefault(_place(cell), []).append(cell)
    pairs, alone = [], []
    for cell in one.values():
        waiting = partners.get(_place(cell))
        if cell.id not in other and waiting:
            pairs.append((cell, waiting.pop(0)))
        elif cell.id not in other:
            alone.append(cell)
    return Compared(
        shared=tuple(id for id in one if id in other),
        pairs=tuple(pairs),
        first_only=tuple(alone),
        second_only=tuple(cell for cells in partners.values() for cell in cells),
    )


def _place(cell: Cell) -> tuple[str, str]:
    """The kind of a cell and its id without the digest."""
    return cell.kind, cell.id.rpartition("-")[0]


def _explain_manifests(options: argparse.Namespace, out: Output) -> int:
    plans = []
    for name in (options.first, options.second):
        options.manifest = name
        plans.append(common.load_plan(options)[0])
    names = [plan.manifest.name for plan in plans]
    first, second = names if names[0] != names[1] else (options.first, options.second)
    compared = compare(plans[0].cells, plans[1].cells)
    changes = compared.changes()
    out.document(
        {
            "manifests": [first, second],
            "shared": list(compared.shared),
            "pairs": [[one.id, other.id] for one, other in compared.pairs],
            "differences": [
                {"field": key, "first": a, "second": b, "pairs": list(map(list, ids))} for (key, a, b), ids in changes
            ],
            "first_only": [cell.id for cell in compared.first_only],
            "second_only": [cell.id for cell in compared.second_only],
        }
    )
    out.line(f"{len(compared.shared):,} cells are the same in {first} and {second}, and are trained once", style="bold")
    if changes:
        out.line(f"{len(compared.pairs):,} cells have the same tasks, seed and amount of data in both, but differ in:")
        rows = [(key, str(a), str(b), len(ids), ids[0][0]) for (key, a, b), ids in changes]
        out.table("", ("field", first, second, "cells", "such as"), rows[:SHOWN])
    if len(changes) > SHOWN:
        out.line(f"... and {len(changes) - SHOWN:,} more differences; --json has them all")
    for name, cells in ((first, compared.first_only), (second, compared.second_only)):
        if cells:
            kinds = ", ".join(f"{n:,} {kind}" for kind, n in counts([cell.kind for cell in cells]).items())
            out.line(f"{len(cells):,} cells are only in {name} ({kinds}), such as {cells[0].id}")
    return 0
