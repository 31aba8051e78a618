"""Canonical JSON and digests of frozen values, and streams of random numbers: equal on every machine and Python."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

SCALARS = frozenset({str, int, bool, type(None)})  # exactly these types, not subclasses


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON values. Raises TypeError or ValueError where JSON has no single form."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if dataclasses.is_dataclass(kind):
        return {name: plain(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of an identity must be strings")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"an identity must hold finite numbers, but holds {value}")
        return value
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(f"an identity cannot hold {type(value).__name__}")


# One encoder: building one per call costs more than encoding a cell.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, ASCII; floats as Python's shortest round-trip text."""
    return _ENCODER.encode(plain(value))


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    """A dataclass's fields, looked up once."""
    return tuple(field.name for field in dataclasses.fields(kind))


def digest(value: Any, n_hex: int = 64) -> str:
    """The first `n_hex` hex digits of sha256 over the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:n_hex]


def digest_json(value: Any, n_hex: int = 64) -> str:
    """As `digest`, of a value that was read from JSON. Raises ValueError for NaN and infinities."""
    return hashlib.sha256(_ENCODER.encode(value).encode()).hexdigest()[:n_hex]


def stream(*key: object) -> int:
    """A 63-bit seed that is a function of the key alone, the same on every machine."""
    text = ":".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
