"""Wording for readers who do not know the paper: without its names and the numbers of its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from empslurm.report.formats import Entry, Table

NAMES = (
    ("The paper's test", "The test on one seed"),
    ("Paper's test", "Test on one seed"),
    ("the paper's test", "the test on one seed"),
    ("paper's test", "test on one seed"),
)
ABOUT_THE_PAPER = re.compile(r" ?The paper (prints|gives)[^.]*\.")
# Verdict -> its sign on the page and in figures.
MARKS = {"helps": "▲", "harms": "▼", "equivalent": "=", "inconclusive": "·", "undecided": "?"}
# Key of `lacking` -> its plain name; keys that are not here concern the paper alone.
MISSING = {
    "verdicts": "verdicts",
    "baselines": "baselines",
    "full-data baselines": "full-data baselines",
    "the paper's test": "the test on one seed",
    "the seed ceiling": "the seed ceiling",
    "the choice of sources": "the choice of sources",
    "features": "features",
    "limited data (Figure 3, bottom)": "limited data",
    "Figure 2 and Table 6": "importances",
    "Figure 3": "transfer by theme",
    "themes": "themes of some tasks",
    "Figure 9": "similarity of the datasets",
    "Figure 10": "similarity of the task embeddings",
}
MOST_NAMED = 5  # names in one sentence
OF_A_TABLE = (
    "verdicts",
    "baselines",
    "full-data baselines",
    "the paper's test",
    "the choice of sources",
)  # of a table of results
OF_THEMES = ("Figure 3", "themes")
OF_RATED = ("features", "Figure 2 and Table 6", *OF_THEMES)  # also of a table, where some tasks are rated


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the groups that are compared are called."""

    one: str
    many: str

    def all_of(self, n: int) -> str:
        """All n of them."""
        return f"both {self.many}" if n == 2 else f"all {n} {self.many}"


SETTINGS = Words(one="setting", many="settings")  # of a table of results: whatever its column `setting` means
BACKBONES = Words(one="backbone", many="backbones")  # of a runs root


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def plain(text: str) -> str:
    """A text without the paper's names."""
    for name, other in NAMES:
        text = text.replace(name, other)
    return ABOUT_THE_PAPER.sub("", text).strip()


def plain_table(table: Table) -> Table:
    """A table without the paper's numbers and names."""
    return replace(
        table,
        number="",
        title=plain(table.title),
        caption=plain(table.caption),
        details=plain(table.details),
        head=tuple(tuple(plain(name) for name in line) for line in table.head),
        rows=tuple(tuple(_entry(entry) for entry in row) for row in table.rows),
    )


def _entry(entry: Entry) -> Entry:
    return replace(entry, text=plain(entry.text)) if "paper" in entry.text else entry


def plain_missing(lacking: Mapping[str, str], *, from_results: bool, rated: bool) -> dict[str, str]:
    """`lacking` under plain names, without what concerns the paper alone.

    `from_results`: for a table of results. `rated`: where tasks beside the paper's are rated.
    """
    wanted = [*OF_A_TABLE] if from_results else [name for name in MISSING if name not in OF_THEMES]
    wanted += OF_RATED if rated else ()
    return {MISSING[name]: plain(why) for name, why in lacking.items() if name in wanted}
