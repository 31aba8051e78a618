"""Tables of the settings compared: on how many each pair holds, whether gains differ, and which source leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from empslurm.analysis.verdicts import OUTCOMES
from empslurm.report.formats import Entry, Table, capital, flat, number, shown, text, whole
from empslurm.report.setting_interactions import SettingInteractions
from empslurm.report.settings import Agreement, Pair, agreements
from empslurm.report.settings_compared import OUTCOME_WORDS, Compared
from empslurm.report.significance import PairResult
from empslurm.report.source_rank_tables import rank_text, unit_words
from empslurm.report.source_ranks import PERCENT
from empslurm.report.tables import title_of
from empslurm.report.wording import Words

MOST_MAIN = 8  # columns of a table that are shown first


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
    note = f" {said}" if (said := compared.level.note(compared.words)) else ""
    none = (
        f" Without a baseline and a source{compared.level.amount}, and so without verdicts: {', '.join(empty)}."
        if empty
        else ""
    )
    return flat(
        name="settings",
        title=f"{capital(many)} compared",
        caption=f"Each {one} is tested separately, against its own baselines, with a correction over its own pairs."
        + note
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


def _agreement_table(compared: Sequence[Agreement], words: Words, spearman: Mapping[tuple[str, str], float]) -> Table:
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
            gain, percent = (result.improvement.gain, result.improvement.percent) if result else (float("nan"),) * 2
            entries += [number(gain, 3, signed=True), text(result.verdict.verdict if result else None)]
            entries.append(number(percent, 1, signed=True))
        counted = (whole(n) for n in (*(pair.count(outcome) for outcome in OUTCOMES), pair.n_without))
        titles = (text(title_of(pair.source, registry)), text(title_of(pair.target, registry)))
        interaction = text(OUTCOME_WORDS[found[pair.source, pair.target].outcome])
        rows.append((*titles, text(pair.agreement), text(pair.words), *entries, interaction, *counted))
    columns = {"source": "source", "target": "target", "agreement": words.many, "holds": "holds on"}
    for name in compared.pairs:
        columns |= {
            f"{name}: gain": f"{name}: gain",
            f"{name}: verdict": f"{name}: verdict",
            f"{name}: percent": f"{name}: %",
        }
    columns["interaction"] = "gains differ"
    columns |= {f"n_{outcome}": outcome for outcome in OUTCOMES} | {"n_not_compared": "not compared"}
    each = [f"{name}: {what}" for name in compared.pairs for what in ("gain", "verdict")]
    verdicts = [name for name in each if name.endswith(": verdict")]
    main = ("agreement", "holds", *verdicts) if len(compared.pairs) > 2 else ("holds", *each)
    return flat(
        name="settings-pairs",
        title=f"On how many {words.many} does each pair hold?",
        caption=f"Gain over the baseline in the target's metric (positive is better), and the verdict within the "
        f"{words.one}. "
        f'"Holds on k of {len(compared.pairs)}" counts these verdicts; inconclusive and undecided do not mean that '
        "there is no effect.",
        details=f"A pair that helps on one {words.one} and is inconclusive on another may have the same gain on both: "
        f"whether gains differ is tested in settings-interaction. %: the gain in percent of the baseline, which says "
        f"little where that is near 0. The last columns count the {words.many} by verdict.",
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
        caption=f"Welch's test of each pair's gains, with seeds as noise: {_tested(found)}. \"Not shown to differ\" "
        "does not mean equal: see the interval and `detectable`.",
        details=f"The errors are those of the verdicts, and those of different {words.many} are taken as independent. "
        f"Difference: largest minus smallest gain, in the target's metric. Interval and detectable difference (seen "
        f"with probability .8 at .05, before correction) where two {words.many} are compared. Corrected p: "
        "Benjamini-Hochberg over all tested pairs.",
        columns={
            "source": "source",
            "target": "target",
            "verdict": "gains",
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
        main=(
            "source",
            "target",
            "verdict",
            "highest",
            "difference",
            *(("low", "high") if two else ("lowest",)),
            "p_bh",
        ),
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
        f" {apart:,} tested {'pair is' if apart == 1 else 'pairs are'} left out: not tested in all, or of an error."
        if apart
        else ""
    )
    return flat(
        name="settings-variance",
        title="What makes the gains of pairs differ?",
        caption=f"The variance of gains between {parts.n_pairs:,} pairs within a {words.one}, in three parts, as "
        f"shares and as standard deviations with 95 % intervals.{left}",
        details=f"Pairs and {words.many} are fixed, only noise is random. What moves all pairs of one {words.one} "
        f"alike is in no part. What test examples do to all {words.many} alike counts as common.",
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
        f" Kendall's W of the ranks of {sources.n_common:,} sources is {shown(sources.concordance, 2)} (1: the same "
        "order everywhere; noise lowers it)."
        if np.isfinite(sources.concordance)
        else ""
    )
    return flat(
        name="settings-sources",
        title=f"Which sources help most over {compared.over(sources.n_with_gains)}?",
        caption=f"Mean gain over targets and {words.many}, {unit_words(ranks)}, adjusted for the targets that each "
        f"source has; positive is better.{agreed}{said}",
        details=f"The {words.many} are fixed: the 95 % intervals are about these, and only noise is random. The fit is "
        f"gain = effect of the target in this {words.one} + effect of the source. Rank: from simultaneous 95 % "
        "intervals of all differences between sources (Mogstad, Romano, Shaikh and Wilhelm 2024). Place: 1 + the "
        f"number of sources shown to help more. Gains: targets, summed over {words.many}; so are helps and harms.",
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
        main=(
            "place",
            "source",
            "effect",
            "low",
            "high",
            "rank",
            *(f"{name}: rank" for name in [*sources.by_setting][:2]),
        ),
    )
