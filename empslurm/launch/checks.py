"""What `doctor` says of one thing: whether it is right, what was found, and how to put it right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. `ok` None: worth knowing, nothing to fix."""

    what: str
    ok: bool | None
    found: str
    fix: str = ""
