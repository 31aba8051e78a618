"""Settings (models, methods, languages) compared: which pairs help in all of them, and which only in some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from empslurm.analysis.scores import pearson
from empslurm.analysis.verdicts import OUTCOMES
from empslurm.report.formats import Entry, Table, flat, number, shown, text, whole
from empslurm.report.group_results import Analyses
from empslurm.report.significance import PairResult
from empslurm.report.tables import title_of
from empslurm.report.verdict_tables import counts

Pair = tuple[str, str]  # source, target
UNNAMED = "(no name)"  # shown for a blank setting
FEWEST_SHARED = 3  # pairs that two settings must share for a rank correlation


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two settings on the pairs that both have."""

    first: str
    second: str
    n_shared: int
    spearman: float  # of the percent changes; NaN with too few pairs
    n_compared: int  # shared pairs with a defined change in both
    n_same_side: int  # of these: both better than the baseline, or both not
    n_opposed: int  # helps in one, harms in the other


def named(groups: Sequence[Analyses]) -> dict[str, Analyses]:
    """Setting -> the analyses of its group; empty where there are not two settings to compare."""
    with_setting = [analyses for analyses in groups if "setting" in analyses.group.setting]
    names = [str(analyses.group.setting["setting"]) for analyses in with_setting]
    if len(with_setting) < 2:
        return {}
    unnamed = UNNAMED if UNNAMED not in names else f"{UNNAMED}, blank"
    return {name or unnamed: analyses for name, analyses in zip(names, with_setting, strict=True)}


def pairs_of(analyses: Analyses) -> dict[Pair, PairResult]:
    """The pairs of a group against baselines with the same amount of data, at the largest data fraction."""
    alike = [verdicts for verdicts in analyses.significance if verdicts.fraction == verdicts.baseline_fraction]
    most = max(alike, key=lambda verdicts: verdicts.fraction, default=None)
    pairs = most.pairs if most is not None else ()
    return {(pair.verdict.source, pair.verdict.target): pair for pair in pairs}


def agreements(pairs: Mapping[str, Mapping[Pair, PairResult]]) -> tuple[Agreement, ...]:
    """The agreement of every two settings, in the order given."""
    return tuple(_agreement(first, second, pairs[first], pairs[second]) for first, second in combinations(pairs, 2))


def _agreement(first: str, second: str, a: Mapping[Pair, PairResult], b: Mapping[Pair, PairResult]) -> Agreement:
    from scipy.stats import rankdata

    both = [pair for pair in a if pair in b]
    changes = np.array([[a[pair].improvement.percent, b[pair].improvement.percent] for pair in both]).reshape(-1, 2)
    changes = changes[np.isfinite(changes).all(1)]
    enough = len(changes) >= FEWEST_SHARED
    gains = np.array([[a[pair].improvement.gain, b[pair].improvement.gain] for pair in both]).reshape(-1, 2)
    gains = gains[np.isfinite(gains).all(1)]
    opposed = ({"helps", "harms"} == {a[pair].verdict.verdict, b[pair].verdict.verdict} for pair in both)
    return Agreement(
        first=first,
        second=second,
        n_shared=len(both),
        spearman=pearson(rankdata(changes[:, 0]), rankdata(changes[:, 1])) if enough else float("nan"),
        n_compared=len(gains),
        n_same_side=int(((gains[:, 0] > 0) == (gains[:, 1] > 0)).sum()),
        n_opposed=sum(opposed),
    )


def settings_tables(groups: Mapping[str, Analyses]) -> tuple[Table, ...]:
    """Three tables: a row per setting, a row per two settings, and a row per pair with all settings."""
    if not groups:
        return ()
    pairs = {name: pairs_of(analyses) for name, analyses in groups.items()}
    return (_summary(pairs), _agreement_table(agreements(pairs)), _pairs_table(groups, pairs))


def _summary(pairs: Mapping[str, Mapping[Pair, PairResult]]) -> Table:
    rows = []
    for name, own in pairs.items():
        tally = counts(list(own.values()))
        changes = np.array([pair.improvement.percent for pair in own.values()])
        changes = changes[np.isfinite(changes)]
        middle = float(np.median(changes)) if len(changes) else float("nan")
        gains = np.array([pair.improvement.gain for pair in own.values()])
        gains = gains[np.isfinite(gains)]
        share = float((gains > 0).mean()) if len(gains) else float("nan")
        counted = (whole(tally[outcome]) for outcome in OUTCOMES)
        rows.append((text(name), whole(len(own)), *counted, number(middle, 1, signed=True), number(share, 2)))
    there = [outcome for outcome in OUTCOMES if any(counts(list(own.values()))[outcome] for own in pairs.values())]
    return flat(
        name="settings",
        title="Settings compared",
        caption="Each setting is tested separately, against its own baselines, with a correction over its own pairs.",
        details="Median %: change in percent of the baseline, over pairs with a positive baseline; positive is better.",
        columns={
            "setting": "setting",
            "n_pairs": "pairs",
            **{outcome.replace(" ", "_"): outcome for outcome in OUTCOMES},
            "median_percent": "median %",
            "share_above": "share above the baseline",
        },
        rows=rows,
        main=("setting", "n_pairs", *there, "median_percent") if len(there) < 5 else (),
    )


def _agreement_table(compared: Sequence[Agreement]) -> Table:
    rows = [
        (
            text(agreement.first),
            text(agreement.second),
            whole(agreement.n_shared),
            number(agreement.spearman, 2),
            number(agreement.n_same_side / agreement.n_compared if agreement.n_compared else float("nan"), 2),
            whole(agreement.n_opposed),
        )
        for agreement in compared
    ]
    return flat(
        name="settings-agreement",
        title="Do settings agree on which source helps?",
        caption="Over the pairs that both have: Spearman's r of the percent changes, the share of pairs on the same "
        "side of the baseline, and pairs that help in one setting and harm in the other.",
        columns={
            "one": "setting",
            "two": "other setting",
            "n_shared": "shared pairs",
            "spearman": "Spearman's r",
            "same_side": "same side",
            "n_opposed": "opposed verdicts",
        },
        rows=rows,
        n_labels=2,
    )


def agreement(verdicts: Sequence[str]) -> str:
    """How the verdicts of a pair agree over settings, in a word or two."""
    called = {*verdicts} & {"helps", "harms"}
    if len(called) == 2:
        return "contradict"
    if not called:
        return "none calls it"
    if len(verdicts) == 1:
        return "one setting only"
    return "agree" if len({*verdicts}) == 1 else "some call it"


def _pairs_table(groups: Mapping[str, Analyses], pairs: Mapping[str, Mapping[Pair, PairResult]]) -> Table:
    registry = next(iter(groups.values())).gathered.registry
    rows = []
    for source, target in dict.fromkeys(pair for own in pairs.values() for pair in own):
        entries: list[Entry] = []
        for own in pairs.values():
            pair = own.get((source, target))
            entries.append(number(pair.improvement.percent if pair else float("nan"), 1, signed=True))
            entries.append(text(pair.verdict.verdict if pair else None))
        calls = [own[source, target].verdict.verdict for own in pairs.values() if (source, target) in own]
        named = (text(title_of(source, registry)), text(title_of(target, registry)), text(agreement(calls)))
        rows.append((*named, *entries))
    columns = {"source": "source", "target": "target", "agreement": "settings"}
    for name in pairs:
        columns |= {f"{name}: percent": f"{name}: %", f"{name}: verdict": f"{name}: verdict"}
    return flat(
        name="settings-pairs",
        title="Every pair in every setting",
        caption="Change in percent of the baseline (positive is better), and the verdict within the setting.",
        columns=columns,
        rows=rows,
        n_labels=3,
    )


def headline(groups: Mapping[str, Analyses]) -> tuple[str, ...]:
    """The findings over all settings, as sentences; empty without settings."""
    if not groups:
        return ()
    pairs = {name: pairs_of(analyses) for name, analyses in groups.items()}
    verdicts: dict[Pair, list[str]] = {}
    for own in pairs.values():
        for key, pair in own.items():
            verdicts.setdefault(key, []).append(pair.verdict.verdict)
    shared = [outcomes for outcomes in verdicts.values() if len(outcomes) > 1]
    helps = sum("helps" in outcomes for outcomes in shared)
    always = sum(set(outcomes) == {"helps"} for outcomes in shared)
    opposed = sum({"helps", "harms"} <= set(outcomes) for outcomes in shared)
    said = [
        f"{len(pairs)} settings, tested separately. Of {len(shared):,} pairs that two or more of them have, {helps:,} "
        f"help in at least one, {always:,} in every one that has them, {opposed:,} help in one and harm in another."
    ]
    ranks = [agreement.spearman for agreement in agreements(pairs) if np.isfinite(agreement.spearman)]
    if ranks:
        said.append(
            f"Between two settings, Spearman's r of the pairs' changes is {shown(float(np.median(ranks)), 2)} (median "
            f"of {len(ranks):,} comparisons)."
        )
    return tuple(said)
