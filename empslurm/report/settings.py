"""Settings beside one another (models, methods, languages): which pairs help everywhere, and which only somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from empslurm.analysis.verdicts import OUTCOMES
from empslurm.metrics import pearson
from empslurm.report import result_tables
from empslurm.report.analyses import Study
from empslurm.report.formats import Entry, Table, flat, number, shown, text, whole
from empslurm.report.significance import PairResult
from empslurm.report.tables import title_of

Place = tuple[str, str]  # source, target
UNNAMED = "(no name)"  # what a blank setting is called
FEWEST_SHARED = 3  # pairs that two settings must share for a rank correlation


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two settings on the pairs that both have."""

    one: str
    two: str
    n_shared: int
    spearman: float  # of the percent changes; NaN with too few pairs
    n_compared: int  # shared pairs with a defined change in both
    n_same_side: int  # of these: both better than the baseline, or both not
    n_opposed: int  # helps in one, harms in the other


def named(studies: Sequence[Study]) -> dict[str, Study]:
    """Setting -> its study; empty where the results hold no settings to compare."""
    found = [study for study in studies if "setting" in study.group.setting]
    names = [str(study.group.setting["setting"]) for study in found]
    if len(found) < 2:
        return {}
    unnamed = UNNAMED if UNNAMED not in names else f"{UNNAMED}, blank"
    return {name or unnamed: study for name, study in zip(names, found, strict=True)}


def pairs_of(study: Study) -> dict[Place, PairResult]:
    """The pairs of a study, each against the baseline with as much data."""
    return {
        (pair.verdict.source, pair.verdict.target): pair
        for one in study.significance
        if one.fraction == one.baseline_fraction
        for pair in one.pairs
    }


def agreements(pairs: Mapping[str, Mapping[Place, PairResult]]) -> tuple[Agreement, ...]:
    """Every two settings, in the order given."""
    return tuple(_agreement(one, two, pairs[one], pairs[two]) for one, two in combinations(pairs, 2))


def _agreement(one: str, two: str, a: Mapping[Place, PairResult], b: Mapping[Place, PairResult]) -> Agreement:
    from scipy.stats import rankdata

    both = [place for place in a if place in b]
    changes = np.array([[a[place].improvement.percent, b[place].improvement.percent] for place in both]).reshape(-1, 2)
    changes = changes[np.isfinite(changes).all(1)]
    enough = len(changes) >= FEWEST_SHARED
    gains = np.array([[a[place].improvement.gain, b[place].improvement.gain] for place in both]).reshape(-1, 2)
    gains = gains[np.isfinite(gains).all(1)]
    opposed = ({"helps", "harms"} == {a[place].verdict.verdict, b[place].verdict.verdict} for place in both)
    return Agreement(
        one=one,
        two=two,
        n_shared=len(both),
        spearman=pearson(rankdata(changes[:, 0]), rankdata(changes[:, 1])) if enough else float("nan"),
        n_compared=len(gains),
        n_same_side=int(((gains[:, 0] > 0) == (gains[:, 1] > 0)).sum()),
        n_opposed=sum(opposed),
    )


def settings_tables(studies: Mapping[str, Study]) -> tuple[Table, ...]:
    """A row per setting, a row per two settings, and a row per pair with all settings beside one another."""
    if not studies:
        return ()
    pairs = {name: pairs_of(study) for name, study in studies.items()}
    return (_summary(pairs), _agreement_table(agreements(pairs)), _pairs_table(studies, pairs))


def _summary(pairs: Mapping[str, Mapping[Place, PairResult]]) -> Table:
    rows = []
    for name, own in pairs.items():
        tally = result_tables.counts(list(own.values()))
        changes = np.array([pair.improvement.percent for pair in own.values()])
        changes = changes[np.isfinite(changes)]
        middle = float(np.median(changes)) if len(changes) else float("nan")
        gains = np.array([pair.improvement.gain for pair in own.values()])
        gains = gains[np.isfinite(gains)]
        share = float((gains > 0).mean()) if len(gains) else float("nan")
        counted = (whole(tally[outcome]) for outcome in OUTCOMES)
        rows.append((text(name), whole(len(own)), *counted, number(middle, 1, signed=True), number(share, 2)))
    return flat(
        name="settings",
        title="Settings beside one another",
        caption="Each setting is tested apart, against its own baselines and with a correction over its own pairs. "
        "The median change is in percent of the baseline where that is positive, and positive to the better.",
        columns={
            "setting": "setting",
            "n_pairs": "pairs",
            **{outcome.replace(" ", "_"): outcome for outcome in OUTCOMES},
            "median_percent": "median %",
            "share_above": "share above the baseline",
        },
        rows=rows,
    )


def _agreement_table(found: Sequence[Agreement]) -> Table:
    rows = [
        (
            text(one.one),
            text(one.two),
            whole(one.n_shared),
            number(one.spearman, 2),
            number(one.n_same_side / one.n_compared if one.n_compared else float("nan"), 2),
            whole(one.n_opposed),
        )
        for one in found
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


def _pairs_table(studies: Mapping[str, Study], pairs: Mapping[str, Mapping[Place, PairResult]]) -> Table:
    registry = next(iter(studies.values())).gathered.registry
    rows = []
    for source, target in dict.fromkeys(place for own in pairs.values() for place in own):
        entries: list[Entry] = []
        for own in pairs.values():
            pair = own.get((source, target))
            entries.append(number(pair.improvement.percent if pair else float("nan"), 1, signed=True))
            entries.append(text(pair.verdict.verdict if pair else None))
        rows.append((text(title_of(source, registry)), text(title_of(target, registry)), *entries))
    columns = {"source": "source", "target": "target"}
    for name in pairs:
        columns |= {f"{name}: percent": f"{name}: %", f"{name}: verdict": f"{name}: verdict"}
    return flat(
        name="settings-pairs",
        title="Every pair in every setting",
        caption="Percent change to the baseline, positive to the better, and the verdict within the setting.",
        columns=columns,
        rows=rows,
        n_labels=2,
    )


def headline(studies: Mapping[str, Study]) -> tuple[str, ...]:
    """What the settings say together; nothing where there are none."""
    if not studies:
        return ()
    pairs = {name: pairs_of(study) for name, study in studies.items()}
    verdicts: dict[Place, list[str]] = {}
    for own in pairs.values():
        for place, pair in own.items():
            verdicts.setdefault(place, []).append(pair.verdict.verdict)
    shared = [found for found in verdicts.values() if len(found) > 1]
    helps = sum("helps" in found for found in shared)
    always = sum(set(found) == {"helps"} for found in shared)
    opposed = sum({"helps", "harms"} <= set(found) for found in shared)
    said = [
        f"{len(pairs)} settings, tested apart: of {len(shared):,} pairs that two or more of them have, {helps:,} help "
        f"in one at least, {always:,} in each that has them, {opposed:,} help in one and harm in another."
    ]
    ranks = [one.spearman for one in agreements(pairs) if np.isfinite(one.spearman)]
    if ranks:
        said.append(
            f"Two settings order the pairs alike with Spearman's r of {shown(float(np.median(ranks)), 2)} (median of "
            f"{len(ranks):,} comparisons)."
        )
    return tuple(said)
