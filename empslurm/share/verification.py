"""What a reviewer's check says: the answer in words, and one page of what was checked."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from empslurm.share.checks import KINDS, Checked, Finding, such
from empslurm.share.printed import COMPARED
from empslurm.share.retrained import FAILED, MOST_OF_SCORE, Retrained

SEALS = (
    "A seal shows that nothing was changed after training, not that the training was honest: whoever can write the "
    "runs root can make new seals. Only training again shows that."
)
NOT_TRAINED = "No cell was trained again: --retrain 3 would draw three at random."
# Kind of finding -> how several of it are counted in the answer: one, many.
COUNTED = {
    "refused": ("1 result fails its check", "{:,} results fail their check"),
    "older": ("the tables are older than the results", "the tables are older than the results"),
    "edited": ("1 file was changed after gather wrote it", "{:,} files were changed after gather wrote them"),
    "missing": ("1 file is missing", "{:,} files are missing"),
    "differs": ("1 file does not follow from the results", "{:,} files do not follow from the results"),
    "retrained": ("1 cell does not train to its result again", "{:,} cells do not train to their results again"),
}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All of a check. `asked`: what `verify` was given, to repeat it."""

    checked: Checked
    retrained: tuple[Retrained, ...]
    unchecked: tuple[str, ...]  # cells that could not be trained again here
    asked: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What does not agree, causes first."""
        wrong = [Finding(kind="retrained", where=one.cell, text=one.text) for one in self.retrained if not one.agrees]
        return (*self.checked.findings, *wrong)

    @property
    def n_files(self) -> int:
        """Files that were compared."""
        return sum(self.checked.n_files.values())

    @property
    def agrees(self) -> bool:
        """Whether something was checked, and all of it agrees."""
        return not self.findings and self.checked.n_results > 0

    @property
    def repeat(self) -> str:
        """The command that trains the same cells again; "" where none was."""
        if not self.retrained:
            return ""
        return f"empslurm verify {shlex.quote(self.asked)} --retrain {','.join(one.cell for one in self.retrained)}"

    @property
    def limits(self) -> tuple[str, ...]:
        """What the check could not show."""
        left = self.checked.n_planned - self.checked.n_results - self.checked.n_refused
        words = "1 planned cell has no result yet" if left == 1 else f"{left:,} planned cells have no result yet"
        return (
            *([f"{words}."] if left > 0 else []),
            *self.checked.unchecked,
            *self.unchecked,
            *([] if self.retrained or self.unchecked else [NOT_TRAINED]),
            SEALS,
        )


def answer(made: Verification) -> tuple[str, ...]:
    """The answer, then how much was checked."""
    checked = made.checked
    again = _cells(sum(one.agrees for one in made.retrained))
    files = f"{made.n_files:,} files" if made.n_files else "no tables"
    trained = f", {again} trained again" if made.retrained else ""
    amount = f"{checked.n_results:,} results, {files}{trained}"
    if made.agrees:
        return (f"Everything agrees: {amount}.",)
    if not made.findings:
        return (f"No cell of {checked.name} has a result here, so nothing could be checked.",)
    counts = Counter(finding.kind for finding in made.findings)
    parts = [COUNTED[kind][counts[kind] > 1].format(counts[kind]) for kind in KINDS if counts[kind]]
    n_follow = len(checked.follows)
    words = "1 other file differs" if n_follow == 1 else f"{n_follow:,} other files differ"
    follows = f" {words} because of that." if n_follow else ""
    honest = [one for one in made.retrained if one.agrees]
    confirmed = (
        f" {_cells(len(honest))} trained again with the same outcome: {such([one.cell for one in honest])}."
        if honest
        else ""
    )
    first = "; ".join(parts)
    return (f"{first[:1].upper()}{first[1:]}.{follows}{confirmed}", f"The rest agrees. Checked: {amount}.")


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n:,} cells"


def page(made: Verification) -> str:
    """The page: what does not agree, what was checked and how, and what that does not show."""
    from empslurm.report.page_data import page_data
    from empslurm.report.summary import versions
    from empslurm.report.templating import document

    checked = made.checked
    return document(
        "verification.html",
        title=f"empslurm: check of {checked.name}",
        heading=f"Check of {checked.name}",
        answer=answer(made),
        facts=[
            (f"{checked.n_results:,}", "results whose seals and scores agree"),
            (f"{made.n_files:,}", "files that were made again and compared"),
            (f"{len(made.retrained):,}", "cells that were trained again"),
            (f"{len(made.findings):,}", "findings"),
        ],
        groups=_groups(made.findings),
        follows=checked.follows,
        checked=table(made),
        options=checked.options,
        retrained=made.retrained,
        most=MOST_OF_SCORE,
        repeat=made.repeat,
        limits=made.limits,
        cautions=checked.cautions,
        versions={"time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), **versions()},
        data=page_data([], ()),
    )


def _groups(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {"title": words[:1].upper() + words[1:], "findings": own}
        for kind, words in KINDS.items()
        if (own := [finding for finding in findings if finding.kind == kind])
    ]


def table(made: Verification) -> list[tuple[str, str, str]]:
    """What was checked, how, and how many of it."""
    checked = made.checked
    n_read = checked.n_results + checked.n_refused
    rows = [
        ("results", "seal, and the checksum of every file, from their bytes", f"{n_read:,}"),
        ("scores", "computed again from the predictions, to nine digits", f"{checked.n_scores:,}"),
    ]
    ways = {way.kind: way.how for way in COMPARED.values()}
    rows += [(kind, ways.get(kind, "every byte"), f"{n:,}") for kind, n in checked.n_files.items()]
    trained = [one for one in made.retrained if one.outcome != FAILED]
    if trained:
        rows.append(("cells", "trained again; bits or scores compared", f"{len(trained):,}"))
    return rows
