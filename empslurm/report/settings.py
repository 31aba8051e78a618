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


def verdicts_of(analyses: Analyses) -> Significance | None:
    """A group's verdicts against baselines with the same amount of data, at the largest data fraction."""
    alike = [verdicts for verdicts in analyses.significance if verdicts.fraction == verdicts.baseline_fraction]
    return max(alike, key=lambda verdicts: verdicts.fraction, default=None)


def pairs_of(analyses: Analyses) -> dict[Pair, PairResult]:
    """The pairs of `verdicts_of`."""
    verdicts = verdicts_of(analyses)
    pairs = verdicts.pairs if verdicts is not None else ()
    return {(pair.verdict.source, pair.verdict.target): pair for pair in pairs}


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
