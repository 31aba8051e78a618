"""Read the text table in a pickled pandas frame without building any object that the pickle names.

A pickle can run what it likes when it is loaded. Here only the names that a frame of strings needs are admitted, and
each becomes an inert record of its arguments and its state; the table is then read out of those records (the layout is
that of pandas 1.x block managers). No pandas and no numpy code runs.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from empslurm.errors import DataError
from empslurm.tasks.records import check_columns, read_bytes

MAX_BYTES = 2**28
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
    """Stands for any object of the pickle."""

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
        raise pickle.UnpicklingError("it names what no table of texts needs")


def read_text_frame(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The rows of the named columns. Raises DataError for anything but a pickled pandas 1.x frame of strings."""
    data = read_bytes(path, MAX_BYTES)
    must = f"{path.name} must be a pickled table of texts, as distributed"
    try:
        frame = _Unpickler(io.BytesIO(data)).load()
        names, cells = _block(frame)
    except DataError:
        raise
    except Exception as error:  # damaged pickles raise whatever the byte at hand leads to
        reason = str(error) if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise DataError(f"{must}, but cannot be read ({reason[:80]}); get the file again") from error
    check_columns(path.name, names, columns)
    chosen = [cells[names.index(name)] for name in columns]
    return list(zip(*chosen, strict=True))


def _block(frame: Record) -> tuple[list[str], list[list[str]]]:
    """Column names, and per column its cells. Raises ValueError, TypeError, ... where the layout is another."""
    layout = frame.state["_mgr"].state[3]["0.14.1"]
    (block,) = layout["blocks"]  # columns of one type stand in one block
    names = _strings(layout["axes"][0].arguments[1]["data"], 1)
    (n_columns, n_rows), flat = _shape(block["values"]), _strings(block["values"], 2)
    first, last, step = block["mgr_locs"].arguments
    if n_columns != len(names) or len(flat) != n_columns * n_rows or (first, last, step) != (0, n_columns, 1):
        raise ValueError("not one block of all columns")
    return names, [flat[column * n_rows : (column + 1) * n_rows] for column in range(n_columns)]


def _shape(array: Record) -> tuple[int, int]:
    n_columns, n_rows = array.state[1]
    return n_columns, n_rows


def _strings(array: Record, n_dimensions: int) -> list[str]:
    """The cells of an object array in C order, which is how numpy pickles them."""
    _, shape, _, _, cells = array.state
    if len(shape) != n_dimensions or not isinstance(cells, list) or not all(type(cell) is str for cell in cells):
        raise ValueError("not an array of texts")
    return cells
