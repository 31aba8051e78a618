"""Small JSON files of launch, read back typed: markers, journals, holds and what else jobs leave for each other.

Another version may have written them: a field that this one does not know is left alone, and one that is None may be
absent. What does not fit is refused with a sentence; in lines that are appended, it is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from empslurm import files
from empslurm.errors import DamagedError
from empslurm.validation import decode
from empslurm.validation.reader import field_hints, unwrap

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
    """The objects of a file to which lines are appended; empty where it is absent. Raises StoreError.

    A field that does not fit counts as absent, so that a pack's ends are counted whatever else their lines hold; a line
    that does not have what it must have is left out.
    """
    rows = []
    for value in files.read_lines(path):
        with contextlib.suppress(ValueError, RecursionError):
            fitting = {name: item for name, item in _known(kind, value).items() if _fits(kind, name, item)}
            rows.append(_decode(kind, fitting))
    return rows


def _decode(kind: Any, value: Mapping[str, Any]) -> Any:
    return decode.reader(kind)(_known(kind, value))


def _known(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a class out of an object that may hold more."""
    return {name: _number(hint, value[name]) for name, hint in field_hints(kind).items() if name in value}


def _number(hint: Any, item: Any) -> Any:
    """A whole number where a float belongs as that float: another version may have written 0 for 0.0."""
    inner, _ = unwrap(hint)
    return float(item) if type(item) is int and float in (inner, *get_args(inner)) else item


def _fits(kind: Any, name: str, item: Any) -> bool:
    try:
        decode.reader(field_hints(kind)[name])(item)
    except (ValueError, RecursionError):
        return False
    return True
