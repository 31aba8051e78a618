"""One finding of `doctor`: whether a thing is right, what was found, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass

from empslurm.errors import EmpslurmError

MIN_FREE_BYTES = 2 * 2**30
BF16_UNITS = {True: "bf16 native", False: "bf16 emulated, many times slower than fp32", None: "bf16 unknown"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. `ok` None: worth knowing, nothing to fix."""

    what: str
    ok: bool | None
    found: str
    fix: str = ""

    @classmethod
    def of(cls, what: str, error: EmpslurmError) -> Check:
        """A check from a raised error, whose text after the last semicolon is the fix."""
        words, _, fix = str(error).rpartition("; ")
        return cls(what=what, ok=False, found=words or fix, fix=fix)
