"""From JSON values back to the frozen dataclasses they were written from, by the annotations, limits included.

validation/reader.py reads what people write: it converts, fills in defaults and notes every problem. This module reads
what empslurm wrote, in one of two ways. Identities are read `exactly`: every field counts, and 1 is not 1.0, since a
digest depends on it. Notes are read by `load` or `reader`: unknown fields of a newer version are ignored, and an
integer is accepted for a number. In both, two kinds of fields may be absent: those that are None, and those marked
`Later`, which earlier versions did not write and which then have their default. Reading ten thousand cells must take a
second, so each class's reader is built once, and stops at the first value that does not fit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from empslurm import files
from empslurm.errors import DamagedError
from empslurm.validation.constraints import Later, Listed, Pattern, Range
from empslurm.validation.reader import field_hints, is_union, required, shown, unwrap, wanted

Read = Callable[[Any], Any]


class Unfit(ValueError):
    """A stored value that empslurm cannot have written: where it is, what it must be and what it is."""

    def __init__(self, must: str, where: str = "") -> None:
        self.must, self.where = must, where
        super().__init__(f"{where or 'the whole'} must {must}")

    def within(self, key: str) -> Unfit:
        """The same problem, with the key of the surrounding value in front."""
        inner = self.where if not self.where or self.where.startswith("[") else f".{self.where}"
        return Unfit(self.must, key + inner)


def load(path: Path, hint: Any, fix: str = "move it away") -> Any:
    """The content of a JSON file, as the annotation wants it. Raises FileNotFoundError when absent, DamagedError."""
    try:
        return reader(hint)(files.read_object(path))
    except Unfit as error:
        raise DamagedError(f"{path} must be as it was written, but is not: {error}; {fix}") from error


def exactly(hint: Any, value: Any) -> Any:
    """The value as the annotation wants it, with no unknown field and each number of exactly its type. Raises Unfit."""
    return _reader(hint, True)(value)


def reader(hint: Any) -> Read:
    """The function from a JSON value of a note to what the annotation wants; it raises Unfit."""
    return _reader(hint, False)


@functools.cache
def _reader(hint: Any, exact: bool) -> Read:
    """The reader of one annotation, built once; `object` accepts every value."""
    kind, marks = unwrap(hint)
    if kind in (object, Any):
        return lambda value: value
    if is_union(kind):
        return _optional(kind, exact)
    if dataclasses.is_dataclass(kind):
        return _section(kind, exact)
    if get_origin(kind) is tuple:
        return _items(_reader(get_args(kind)[0], exact), marks)
    if get_origin(kind) is Mapping:
        return _entries(*(_reader(arm, exact) for arm in get_args(kind)))
    return _scalar(hint, kind, marks, exact)


def _optional(kind: Any, exact: bool) -> Read:
    """Of `X | None`, the only union in what is stored."""
    (inner,) = [_reader(arm, exact) for arm in get_args(kind) if arm is not NoneType]
    return lambda value: None if value is None else inner(value)


def _section(kind: Any, exact: bool) -> Read:
    hints = field_hints(kind)
    fields = {name: _reader(hint, exact) for name, hint in hints.items()}
    later = frozenset(name for name, hint in hints.items() if any(isinstance(mark, Later) for mark in unwrap(hint)[1]))

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Unfit(f"be an object, but is {shown(value)}")
        values = {}
        for name, item in value.items():
            if name not in fields:
                if exact:
                    raise Unfit(f"have no {shown(name)}, but has")
                continue
            try:
                values[name] = fields[name](item)
            except Unfit as error:
                raise error.within(name) from None
        try:
            whole = kind(**values)
        except (TypeError, ValueError) as error:  # a field is missing, or they do not go together
            missing = next((name for name in required(kind) if name not in values), None)
            raise Unfit(f"have {missing}, but does not" if missing else f"be whole, but is not: {error}") from None
        for name in fields:  # only None, and what earlier versions did not write, may be filled in
            if values.get(name) is None and getattr(whole, name) is not None and name not in later:
                raise Unfit(f"have {name}, but does not")
        return whole

    return read


def _items(read_item: Read, marks: Sequence[Any]) -> Read:
    at_least = max((mark.at_least for mark in marks if isinstance(mark, Listed)), default=0)

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) < at_least:
            raise Unfit(f"be a list of at least {at_least}, but is {shown(value)}")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(read_item(item))
            except Unfit as error:
                raise error.within(f"[{index}]") from None
        return tuple(items)

    return read


def _entries(read_key: Read, read_value: Read) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Unfit(f"be an object, but is {shown(value)}")
        entries = {}
        for key, item in value.items():
            try:
                entries[read_key(key)] = read_value(item)
            except Unfit as error:
                raise error.within(shown(key)) from None
        return entries

    return read


def _scalar(hint: Any, kind: Any, marks: Sequence[Any], exact: bool) -> Read:
    """exact: of exactly this type, since 1, 1.0 and true are three values with three digests."""
    options = frozenset(get_args(kind))  # of a Literal
    kinds = frozenset(type(option) for option in options) or frozenset([kind])
    limits = [_limit(mark) for mark in marks if isinstance(mark, Range | Pattern)]
    limit = options.__contains__ if options else limits[0] if limits else math.isfinite if kind is float else None

    def read(value: Any) -> Any:
        if kind is float and type(value) is int and not exact:
            value = _as_float(value)
        if type(value) in kinds and (limit is None or limit(value)):
            return value
        raise Unfit(f"be {wanted(hint)}, but is {shown(value)}")

    return read


def _as_float(value: int) -> float:
    """The integer as a float; infinite, which no limit allows, where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _limit(mark: Range | Pattern) -> Callable[[Any], bool]:
    """The check of a mark on values of the right type; NaN and infinities always fail."""
    if isinstance(mark, Pattern):
        match = re.compile(mark.regex).fullmatch
        return lambda value: match(value) is not None
    low = -math.inf if mark.low is None else mark.low
    above = -math.inf if mark.above is None else mark.above
    high = sys.float_info.max if mark.high is None else mark.high
    return lambda value: low <= value <= high and value > above
