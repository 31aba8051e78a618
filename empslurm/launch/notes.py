"""Small JSON files of launch, read back typed: markers, journals, holds and what else jobs leave for each other.

Another version may have written them: a field that this one does not know is left alone, and one that is None may be
absent. What does not fit is refused with a sentence; of lines that are appended, it is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from empslurm import files
from empslurm.errors import DamagedError
from empslurm.validation import decode

T = TypeVar("T")


def read(kind: type[T], path: Path, what: str) -> T:
    """The object of a file, which must be `what`. Raises FileNotFoundError, DamagedError, StoreError."""
    return parse(kind, files.read_object(path), path, what)


def parse(kind: type[T], value: Mapping[str, Any], path: Path, what: str) -> T:
    """What `read` reads of the value that `path` holds."""
    try:
        note: T = _decode(kind, value)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} must be {what}, but is not: {error}; move it away") from error
    return note


def read_lines(kind: type[T], path: Path) -> list[T]:
    """The objects of a file to which lines are appended; empty where it is absent. Raises StoreError."""
    rows = []
    for value in files.read_lines(path):
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(_decode(kind, value))
    return rows


def _decode(kind: Any, value: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    return decode.reader(kind)({name: item for name, item in value.items() if name in known})
