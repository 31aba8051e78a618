"""Small JSON files of launch, read back typed: markers, journals, holds and what else jobs leave for each other.

Another version may have written them: a field that this one does not know is left alone, and one that is None may be
absent. What does not fit is refused with a sentence; in lines that are appended, it is left out.
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
    """The object of a file, which must be `what`. Raises FileNotFoundError, DamagedError, StoreError."""
    return parse(kind, files.read_object(path), path, what)


def parse(kind: type[T], value: Mapping[str, Any], path: Path, what: str) -> T:
    """What `read` reads of the value that `path` holds."""
    try:
        note: T = decode.reader(kind)(value)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} must be {what}, but is not: {error}; move it away") from error
    return note


def read_lines(kind: type[T], path: Path) -> list[T]:
    """The objects of a file to which lines are appended; empty where it is absent. Raises StoreError.

    A field that does not fit counts as absent, so that a pack's ends are counted whatever else their lines hold; a line
    that does not have what it must have is left out.
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
