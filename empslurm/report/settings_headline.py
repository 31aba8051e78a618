"""The findings over all settings, as sentences: the answer first."""

from __future__ import annotations

import numpy as np

from empslurm.report.formats import shown
from empslurm.report.settings import agreements
from empslurm.report.settings_compared import Compared
from empslurm.report.source_rank_tables import rank_text
from empslurm.report.source_ranks import PERCENT
from empslurm.report.tables import title_of

UNTOLD = 0.005  # an interval within this of 0 and of 1 says nothing


def headline(compared: Compared | None) -> tuple[str, ...]:
    """The findings over all settings, the answer first; empty without settings."""
    if compared is None:
        return ()
    said = (
        _holds_sentence(compared),
        _interaction_sentence(compared),
        _variance_sentence(compared),
        _source_sentence(compared),
        _rank_sentence(compared),
    )
    return tuple(filter(None, said))


def _holds_sentence(compared: Compared) -> str:
    words, n = compared.words, len(compared.pairs)
    shared = [pair for pair in compared.held if len(pair.verdicts) > 1]
    alone = len(compared.held) - len(shared)
    note = f" {said}" if (said := compared.level.note(words)) else ""
    if not shared:
        return (
            f"No pair is compared on two of {n} {words.many}, so nothing can be said about whether a verdict holds."
            f"{note}"
        )
    two = n == 2
    where = f"on {words.all_of(2)}" if two else f"on at least two of {n} {words.many}"
    more = f" {alone:,} more {'is' if alone == 1 else 'are'} compared on one {words.one} only." if alone else ""
    called = [pair for pair in shared if {"helps", "harms"} & {*pair.verdicts}]
    pairs = f"{len(shared):,} {'pair' if len(shared) == 1 else 'pairs'} compared {where}"
    if not called:
        return f"None of {pairs} is shown to help or to harm on {'either' if two else 'any'}.{more}{note}"
    every, some = ("on both", "on one") if two else ("on every one that has them", "on some")
    rest = "the other" if two else "the others"
    clauses = []
    for outcome, many in (("helps", "help"), ("harms", "harm")):
        other = "harms" if outcome == "helps" else "helps"
        always = sum({*pair.verdicts} == {outcome} for pair in called)
        partly = sum(outcome in pair.verdicts and other not in pair.verdicts for pair in called) - always
        if always:
            clauses.append(f"{always:,} {outcome if always == 1 else many} {every}")
        if partly:
            clauses.append(f"{partly:,} {outcome if partly == 1 else many} {some}, which is not shown on {rest}")
        if not any(outcome in pair.verdicts for pair in called):
            clauses.append(f"none {outcome} on {'either' if two else 'any'}")
    opposed = sum({"helps", "harms"} <= {*pair.verdicts} for pair in called)
    if opposed:
        one, another = ("helps", "harms") if opposed == 1 else ("help", "harm")
        clauses.append(f"{opposed:,} {one} on one and {another} on {'the other' if two else 'another'}")
    return f"Of {pairs}, {'; '.join(clauses)}.{more}{note}"


def _interaction_sentence(compared: Compared) -> str:
    found, words = compared.interactions, compared.words
    differ, untested = len(found.with_outcome("differs")), found.reasons
    n_tested = len(found.pairs) - untested.total()
    if not found.pairs:
        return ""
    if not n_tested:
        reasons = "; ".join(untested)
        return f"Whether gains differ between {words.many} cannot be tested for any pair: {reasons}."
    rest = untested.total()
    pairs = f"{n_tested:,} tested {'pair' if n_tested == 1 else 'pairs'}"
    if differ:
        said = f"Gains differ between {words.many} by more than noise for {differ:,} of {pairs}"
        if differ < n_tested:
            said += "; for the rest of these no difference is shown, which does not mean that there is none"
    else:
        said = (
            f"Gains are not shown to differ between {words.many} for any of {pairs}, which does not mean that they are "
            "equal"
        )
    if rest:
        said += f"; {rest:,} more cannot be tested ({'; '.join(untested)})"
    return f"{said}."


def _variance_sentence(compared: Compared) -> str:
    parts = compared.interactions.parts
    if parts is None:
        return ""
    share, low, high = parts.share
    if not np.isfinite(share):
        return "Gains of different pairs differ by no more than noise."
    if low < UNTOLD and high > 1 - UNTOLD:
        return (
            f"How much of what makes the gains of {parts.n_pairs:,} pairs differ is common to "
            f"{compared.words.all_of(parts.n_settings)} cannot be told: the 95 % interval is 0 to 100 %."
        )
    return (
        f"Of what makes the gains of {parts.n_pairs:,} pairs differ beyond noise, {100 * share:.0f} % is common to "
        f"{compared.words.all_of(parts.n_settings)} (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
    )


def _source_sentence(compared: Compared) -> str:
    sources = compared.sources
    if sources is None:
        return ""
    ranks = sources.ranks
    best = max((row for row in ranks.sources if np.isfinite(row.effect)), key=lambda row: row.effect)
    digits, percent = (1, " %") if ranks.unit == PERCENT else (3, "")
    gain = f"{shown(best.effect, digits, signed=True)}{percent}"
    if best.known:
        ends = " to ".join(shown(end, digits, signed=True) for end in (best.low, best.high))
        gain += f", 95 % interval {ends}; rank {rank_text(best)} of {len(ranks.sources)}"
    name, over = title_of(best.source, compared.registry), compared.over(sources.n_with_gains)
    if best.effect <= 0:
        return f"Over {over}, no source has a mean gain above 0; the nearest is {name} ({gain})."
    n_own = sources.n_settings[best.source]
    only = f" It has gains on {compared.over(n_own)} only." if n_own < sources.n_with_gains else ""
    return f"Over {over}, {name} has the largest mean gain ({gain}).{only}"


def _rank_sentence(compared: Compared) -> str:
    ranks = [agreement.spearman for agreement in agreements(compared.pairs) if np.isfinite(agreement.spearman)]
    if not ranks:
        return ""
    median = shown(float(np.median(ranks)), 2)
    of = f" (median of {len(ranks):,} comparisons)" if len(ranks) > 1 else ""
    return f"Spearman's r of the pairs' changes between two {compared.words.many} is {median}{of}."
