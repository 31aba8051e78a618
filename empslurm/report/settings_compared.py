"""All settings side by side: their pairs, on how many each holds, its interaction with the setting, and the sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from empslurm.analysis.verdicts import OUTCOMES
from empslurm.report.group_results import Analyses
from empslurm.report.setting_interactions import SettingInteractions, interactions_of
from empslurm.report.setting_sources import SettingSources, sources_of
from empslurm.report.settings import Held, Level, Pair, held, level_of, words_of
from empslurm.report.significance import PairResult
from empslurm.report.wording import Words
from empslurm.tasks import Registry

OUTCOME_WORDS = {"differs": "differs", "not shown": "not shown to differ", "not tested": "not tested"}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All settings side by side."""

    groups: Mapping[str, Analyses]
    level: Level
    pairs: Mapping[str, Mapping[Pair, PairResult]]  # setting -> its pairs at this level
    words: Words
    held: tuple[Held, ...]
    interactions: SettingInteractions
    sources: SettingSources | None

    def over(self, n: int) -> str:
        """`n` of the settings, in words."""
        return self.words.all_of(n) if n == len(self.pairs) else f"{n} of {len(self.pairs)} {self.words.many}"

    @property
    def registry(self) -> Registry:
        """Of all tasks."""
        return next(iter(self.groups.values())).gathered.registry


@dataclass(frozen=True, kw_only=True)
class PairOverSettings:
    """One pair for programs: the counts of its verdicts, and its interaction with the setting; None: not tested."""

    source: str
    target: str
    fraction: float  # of the training part, of all these verdicts
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
    level, words = level_of(groups), words_of(groups)
    pairs = level.pairs
    return Compared(
        groups=groups,
        level=level,
        pairs=pairs,
        words=words,
        held=held(pairs),
        interactions=interactions_of(level, words),
        sources=sources_of(level),
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
                fraction=compared.level.fraction,
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
