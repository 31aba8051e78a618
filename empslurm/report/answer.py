"""The answer of a gather: what helps and what harms each target, and warnings about the numbers.

Everything here comes from the analyses; nothing is computed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from empslurm.analysis.verdicts import OUTCOMES
from empslurm.metrics import METRICS
from empslurm.report.answer_summary import summary
from empslurm.report.contents import GroupContents
from empslurm.report.formats import Entry, Table, capital, flat, shown, text
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.headline import counted
from empslurm.report.significance import PairResult
from empslurm.report.sources import Ranked
from empslurm.report.tables import title_of, unrecorded
from empslurm.report.verdict_tables import counts
from empslurm.tasks import Registry

UNJUDGED = ("baselines", "full-data baselines")  # keys of `lacking` that name targets without a verdict
MOST_NAMED = 5  # targets that a warning names
# Verdict on the runner-up -> what it says of the best source.
LEADS = {"harms": "leads", "helps": "trails"}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One source of one target. Numbers are in the target's metric; None where unknown."""

    target: str
    target_title: str
    source: str
    source_title: str
    metric: str
    baseline: float | None  # also None for a target without one
    score: float | None  # with the source
    difference: float | None  # from the baseline; for a target without one, from the next best source
    low: float | None  # 95 % interval of the difference, before correction for many pairs
    high: float | None
    verdict: str  # as in the verdict tables; without a baseline: leads, trails, equivalent, inconclusive, undecided
    reason: str  # why undecided, else ""
    next_best: str = ""  # second best source of a target without a baseline
    next_best_title: str = ""
    next_best_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of one group at one data fraction of its targets."""

    group: str  # "" where there is only one
    fraction: float
    sentences: tuple[str, ...]  # how many pairs help and harm, why others are undecided; or why none is judged
    warnings: tuple[str, ...]  # of the whole group; only its first answer has them
    verdicts: Mapping[str, int]  # pairs by verdict; empty where no pair could be judged
    best: tuple[Change, ...]  # one per target, helped targets first
    harms: tuple[Change, ...]  # all pairs with this verdict, the largest change first
    helps: tuple[Change, ...] = ()  # the same for pairs that help
    pairs: tuple[Change, ...] = ()  # all pairs with a verdict, in the order of the verdict table
    summary: tuple[str, ...] = ()  # at most three sentences, for the first screen


def answers(contents: GroupContents) -> tuple[Answer, ...]:
    """One answer per data fraction with verdicts; where there are no verdicts, one answer that says why."""
    analyses = contents.analyses
    registry, warnings = analyses.gathered.registry, _warnings(contents)
    if not analyses.significance:
        why = analyses.lacking.get("baselines") or analyses.lacking.get("verdicts") or "no pair could be judged"
        unjudged = Answer(
            group=analyses.group.name,
            fraction=1.0,
            sentences=(f"{capital(why)}.",),
            warnings=warnings,
            verdicts={},
            best=tuple(_leader(ranked, registry) for ranked in analyses.ranked),
            harms=(),
            summary=(f"{capital(why)}.",),
        )
        return (unjudged,)
    return tuple(
        _judged(significance, analyses, () if at else warnings) for at, significance in enumerate(analyses.significance)
    )


def _judged(significance: Significance, analyses: Analyses, warnings: tuple[str, ...]) -> Answer:
    registry = analyses.gathered.registry
    metrics = {result.target: result.metric for result in significance.results}
    why = Counter(pair.verdict.reason for pair in significance.pairs if pair.verdict.verdict == "undecided")
    undecided = [f"Undecided, {n} {'pair' if n == 1 else 'pairs'}: {reason}." for reason, n in why.most_common()]

    best = best_pairs(significance.pairs)
    without = [*dict.fromkeys(metrics)]
    for pair in best:
        without.remove(pair.verdict.target)
    if without:
        undecided.append(f"No difference is defined for {_names([title_of(task, registry) for task in without])}.")

    def change(pair: PairResult) -> Change:
        return _change(pair, metrics[pair.verdict.target], registry)

    def of(verdict: str) -> tuple[Change, ...]:
        own = [pair for pair in significance.pairs if pair.verdict.verdict == verdict]
        return tuple(map(change, sorted(own, key=lambda pair: -abs(pair.improvement.gain))))

    return Answer(
        group=analyses.group.name,
        fraction=significance.fraction,
        sentences=(counted(significance), *undecided),
        warnings=warnings,
        verdicts=counts(significance.pairs),
        best=tuple(map(change, best)),
        harms=of("harms"),
        helps=of("helps"),
        pairs=tuple(map(change, significance.pairs)),
        summary=summary(significance, analyses),
    )


def best_pairs(pairs: Sequence[PairResult]) -> list[PairResult]:
    """The best source of each target: the largest gain among sources that help, or among all where none helps.

    Targets come in the order of their best source's verdict; those without any defined score are left out.
    """
    by_target: dict[str, list[PairResult]] = {}
    for pair in pairs:
        if np.isfinite(pair.improvement.gain):
            by_target.setdefault(pair.verdict.target, []).append(pair)
    best = [
        max(own, key=lambda pair: (pair.verdict.verdict == "helps", pair.improvement.gain))
        for own in by_target.values()
    ]
    return sorted(best, key=lambda pair: OUTCOMES.index(pair.verdict.verdict))


def _change(pair: PairResult, metric: str, registry: Registry) -> Change:
    verdict = pair.verdict
    return Change(
        target=verdict.target,
        target_title=title_of(verdict.target, registry),
        source=verdict.source,
        source_title=title_of(verdict.source, registry),
        metric=metric,
        baseline=_known(verdict.baseline),
        score=_known(verdict.transfer),
        difference=_known(verdict.difference),
        low=_known(verdict.low),
        high=_known(verdict.high),
        verdict=verdict.verdict,
        reason=verdict.reason,
    )


def _leader(ranked: Ranked, registry: Registry) -> Change:
    """The best source of a target without a baseline, compared with the next best."""
    best, after = ranked.best, ranked.verdicts[0]
    return Change(
        target=ranked.target,
        target_title=title_of(ranked.target, registry),
        source=best.source,
        source_title=title_of(best.source, registry),
        metric=ranked.metric,
        baseline=None,
        score=_known(best.value),
        difference=_known(-after.difference),
        low=_known(-after.high),
        high=_known(-after.low),
        verdict=LEADS.get(after.verdict, after.verdict),
        reason=after.reason,
        next_best=after.source,
        next_best_title=title_of(after.source, registry),
        next_best_score=_known(after.transfer),
    )


def _known(value: float) -> float | None:
    """A number that JSON can hold, or None. Adding 0 turns a negative zero into 0."""
    return value + 0.0 if np.isfinite(value) else None


# ---- warnings --------------------------------------------------------------------------------------------------------


def _warnings(contents: GroupContents) -> tuple[str, ...]:
    """The tables' marks and notes as sentences: a reader of the first screen does not see the tables."""
    analyses = contents.analyses
    scores = [score for table in analyses.tables for score in table.scores.values()]
    leaking = sum(score.leaks for score in scores if score.source != score.target)
    said = []
    if any(score.sample for score in scores):
        said.append("PROVISIONAL: these numbers come from the invented sample corpus; they say nothing about any task.")
    if leaking:
        said.append(f"LEAKS: in {leaking} {'pair' if leaking == 1 else 'pairs'} test texts are also training texts.")
    if analyses.significance:  # else the answer's sentence gives this reason
        lacking = analyses.lacking
        said += [f"{capital(name)}: {lacking[name]}." for name in UNJUDGED if name in lacking]
    quiet = unrecorded(analyses.tables, analyses.gathered.registry)
    return (*said, *_no_better_than_chance(contents), *([quiet] if quiet else []))


def _no_better_than_chance(contents: GroupContents) -> list[str]:
    """Baselines, at the largest data fraction, that are not shown to be above chance, as a sentence."""
    judged = contents.analyses.baselines
    most = max((table.fraction for table in contents.analyses.tables), default=1.0)
    whole = [baseline for baseline in judged if baseline.fraction == most]
    low = [title_of(baseline.target, contents.analyses.gathered.registry) for baseline in whole if not baseline.above]
    return [f"{len(low)} of {len(whole)} baselines are not shown to be above chance: {_names(low)}."] if low else []


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# ---- as a table ------------------------------------------------------------------------------------------------------


def best_table(answer: Answer, most: int) -> Table:
    """The best source of the first `most` targets, one row each; fits a terminal of 80 columns."""
    alone = any(change.next_best for change in answer.best)
    columns = {"target": "target", "source": "best source"}
    if alone:
        columns |= {"next": "next best", "scores": "next -> best"}
    else:
        columns |= {"scores": "alone -> with"}
    known = any(change.low is not None for change in answer.best)
    columns |= {"change": "change ± 95 %" if known else "change", "verdict": "against the next" if alone else "verdict"}
    rows = []
    for change in answer.best[:most]:
        row = [text(change.target_title), text(change.source_title)]
        before = change.baseline
        if alone:
            row.append(text(change.next_best_title))
            before = change.next_best_score
        row += [text(f"{_short(before)} -> {_short(change.score)}"), text(change_words(change))]
        rows.append((*row, Entry(text=change.verdict, bold=change.verdict in ("helps", "harms", "leads"))))
    return flat(name="best-sources", title="", caption=_caption(answer), columns=columns, rows=rows, n_labels=2)


def change_words(change: Change) -> str:
    """A difference ± half the width of its interval, which is symmetric."""
    words = _short(change.difference, signed=True)
    if change.low is None or change.high is None:
        return words
    return f"{words} ± {_short((change.high - change.low) / 2)}"


def _caption(answer: Answer) -> str:
    """How to read the table."""
    metrics = {change.metric: METRICS[change.metric] for change in answer.best}
    units = "; ".join(
        metric.title + ("" if metric.higher_is_better else ", lower is better") for metric in metrics.values()
    )
    if any(change.next_best for change in answer.best):
        which = "Best: by the mean over seeds; choosing it by the same scores makes its lead look too large."
    else:
        which = "Best: the largest gain, among the sources that help if any does; choosing it makes it look too large."
    known = any(change.low is not None for change in answer.best)
    return f"{capital(units)}. {'±: half the width of the 95 % interval. ' if known else ''}{which}"


def _short(value: float | None, *, signed: bool = False) -> str:
    return shown(float("nan") if value is None else value, short=True, signed=signed)
