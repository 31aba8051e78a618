"""From JSON values back to the frozen dataclasses they were written from, by the annotations, limits included.

`reader` of validation/reader.py reads what people write: it converts, fills in and notes every problem. What a program
wrote is read in one of two ways. An identity is read `exactly`: every field counts, and 1 is not 1.0, since a digest
stands on it. A note is read as it stands (`load`, `reader`): a newer version may say more, which is passed over, and an
integer will do for a number. Either way two kinds of fields may be left out: one that is None, and one that carries the
mark `Later`, whose default stands for what earlier versions did not write. Ten thousand cells must take a second, so
each class's reader is put together once, and ends at the first value that does not fit.
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
    """A value that cannot have been written here; says where it stands, what it must be and what it is."""

    def __init__(self, must: str, where: str = "") -> None:
        self.must, self.where = must, where
        super().__init__(f"{where or 'the whole'} must {must}")

    def within(self, key: str) -> Unfit:
        """The same, seen from around."""
        inner = self.where if not self.where or self.where.startswith("[") else f".{self.where}"
        return Unfit(self.must, key + inner)


def load(path: Path, hint: Any, fix: str = "move it away") -> Any:
    """What a JSON file holds, as the annotation wants it. Raises FileNotFoundError when absent, DamagedError."""
    try:
        return reader(hint)(files.read_object(path))
    except Unfit as error:
        raise DamagedError(f"{path} must be as it was written, but of its fields {error}; {fix}") from error


def exactly(hint: Any, value: Any) -> Any:
    """The value as the annotation wants it, every field known and every number of its very type. Raises Unfit."""
    return _reader(hint, True)(value)


def reader(hint: Any) -> Read:
    """The function from a JSON value of a note to what the annotation wants; it raises Unfit."""
    return _reader(hint, False)


@functools.cache
def _reader(hint: Any, exact: bool) -> Read:
    """`object` takes everything."""
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
            raise Unfit(f"have {missing}, but has not" if missing else f"be whole, but is not: {error}") from None
        for name in fields:  # a default must not have stood in, but for None and what earlier versions did not write
            if values.get(name) is None and getattr(whole, name) is not None and name not in later:
                raise Unfit(f"have {name}, but has not")
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
    """Exactly, of this very type: 1, 1.0 and true are three values with three digests."""
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
    """Infinite where a float cannot hold it, which no limit allows."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _limit(mark: Range | Pattern) -> Callable[[Any], bool]:
    """Whether a value of the right type holds to a mark; never for NaN and infinities."""
    if isinstance(mark, Pattern):
        match = re.compile(mark.regex).fullmatch
        return lambda value: match(value) is not None
    low = -math.inf if mark.low is None else mark.low
    above = -math.inf if mark.above is None else mark.above
    high = sys.float_info.max if mark.high is None else mark.high
    return lambda value: low <= value <= high and value > above
