"""Sources ranked over all settings together: mean gains with intervals, ranks, and the ranks in each setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from empslurm.analysis.interactions import concordance
from empslurm.analysis.scores import pearson
from empslurm.report.group_results import Significance
from empslurm.report.settings import FEWEST_SHARED, Level
from empslurm.report.source_ranks import SourceRanks, counted, source_ranks


@dataclass(frozen=True, kw_only=True)
class SettingSources:
    """The sources over all settings.

    `ranks` takes each target of each setting as a target of its own, so that neither a setting's level nor its scale of
    difficulty counts for a source. Settings are fixed: the intervals are about these, not about others like them.
    """

    ranks: SourceRanks
    n_with_gains: int  # settings with a gain that counts
    by_setting: Mapping[str, Mapping[str, float]]  # setting -> source -> its rank by mean gain there; ties share one
    n_settings: Mapping[str, int]  # source -> settings with a gain of it
    n_common: int  # sources with a rank in every ranked setting
    concordance: float  # Kendall's W of these ranks; NaN with fewer than three sources
    spearman: Mapping[tuple[str, str], float]  # two settings -> of the ranks of the sources that both have


def sources_of(level: Level) -> SettingSources | None:
    """Rank the sources; None with fewer than two sources with a gain, or with gains in fewer than two settings."""
    known = {name: verdicts for name, verdicts in level.verdicts.items() if verdicts is not None and verdicts.pairs}
    results = [result for verdicts in known.values() for result in verdicts.results]
    with_gains = {name: counted(verdicts.results, results) for name, verdicts in known.items()}
    chosen = {name: verdicts for name, verdicts in known.items() if with_gains[name]}
    if len(chosen) < 2:
        return None
    pairs = [pair for verdicts in chosen.values() for pair in verdicts.pairs]
    results = [result for verdicts in chosen.values() for result in verdicts.results]
    ranks = source_ranks(results, pairs, fraction=level.fraction)
    if ranks is None:
        return None
    effects = {name: _effects(verdicts) for name, verdicts in chosen.items()}
    effects = {name: own for name, own in effects.items() if own}
    common = [row.source for row in ranks.sources if effects and all(row.source in own for own in effects.values())]
    enough = len(common) >= FEWEST_SHARED
    return SettingSources(
        ranks=ranks,
        by_setting={name: _ranked(own) for name, own in effects.items()},
        n_with_gains=len(chosen),
        n_settings={row.source: sum(row.source in with_gains[name] for name in chosen) for row in ranks.sources},
        n_common=len(common),
        concordance=_concordance(effects, common) if enough else float("nan"),
        spearman={(one, two): _spearman(effects[one], effects[two]) for one, two in combinations(effects, 2)},
    )


def _effects(verdicts: Significance) -> dict[str, float]:
    """Source -> its mean gain within one setting; empty where sources are not ranked."""
    ranks = source_ranks(verdicts.results, verdicts.pairs, fraction=verdicts.fraction)
    return {row.source: row.effect for row in ranks.sources if np.isfinite(row.effect)} if ranks else {}


def _ranked(effects: Mapping[str, float]) -> dict[str, float]:
    from scipy.stats import rankdata

    ranks = rankdata([-effect for effect in effects.values()], method="min")
    return dict(zip(effects, map(float, ranks), strict=True))


def _concordance(effects: Mapping[str, Mapping[str, float]], common: list[str]) -> float:
    from scipy.stats import rankdata

    return concordance(np.array([rankdata([-own[source] for source in common]) for own in effects.values()]))


def _spearman(one: Mapping[str, float], two: Mapping[str, float]) -> float:
    from scipy.stats import rankdata

    both = [source for source in one if source in two]
    if len(both) < FEWEST_SHARED:
        return float("nan")
    return pearson(rankdata([one[source] for source in both]), rankdata([two[source] for source in both]))
