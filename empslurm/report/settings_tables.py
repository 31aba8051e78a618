"""Settings compared, as tables and as sentences: on how many a verdict holds, whether gains differ, which source leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from empslurm.analysis.verdicts import OUTCOMES
from empslurm.report.formats import Entry, Table, capital, flat, number, shown, text, whole
from empslurm.report.group_results import Analyses
from empslurm.report.setting_interactions import SettingInteractions, interactions_of
from empslurm.report.setting_sources import SettingSources, sources_of
from empslurm.report.settings import Agreement, Held, Pair, agreements, held, pairs_of, words_of
from empslurm.report.significance import PairResult
from empslurm.report.source_rank_tables import rank_text, unit_words
from empslurm.report.source_ranks import PERCENT
from empslurm.report.tables import title_of
from empslurm.report.wording import Words
from empslurm.tasks import Registry

MOST_MAIN = 8  # columns of a table that are shown first
OUTCOME_WORDS = {"differs": "differs", "not shown": "not shown to differ", "not tested": "not tested"}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All settings side by side."""

    groups: Mapping[str, Analyses]
    pairs: Mapping[str, Mapping[Pair, PairResult]]  # setting -> its pairs
    words: Words
    held: tuple[Held, ...]
    interactions: SettingInteractions
    sources: SettingSources | None

    @property
    def registry(self) -> Registry:
        """Of all tasks."""
        return next(iter(self.groups.values())).gathered.registry


@dataclass(frozen=True, kw_only=True)
class PairOverSettings:
    """One pair for programs: the counts of its verdicts, and its interaction with the setting; None: not tested."""

    source: str
    target: str
    holds: str
    n_settings: int
    counts: Mapping[str, int]  # verdict -> settings
    n_not_compared: int
    interaction: str
    interaction_p: float | None
    interaction_p_bh: float | None
    reason: str


def compare(groups: Mapping[str, Analyses]) -> Compared | None:
    """Compare the settings (`settings.named`); None without two of them."""
    if not groups:
        return None
    pairs = {name: pairs_of(analyses) for name, analyses in groups.items()}
    words = words_of(groups)
    return Compared(
        groups=groups,
        pairs=pairs,
        words=words,
        held=held(pairs),
        interactions=interactions_of(groups, words),
        sources=sources_of(groups),
    )


def over_settings(compared: Compared) -> tuple[PairOverSettings, ...]:
    """Every pair, in the order of the table `settings-pairs`."""
    found = {(pair.source, pair.target): pair for pair in compared.interactions.pairs}
    rows = []
    for pair in compared.held:
        interaction = found[pair.source, pair.target]
        p_values = (interaction.p_value, interaction.p_bh)
        p_value, p_bh = (float(p) if np.isfinite(p) else None for p in p_values)
        rows.append(
            PairOverSettings(
                source=pair.source,
                target=pair.target,
                holds=pair.words,
                n_settings=pair.n_settings,
                counts={outcome: pair.count(outcome) for outcome in OUTCOMES},
                n_not_compared=pair.n_without,
                interaction=OUTCOME_WORDS[interaction.outcome],
                interaction_p=p_value,
                interaction_p_bh=p_bh,
                reason=interaction.reason,
            )
        )
    return tuple(rows)


# ---- tables ---------------------------------------------------------------------------------------------------------


def settings_tables(compared: Compared | None) -> tuple[Table, ...]:
    """Rows: a setting; two settings; a pair with all settings; a pair's interaction; a variance part; a source."""
    if compared is None:
        return ()
    spearman = compared.sources.spearman if compared.sources else {}
    tables = (
        _summary(compared),
        _agreement_table(agreements(compared.pairs), compared.words, spearman),
        _pairs_table(compared),
        _interaction_table(compared),
        _variance_table(compared),
        _sources_table(compared),
    )
    return tuple(table for table in tables if table is not None)


def _summary(compared: Compared) -> Table:
    rows = []
    for name, own in compared.pairs.items():
        tally = _tally(own)
        changes = np.array([pair.improvement.percent for pair in own.values()])
        changes = changes[np.isfinite(changes)]
        middle = float(np.median(changes)) if len(changes) else float("nan")
        gains = np.array([pair.improvement.gain for pair in own.values()])
        gains = gains[np.isfinite(gains)]
        share = float((gains > 0).mean()) if len(gains) else float("nan")
        counted = (whole(tally[outcome]) for outcome in OUTCOMES)
        rows.append((text(name), whole(len(own)), *counted, number(middle, 1, signed=True), number(share, 2)))
    there = [outcome for outcome in OUTCOMES if any(_tally(own)[outcome] for own in compared.pairs.values())]
    one, many = compared.words.one, compared.words.many
    empty = [name for name, own in compared.pairs.items() if not own]
    none = f" Without a baseline and a source, and so without verdicts: {', '.join(empty)}." if empty else ""
    return flat(
        name="settings",
        title=f"{capital(many)} compared",
        caption=f"Each {one} is tested separately, against its own baselines, with a correction over its own pairs."
        + none,
        details="Median %: change in percent of the baseline, over pairs with a positive baseline; positive is better.",
        columns={
            "setting": one,
            "n_pairs": "pairs",
            **{outcome.replace(" ", "_"): outcome for outcome in OUTCOMES},
            "median_percent": "median %",
            "share_above": "share above the baseline",
        },
        rows=rows,
        main=("setting", "n_pairs", *there, "median_percent") if len(there) < 5 else (),
    )


def _tally(own: Mapping[Pair, PairResult]) -> dict[str, int]:
    verdicts = [pair.verdict.verdict for pair in own.values()]
    return {outcome: verdicts.count(outcome) for outcome in OUTCOMES}


def _agreement_table(
    compared: Sequence[Agreement], words: Words, spearman: Mapping[tuple[str, str], float]
) -> Table:
    rows = [
        (
            text(agreement.first),
            text(agreement.second),
            whole(agreement.n_shared),
            number(agreement.spearman, 2),
            number(spearman.get((agreement.first, agreement.second), float("nan")), 2),
            number(agreement.n_same_side / agreement.n_compared if agreement.n_compared else float("nan"), 2),
            whole(agreement.n_opposed),
        )
        for agreement in compared
    ]
    return flat(
        name="settings-agreement",
        title=f"Do {words.many} agree on which source helps?",
        caption="Over the pairs that both have: Spearman's r of the percent changes, of the sources' mean gains, the "
        "share of pairs on the same side of the baseline, and pairs that help in one and harm in the other.",
        details="Noise alone lowers both correlations, so an r below 1 does not show a disagreement.",
        columns={
            "one": words.one,
            "two": f"other {words.one}",
            "n_shared": "shared pairs",
            "spearman": "Spearman's r",
            "spearman_sources": "r of sources",
            "same_side": "same side",
            "n_opposed": "opposed verdicts",
        },
        rows=rows,
        n_labels=2,
    )


def _pairs_table(compared: Compared) -> Table:
    words, registry = compared.words, compared.registry
    found = {(pair.source, pair.target): pair for pair in compared.interactions.pairs}
    rows = []
    for pair in compared.held:
        entries: list[Entry] = []
        for own in compared.pairs.values():
            result = own.get((pair.source, pair.target))
            entries.append(number(result.improvement.percent if result else float("nan"), 1, signed=True))
            entries.append(text(result.verdict.verdict if result else None))
        counted = (whole(n) for n in (*(pair.count(outcome) for outcome in OUTCOMES), pair.n_without))
        titles = (text(title_of(pair.source, registry)), text(title_of(pair.target, registry)))
        interaction = text(OUTCOME_WORDS[found[pair.source, pair.target].outcome])
        rows.append((*titles, text(pair.agreement), text(pair.words), *entries, interaction, *counted))
    columns = {"source": "source", "target": "target", "agreement": words.many, "holds": "holds on"}
    for name in compared.pairs:
        columns |= {f"{name}: percent": f"{name}: %", f"{name}: verdict": f"{name}: verdict"}
    columns["interaction"] = "gains differ"
    columns |= {f"n_{outcome}": outcome for outcome in OUTCOMES} | {"n_not_compared": "not compared"}
    each = [f"{name}: {what}" for name in compared.pairs for what in ("percent", "verdict")]
    verdicts = [name for name in each if name.endswith(": verdict")]
    main = ("agreement", "holds", *verdicts) if len(compared.pairs) > 2 else ("holds", *each)
    return flat(
        name="settings-pairs",
        title=f"On how many {words.many} does each pair hold?",
        caption=f"Change in percent of the baseline (positive is better), and the verdict within the {words.one}. "
        f"\"Holds on k of {len(compared.pairs)}\" counts these verdicts; inconclusive and undecided do not mean that there "
        "is no effect.",
        details=f"A pair that helps on one {words.one} and is inconclusive on another may have the same gain on both: "
        f"whether gains differ is tested in settings-interaction. The last columns count the {words.many} by verdict.",
        columns=columns,
        rows=rows,
        n_labels=4,
        main=("source", "target", *main[: MOST_MAIN - 3], "interaction"),
    )


def _interaction_table(compared: Compared) -> Table | None:
    found, words, registry = compared.interactions, compared.words, compared.registry
    if not found.pairs:
        return None
    rows = [
        (
            text(title_of(pair.source, registry)),
            text(title_of(pair.target, registry)),
            text(OUTCOME_WORDS[pair.outcome]),
            text(pair.highest),
            text(pair.lowest),
            number(pair.difference, 3, signed=True),
            number(pair.low, 3, signed=True),
            number(pair.high, 3, signed=True),
            number(pair.detectable, 3),
            number(pair.statistic, 2),
            number(pair.freedom, 0),
            number(pair.error_freedom, 1),
            number(pair.p_value, 3),
            number(pair.p_bh, 3),
            whole(pair.n_tested),
            text(pair.reason),
        )
        for pair in found.pairs
    ]
    two = len(compared.pairs) == 2
    return flat(
        name="settings-interaction",
        title=f"Do gains differ between {words.many}?",
        caption=f"Welch's test of each pair's gains, with seeds as noise: {_tested(found)}. \"Not shown to differ\" does "
        "not mean equal: see the interval and `detectable`.",
        details=f"The errors are those of the verdicts, and those of different {words.many} are taken as independent. "
        f"Difference: largest minus smallest gain, in the target's metric. Interval and detectable difference (seen with "
        f"probability .8 at .05, before correction) where two {words.many} are compared. Corrected p: Benjamini-Hochberg "
        "over all tested pairs.",
        columns={
            "source": "source",
            "target": "target",
            "outcome": "gains",
            "highest": "largest in",
            "lowest": "smallest in",
            "difference": "difference",
            "low": "low",
            "high": "high",
            "detectable": "detectable",
            "statistic": "F",
            "freedom": "df",
            "error_freedom": "df of error",
            "p_value": "p",
            "p_bh": "corrected p",
            "n_settings": f"{words.many} tested",
            "reason": "left out",
        },
        rows=rows,
        n_labels=5,
        main=("source", "target", "outcome", "highest", "difference", *(("low", "high") if two else ("lowest",)), "p_bh"),
    )


def _tested(found: SettingInteractions) -> str:
    """How many pairs are tested, and why others are not."""
    untested = found.reasons
    n_tested = len(found.pairs) - untested.total()
    if not untested:
        return f"{n_tested:,} pairs tested"
    reasons = "; ".join(f"{n:,}: {why}" for why, n in untested.most_common())
    return f"{n_tested:,} of {len(found.pairs):,} pairs tested; the others cannot be ({reasons})"


def _variance_table(compared: Compared) -> Table | None:
    parts, words = compared.interactions.parts, compared.words
    if parts is None:
        return None
    named = (
        (f"common to {words.all_of(parts.n_settings)}", parts.common),
        (f"pair x {words.one}", parts.by_setting),
        ("noise of a single gain", parts.noise),
    )
    total = sum(part.variance for _, part in named)
    rows = [
        (
            text(name),
            number(part.variance / total, 2),
            *(number(float(np.sqrt(value)), 3) for value in (part.variance, part.low, part.high)),
        )
        for name, part in named
    ]
    apart = compared.interactions.n_apart
    left = (
        f" {apart:,} tested {'pair is' if apart == 1 else 'pairs are'} left out: not in all of them, or measured as an error."
        if apart
        else ""
    )
    return flat(
        name="settings-variance",
        title="What makes the gains of pairs differ?",
        caption=f"The variance of gains between {parts.n_pairs:,} pairs within a {words.one}, in three parts, as shares "
        f"and as standard deviations with 95 % intervals.{left}",
        details=f"Pairs and {words.many} are fixed, only noise is random. What moves all pairs of one {words.one} alike "
        f"is in no part. What test examples do to all {words.many} alike counts as common.",
        columns={"part": "part", "share": "share", "deviation": "standard deviation", "low": "low", "high": "high"},
        rows=rows,
    )


def _sources_table(compared: Compared) -> Table | None:
    sources, words, registry = compared.sources, compared.words, compared.registry
    if sources is None:
        return None
    ranks = sources.ranks
    digits = 1 if ranks.unit == PERCENT else 3
    places = [row.place for row in ranks.sources]
    rows = [
        (
            Entry(text=f"{row.place}{'=' if places.count(row.place) > 1 else ''}", raw=row.place),
            text(title_of(row.source, registry)),
            *(number(value, digits, signed=True) for value in (row.effect, row.low, row.high)),
            text(rank_text(row)),
            *(number(own.get(row.source, float("nan")), 0) for own in sources.by_setting.values()),
            whole(sources.n_settings[row.source]),
            whole(row.n_targets),
            whole(row.n_helps),
            whole(row.n_harms),
        )
        for row in ranks.sources
    ]
    said = f" {capital(ranks.reason)}." if ranks.reason else ""
    agreed = (
        f" Kendall's W of the ranks of {sources.n_common:,} sources is {shown(sources.concordance, 2)} (1: the same order "
        "everywhere; noise lowers it)."
        if np.isfinite(sources.concordance)
        else ""
    )
    return flat(
        name="settings-sources",
        title=f"Which sources help most over {words.all_of(len(compared.groups))}?",
        caption=f"Mean gain over targets and {words.many}, {unit_words(ranks)}; positive is better.{agreed}{said}",
        details=f"The {words.many} are fixed: the 95 % intervals are about these, and only noise is random. The fit is "
        f"gain = effect of the target in this {words.one} + effect of the source. Rank: from simultaneous 95 % intervals "
        "of all differences between sources (Mogstad, Romano, Shaikh and Wilhelm 2024). Place: 1 + the number of sources "
        f"shown to help more. Gains: targets, summed over {words.many}; so are helps and harms.",
        columns={
            "place": "place",
            "source": "source",
            "effect": "mean gain",
            "low": "low",
            "high": "high",
            "rank": "rank",
            **{f"{name}: rank": f"{name}: rank" for name in sources.by_setting},
            "n_settings": words.many,
            "n_gains": "gains",
            "n_helps": "helps",
            "n_harms": "harms",
        },
        rows=rows,
        n_labels=2,
        main=("place", "source", "effect", "low", "high", "rank", *(f"{name}: rank" for name in [*sources.by_setting][:2])),
    )


# ---- sentences ------------------------------------------------------------------------------------------------------


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
    if not shared:
        return f"No pair is compared on two of {n} {words.many}, so nothing can be said about whether a verdict holds."
    two = n == 2
    where = f"on {words.all_of(2)}" if two else f"on at least two of {n} {words.many}"
    every, some = ("on both", "on one only") if two else ("on every one that has them", "on some only")
    opposed = sum({"helps", "harms"} <= {*pair.verdicts} for pair in shared)
    clauses = []
    for outcome, singular, plural in (("helps", "helps", "help"), ("harms", "harms", "harm")):
        other = "harms" if outcome == "helps" else "helps"
        always = sum({*pair.verdicts} == {outcome} for pair in shared)
        partly = sum(outcome in pair.verdicts and {*pair.verdicts} != {outcome} and other not in pair.verdicts for pair in shared)
        clauses.append(f"{always:,} {singular if always == 1 else plural} {every}, {partly:,} {some}")
    contradict = f"{opposed:,} {'helps' if opposed == 1 else 'help'} on one and {'harms' if opposed == 1 else 'harm'} on another"
    more = f" {alone:,} more {'is' if alone == 1 else 'are'} compared on one {words.one} only." if alone else ""
    return (
        f"Of {len(shared):,} {'pair' if len(shared) == 1 else 'pairs'} compared {where}, {clauses[0]}; {clauses[1]}; "
        f"{contradict}.{more}"
    )


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
    why = f"; {rest:,} cannot be tested ({'; '.join(untested)})" if rest else ""
    return (
        f"Gains differ between {words.many} by more than noise for {differ:,} of {n_tested:,} tested "
        f"{'pair' if n_tested == 1 else 'pairs'}{why}; for the others no difference is shown, which does not mean that "
        "there is none."
        if differ < n_tested or rest
        else f"Gains differ between {words.many} by more than noise for all {n_tested:,} tested pairs."
    )


def _variance_sentence(compared: Compared) -> str:
    parts = compared.interactions.parts
    if parts is None:
        return ""
    share, low, high = parts.share
    if not np.isfinite(share):
        return "Gains of different pairs differ by no more than noise."
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
    return (
        f"Over {compared.words.all_of(len(compared.groups))}, {title_of(best.source, compared.registry)} has the largest "
        f"mean gain ({gain})."
    )


def _rank_sentence(compared: Compared) -> str:
    ranks = [agreement.spearman for agreement in agreements(compared.pairs) if np.isfinite(agreement.spearman)]
    if not ranks:
        return ""
    return (
        f"Between two {compared.words.many}, Spearman's r of the pairs' changes is {shown(float(np.median(ranks)), 2)} "
        f"(median of {len(ranks):,} {'comparison' if len(ranks) == 1 else 'comparisons'})."
    )
