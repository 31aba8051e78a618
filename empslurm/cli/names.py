"""Names that users type: what an unknown one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

from empslurm.cells import Cell
from empslurm.errors import UnknownCellError
from empslurm.launch.lookup import find_cell
from empslurm.store.cell_folder import CellDir
from empslurm.store.runs import RunsRoot

AnyCell = TypeVar("AnyCell", bound=Cell)


def guess(name: str, ids: Iterable[str]) -> str:
    """`; did you mean ID?` for the beginning of a cell's id that no id has; empty where none is near."""
    beginnings = {id[: len(name)]: id for id in reversed(tuple(ids))}  # of those that begin alike the first
    near = difflib.get_close_matches(name[:100], beginnings, n=1)
    return f"; did you mean {beginnings[near[0]]}?" if near else ""


def cell_of(root: RunsRoot, name: str) -> CellDir:
    """The one cell that a name means, as `find_cell`. Raises UnknownCellError with the nearest id."""
    try:
        return find_cell(root, name)
    except UnknownCellError as error:
        if not root.path.exists():
            raise UnknownCellError(
                f"the runs root {root.path} must exist to have cells, but does not; give the right one with --runs"
            ) from error
        ids = root.ids()
        if any(id.startswith(name) for id in ids):  # several do
            raise
        raise UnknownCellError(f"{error}{guess(name, ids)}") from error


def planned(cells: Iterable[AnyCell], name: str, what: str) -> AnyCell:
    """The one planned cell whose id is `name`, with or without digest, or starts with it. Raises UnknownCellError."""
    by_id = {cell.id: cell for cell in cells}
    matching = [id for id in by_id if id.startswith(name)]
    for closest in ([name], [id for id in matching if id.rpartition("-")[0] == name], matching):
        if len(closest) == 1 and closest[0] in by_id:
            return by_id[closest[0]]
    if matching:
        such = ", ".join(matching[:3])
        raise UnknownCellError(
            f"{name!r} must name one {what}, but {len(matching)} ids start with it; name one, such as {such}"
        )
    raise UnknownCellError(f"{name!r} must name one {what}, but no id starts with it{guess(name, by_id)}")
