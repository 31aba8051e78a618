"""From JSON values back to the frozen dataclasses they were written from, by the annotations, limits included.

`typed` reads what people write: it converts, fills in and notes every problem. What a program wrote is read back
exactly or not at all; only a field that is None may be left out. Ten thousand cells must take a second, so each class's
reader is put together once, and ends at the first value that does not fit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import sys
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from empslurm.validation.constraints import Listed, Pattern, Range
from empslurm.validation.reader import field_hints, is_union, shown, unwrap, wanted

Read = Callable[[Any], Any]


class Unfit(ValueError):
    """A value that cannot have been written here; says where it stands, what it must be and what it is."""

    def __init__(self, must: str, where: str = "") -> None:
        self.must, self.where = must, where
        super().__init__(f"{where or 'the whole'} must {must}")

    def within(self, place: str) -> Unfit:
        """The same, seen from around."""
        inner = self.where if not self.where or self.where.startswith("[") else f".{self.where}"
        return Unfit(self.must, place + inner)


@functools.cache
def reader(hint: Any) -> Read:
    """The function from a JSON value to what the annotation wants; it raises Unfit. `object` takes everything."""
    kind, marks = unwrap(hint)
    if kind is object:
        return lambda value: value
    if is_union(kind):
        return _optional(kind)
    if dataclasses.is_dataclass(kind):
        return _section(kind)
    if get_origin(kind) is tuple:
        return _items(get_args(kind)[0], marks)
    return _scalar(hint, kind, marks)


def _optional(kind: Any) -> Read:
    """Of `X | None`, the only union in what is stored."""
    (inner,) = [reader(arm) for arm in get_args(kind) if arm is not NoneType]
    return lambda value: None if value is None else inner(value)


def _section(kind: Any) -> Read:
    fields = {name: reader(hint) for name, hint in field_hints(kind).items()}

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Unfit(f"be an object, but is {shown(value)}")
        made = {}
        for name, given in value.items():
            try:
                made[name] = fields[name](given)
            except KeyError:
                raise Unfit(f"have no {shown(name)}, but has") from None
            except Unfit as error:
                raise error.within(name) from None
        try:
            whole = kind(**made)
        except (TypeError, ValueError) as error:  # a field is missing, or they do not go together
            raise Unfit(f"be whole, but is not: {error}") from None
        for name in fields:  # what is None must not have been filled in
            if made.get(name) is None and getattr(whole, name) is not None:
                raise Unfit(f"have {name}, but has not")
        return whole

    return read


def _items(hint: Any, marks: Sequence[Any]) -> Read:
    read_item = reader(hint)
    at_least = max((mark.at_least for mark in marks if isinstance(mark, Listed)), default=0)

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) < at_least:
            raise Unfit(f"be a list of at least {at_least}, but is {shown(value)}")
        made = []
        for place, item in enumerate(value):
            try:
                made.append(read_item(item))
            except Unfit as error:
                raise error.within(f"[{place}]") from None
        return tuple(made)

    return read


def _scalar(hint: Any, kind: Any, marks: Sequence[Any]) -> Read:
    """Of this very type: 1, 1.0 and true are three values with three digests."""
    options = frozenset(get_args(kind))  # of a Literal
    kinds = frozenset(type(option) for option in options) or frozenset([kind])
    limits = [_limit(mark) for mark in marks if isinstance(mark, Range | Pattern)]
    limit = options.__contains__ if options else limits[0] if limits else math.isfinite if kind is float else None

    def read(value: Any) -> Any:
        if type(value) in kinds and (limit is None or limit(value)):
            return value
        raise Unfit(f"be {wanted(hint)}, but is {shown(value)}")

    return read


def _limit(mark: Range | Pattern) -> Callable[[Any], bool]:
    """Whether a value of the right type holds to a mark; never for NaN and infinities."""
    if isinstance(mark, Pattern):
        match = re.compile(mark.regex).fullmatch
        return lambda value: match(value) is not None
    low = -math.inf if mark.low is None else mark.low
    above = -math.inf if mark.above is None else mark.above
    high = sys.float_info.max if mark.high is None else mark.high
    return lambda value: low <= value <= high and value > above
