"""Canonical JSON and digests of frozen values: equal values have equal text, on every machine and Python."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON values. Raises TypeError or ValueError for what has no one spelling."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
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


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, ASCII; floats as Python's shortest round-trip text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, n_hex: int = 64) -> str:
    """The first `n_hex` hex digits of sha256 over the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:n_hex]
