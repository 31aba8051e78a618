"""Read the small JSON files of launch as typed objects: markers, journals, holds and other notes of jobs.

Another version may have written them: an unknown field is ignored, and a field that may be None can be absent. A file
that does not fit raises an error; a line that does not fit is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from empslurm import files
from empslurm.errors import DamagedError
from empslurm.validation import decode
from empslurm.validation.reader import field_hints

T = TypeVar("T")


def read(kind: type[T], path: Path, what: str) -> T:
    """Read the object of a file, which must be `what`. Raises FileNotFoundError, DamagedError, StoreError."""
    return parse(kind, files.read_object(path), path, what)


def parse(kind: type[T], value: Mapping[str, Any], path: Path, what: str) -> T:
    """Make the object of `read` from the value that `path` holds. Raises DamagedError."""
    try:
        note: T = decode.reader(kind)(value)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} must be {what}, but is not: {error}; move it away") from error
    return note


def read_lines(kind: type[T], path: Path) -> list[T]:
    """The objects of a file to which lines are appended; empty where it is absent. Raises StoreError.

    A field that does not fit counts as absent, so that a pack's ends are counted whatever else their lines hold. A line
    without a required field is left out.
    """
    hints: Mapping[str, Any] = field_hints(cast(Any, kind))
    rows = []
    for value in files.read_lines(path):
        fitting = {name: item for name, item in value.items() if name in hints and _fits(hints[name], item)}
        with contextlib.suppress(ValueError):
            rows.append(decode.reader(kind)(fitting))
    return rows


def _fits(hint: Any, item: Any) -> bool:
    try:
        decode.reader(hint)(item)
    except (ValueError, RecursionError):
        return False
    return True
