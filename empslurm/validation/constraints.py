"""What a field must satisfy beyond its type, and what it means, as marks in `Annotated`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Doc:
    """What a field is, its unit, and the reason for its default: what an editor shows beside the key."""

    text: str


@dataclass(frozen=True)
class Key:
    """The key of a field in JSON, where it cannot be a Python name."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number. `low` and `high` are allowed themselves, `above` is not."""

    low: float | None = None
    above: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the value lies within the bounds."""
        return (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
        )

    def __str__(self) -> str:
        """The bounds in words, such as `above 0 and at most 1`."""
        parts = (("at least", self.low), ("above", self.above), ("at most", self.high))
        return " and ".join(f"{words} {bound:,.15g}" for words, bound in parts if bound is not None)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A string that `regex` must match as a whole; in errors, `words` describes it and `fix` says what to write."""

    regex: str
    words: str
    fix: str = ""  # empty: a similar string that matches, where there is one

    def holds(self, value: str) -> bool:
        """Whether the whole string matches."""
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A list's least length, whether its items must differ, and what to write instead of a single value."""

    at_least: int = 1
    unique: bool = True
    fix: str = ""  # empty: the value as the one item, where it can be one


@dataclass(frozen=True, kw_only=True)
class Partial:
    """A mapping that holds any of the fields of `section`, laid over values from elsewhere."""

    section: type


@dataclass(frozen=True, kw_only=True)
class Later:
    """A stored field that earlier versions did not write; where it is absent, it has its default."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Whole minutes, or Slurm's `HH:MM:SS` and `D-HH:MM:SS`, rounded up to minutes."""

    regex: str = r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d):([0-5]\d)"

    def minutes(self, text: str) -> int | None:
        """The minutes of Slurm's form, None where the text is not one."""
        match = re.fullmatch(self.regex, text, re.ASCII)
        if match is None:
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return (days * 24 + hours) * 60 + minutes + (seconds > 0)


# Ids of tasks and datasets, which are parts of cells' ids.
Name = Annotated[str, Pattern(regex=r"[a-z][a-z0-9_]{0,47}", words="lower-case letters, digits, _ (at most 48)")]
Kind = Literal["classification", "regression"]  # of a task
