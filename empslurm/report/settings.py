"""Settings (backbones, models, methods, languages) side by side: what is compared, and on how many a verdict holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from empslurm.analysis.scores import pearson
from empslurm.analysis.verdicts import OUTCOMES
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.significance import PairResult
from empslurm.report.verdicts import with_equal_data
from empslurm.report.wording import BACKBONES, SETTINGS, Words

Pair = tuple[str, str]  # source, target
UNNAMED = "(no name)"  # shown for a blank setting
FEWEST_SHARED = 3  # pairs that two settings must share for a rank correlation
NOT_COMPARED = "not compared"  # in a setting without this pair, or without its baseline


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


@dataclass(frozen=True, kw_only=True)
class Held:
    """The verdicts of one pair over all settings. Each was made within its setting."""

    source: str
    target: str
    verdicts: tuple[str, ...]  # one per setting that has the pair
    n_settings: int  # of the study, with or without the pair

    def count(self, outcome: str) -> int:
        """In how many settings the pair has this verdict."""
        return self.verdicts.count(outcome)

    @property
    def n_without(self) -> int:
        """Settings in which the pair is not compared."""
        return self.n_settings - len(self.verdicts)

    @property
    def words(self) -> str:
        """On how many of the settings it helps, harms, ..., such as `helps on 1 of 2; undecided on 1`."""
        tally = [*((outcome, self.count(outcome)) for outcome in OUTCOMES), (NOT_COMPARED, self.n_without)]
        (first, n), *rest = [(outcome, n) for outcome, n in tally if n]
        return "; ".join([f"{first} on {n} of {self.n_settings}", *(f"{outcome} on {n}" for outcome, n in rest)])

    @property
    def agreement(self) -> str:
        """How the verdicts agree, in a word or two."""
        called = {*self.verdicts} & {"helps", "harms"}
        if len(called) == 2:
            return "contradict"
        if not called:
            return "none calls it"
        if len(self.verdicts) == 1:
            return f"{NOT_COMPARED} elsewhere"
        return "agree" if len({*self.verdicts}) == 1 else "some call it"


def named(groups: Sequence[Analyses]) -> dict[str, Analyses]:
    """Setting -> the analyses of its group; empty where there are not two settings to compare."""
    with_setting = [analyses for analyses in groups if "setting" in analyses.group.setting]
    names = [str(analyses.group.setting["setting"]) for analyses in with_setting]
    if len(with_setting) < 2:
        return {}
    unnamed = UNNAMED if UNNAMED not in names else f"{UNNAMED}, blank"
    return {name or unnamed: analyses for name, analyses in zip(names, with_setting, strict=True)}


def words_of(groups: Mapping[str, Analyses]) -> Words:
    """What the settings are called: backbones, where they are those of a runs root."""
    backbones = {str(analyses.group.setting.get("backbone")) for analyses in groups.values()}
    own = not any(analyses.from_results for analyses in groups.values())
    return BACKBONES if own and len(backbones) == len(groups) else SETTINGS


@dataclass(frozen=True, kw_only=True)
class Level:
    """The verdicts that are compared: all against baselines with the same amount of data, at one data fraction."""

    fraction: float
    verdicts: Mapping[str, Significance | None]  # setting -> its verdicts at the fraction
    left_out: Mapping[float, int]  # other fraction -> pairs with a verdict there, summed over settings

    @property
    def pairs(self) -> dict[str, dict[Pair, PairResult]]:
        """Setting -> its pairs; empty where it has none at the fraction."""
        return {
            name: {(pair.verdict.source, pair.verdict.target): pair for pair in (own.pairs if own else ())}
            for name, own in self.verdicts.items()
        }

    @property
    def n_with_pairs(self) -> int:
        """Settings with a pair at the fraction."""
        return sum(own is not None and len(own.pairs) > 0 for own in self.verdicts.values())

    def settings(self, words: Words) -> str:
        """These settings, in words."""
        n, n_with = len(self.verdicts), self.n_with_pairs
        return words.all_of(n) if n_with == n else f"{n_with} of {n} {words.many}"

    @property
    def amount(self) -> str:
        """Such as ` with 10 % of the data`; empty where all data is used and nothing else is known."""
        return "" if self.fraction == 1.0 and not self.left_out else f" with {_percent(self.fraction)} of the data"

    def note(self, words: Words) -> str:
        """The amount of data as a sentence, with what is left out for it; empty like `amount`."""
        if not self.amount:
            return ""
        at = "the largest amount at which" if self.n_with_pairs > 1 else "at which"
        have = "have" if self.n_with_pairs > 1 else "has"
        said = f"Compared{self.amount}, {at} {self.settings(words)} {have} pairs"
        apart = " and ".join(f"{many:,} with {_percent(fraction)}" for fraction, many in self.left_out.items())
        return f"{said}; other verdicts are left out: {apart}." if apart else f"{said}."


def _percent(fraction: float) -> str:
    return f"{fraction * 100:g} %"


def level_of(groups: Mapping[str, Analyses]) -> Level:
    """Choose the largest data fraction at which all settings with pairs have some; without one, that of the most."""
    n_pairs = {name: _n_pairs(analyses) for name, analyses in groups.items()}
    wanted = sum(map(bool, n_pairs.values()))
    fractions = sorted({fraction for own in n_pairs.values() for fraction in own}, reverse=True)
    chosen = Level(fraction=1.0, verdicts=dict.fromkeys(groups), left_out={})
    for fraction in fractions:
        left = {one: sum(own.get(one, 0) for own in n_pairs.values()) for one in fractions if one != fraction}
        verdicts = {name: with_equal_data(analyses, fraction) for name, analyses in groups.items()}
        level = Level(fraction=fraction, verdicts=verdicts, left_out=left)
        if level.n_with_pairs > chosen.n_with_pairs:
            chosen = level
        if chosen.n_with_pairs == wanted:
            break
    return chosen


def _n_pairs(analyses: Analyses) -> dict[float, int]:
    """Data fraction -> pairs with a verdict."""
    return {own.fraction: len(own.pairs) for own in analyses.significance if own.pairs}


def held(pairs: Mapping[str, Mapping[Pair, PairResult]]) -> tuple[Held, ...]:
    """Every pair of any setting, in the order of the settings."""
    return tuple(
        Held(
            source=source,
            target=target,
            verdicts=tuple(own[source, target].verdict.verdict for own in pairs.values() if (source, target) in own),
            n_settings=len(pairs),
        )
        for source, target in dict.fromkeys(pair for own in pairs.values() for pair in own)
    )


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
