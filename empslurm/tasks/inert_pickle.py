"""Read the text table in a pickled pandas frame without building any object that the pickle names.

A pickle can run any code when it is loaded. Here only the names that a frame of strings needs are admitted, and each
becomes an inert record of its arguments and its state; the table is then read from those records (their layout is that
of pandas 1.x block managers). No pandas and no numpy code runs.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from empslurm.errors import DataError
from empslurm.validation.table_file import check_columns, read_bytes

MAX_BYTES = 2**28
MAX_COLUMNS = 1_000
ADMITTED = {
    ("builtins", "slice"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.numeric", "Int64Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.managers", "BlockManager"),
}


class Record:
    """Replaces any object of the pickle."""

    def __new__(cls, *arguments: Any) -> Record:
        record = super().__new__(cls)
        record.arguments, record.state = arguments, None
        return record

    arguments: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ADMITTED:
            return Record
        raise pickle.UnpicklingError("it names a class or function that a table of texts does not need")


Cell = str | tuple[str, ...]


def read_text_frame(path: Path, columns: Sequence[str]) -> list[tuple[Cell, ...]]:
    """The rows of the named columns: texts, or lists of texts as tuples.

    Raises DataError for anything but a pickled pandas 1.x frame with such columns; its other columns may hold numbers.
    """
    data = read_bytes(path, MAX_BYTES)
    must = f"{path.name} must be a pickled table of texts, as distributed"
    try:
        frame = _Unpickler(io.BytesIO(data)).load()
        layout = frame.state["_mgr"].state[3]["0.14.1"]
        names = _strings(layout["axes"][0].arguments[1]["data"], 1)
        check_columns(path.name, names, columns)
        cells = _columns(layout["blocks"], [names.index(name) for name in columns])
    except DataError:
        raise
    except Exception as error:  # damaged pickles may raise anything
        reason = " ".join(str(error).split()) if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise DataError(f"{must}, but cannot be read ({reason[:80]}); get the file again") from error
    return list(zip(*cells, strict=True))


def _columns(blocks: Sequence[dict[str, Any]], wanted: Sequence[int]) -> list[list[Cell]]:
    """The cells of the wanted columns. Columns of one type are in one block, which says which ones it holds.

    Raises ValueError, TypeError, ... for any other layout.
    """
    columns: dict[int, list[Cell]] = {}
    for block in blocks:
        indices = _column_indices(block["mgr_locs"])
        if not set(indices) & set(wanted):
            continue  # numbers, stored as bytes
        (n_columns, n_rows), flat = _shape(block["values"]), _cells(block["values"], 2)
        if n_columns != len(indices) or len(flat) != n_columns * n_rows:
            raise ValueError("not a block of its columns")
        for row, index in enumerate(indices):
            columns[index] = flat[row * n_rows : (row + 1) * n_rows]
    return [columns[index] for index in wanted]


def _column_indices(located: Record) -> list[int]:
    """Which columns a block holds: a slice, or an array of 64-bit numbers."""
    if located.state is None:
        first, last, step = located.arguments
        return list(range(first, last, step))[:MAX_COLUMNS]
    _, (n_columns,), _, _, data = located.state
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return list(struct.unpack(f"<{n_columns}q", raw))


def _shape(array: Record) -> tuple[int, int]:
    n_columns, n_rows = array.state[1]
    return n_columns, n_rows


def _strings(array: Record, n_dimensions: int) -> list[str]:
    """The texts of an object array."""
    cells = _cells(array, n_dimensions)
    if not all(isinstance(cell, str) for cell in cells):
        raise ValueError("not an array of texts")
    return [cell for cell in cells if isinstance(cell, str)]


def _cells(array: Record, n_dimensions: int) -> list[Cell]:
    """The cells of an object array in C order, which is how numpy pickles them."""
    _, shape, _, _, cells = array.state
    if len(shape) != n_dimensions or not isinstance(cells, list):
        raise ValueError("not an array of objects")
    return [_cell(cell) for cell in cells]


def _cell(cell: Any) -> Cell:
    if type(cell) is str:
        return cell
    if type(cell) is list and all(type(item) is str for item in cell):
        return tuple(cell)
    raise ValueError("neither a text nor a list of texts")
