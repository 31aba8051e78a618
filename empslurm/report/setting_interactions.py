"""Do gains differ between settings by more than noise explains? The test of every pair, and variance parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.interactions import TargetErrors, VarianceParts, interactions, variance_parts
from empslurm.analysis.verdicts import LEVEL
from empslurm.metrics import METRICS
from empslurm.report.group_results import Significance
from empslurm.report.settings import Level, Pair
from empslurm.report.significance import PairResult
from empslurm.report.wording import Words

Outcome = Literal["differs", "not shown", "not tested"]
NO_NOISE = "no seed noise to judge it by"


@dataclass(frozen=True, kw_only=True)
class PairInteraction:
    """One pair over its settings. Gains are in the target's metric, and positive is better; NaN where not tested."""

    source: str
    target: str
    outcome: Outcome  # by `p_bh` at level .05; "not shown" does not mean that there is no difference
    n_tested: int  # settings that the test compares
    highest: str  # setting with the largest gain
    lowest: str
    difference: float  # of these two
    low: float  # its 95 % interval, not corrected for many pairs; NaN with more than two settings
    high: float
    detectable: float  # a difference seen with probability .8 at .05, uncorrected; NaN with more than two settings
    statistic: float  # Welch's F
    freedom: float
    error_freedom: float
    p_value: float
    p_bh: float  # Benjamini-Hochberg over all tested pairs
    reason: str  # why it, or a setting, is left out of the test; else ""
    why: str  # the same without names, for counts


@dataclass(frozen=True, kw_only=True)
class SettingInteractions:
    """The interaction of all pairs with the setting."""

    pairs: tuple[PairInteraction, ...]  # the smallest p first, then those that cannot be tested
    parts: VarianceParts | None  # None: too few pairs are tested in every setting
    n_apart: int  # tested pairs that `parts` leaves out

    def with_outcome(self, outcome: Outcome) -> tuple[PairInteraction, ...]:
        """The pairs with this outcome."""
        return tuple(pair for pair in self.pairs if pair.outcome == outcome)

    @property
    def reasons(self) -> Counter[str]:
        """Why pairs are not tested -> how many."""
        return Counter(pair.why for pair in self.with_outcome("not tested"))


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Gains of all pairs (rows) in all settings (columns); NaN where a setting cannot be compared."""

    keys: tuple[Pair, ...]
    gains: NDArray[np.float64]
    errors: NDArray[np.float64]
    freedom: NDArray[np.float64]
    reasons: tuple[str, ...]  # what is left out, and why; "" for nothing
    whys: tuple[str, ...]  # the same without names


def interactions_of(level: Level, words: Words) -> SettingInteractions:
    """Test every pair of any setting."""
    verdicts = level.verdicts
    layout = _layout(level, words)
    found = interactions(layout.gains, layout.errors, layout.freedom)
    names = [*verdicts]
    pairs = []
    for at, (source, target) in enumerate(layout.keys):
        p_bh, tested = float(found.p_bh[at]), bool(np.isfinite(found.p_value[at]))
        shown = tested or not layout.reasons[at]
        difference, margin = float(found.spread[at]), float(found.margin[at])
        pairs.append(
            PairInteraction(
                source=source,
                target=target,
                outcome="not tested" if not tested else "differs" if p_bh < LEVEL else "not shown",
                n_tested=int(found.n_settings[at]) if tested else 0,
                highest=names[found.highest[at]] if tested else "",
                lowest=names[found.lowest[at]] if tested else "",
                difference=difference if shown else float("nan"),
                low=difference - margin,
                high=difference + margin,
                detectable=float(found.detectable[at]),
                statistic=float(found.statistic[at]),
                freedom=float(found.freedom[at]),
                error_freedom=float(found.error_freedom[at]),
                p_value=float(found.p_value[at]),
                p_bh=p_bh,
                reason=layout.reasons[at] or ("" if tested else NO_NOISE),
                why=layout.whys[at] or ("" if tested else NO_NOISE),
            )
        )
    ordered = sorted(pairs, key=lambda pair: (pair.outcome == "not tested", np.nan_to_num(pair.p_value, nan=2.0)))
    parts, n_used = _parts(layout, verdicts, [metrics_of(own) for own in verdicts.values()])
    return SettingInteractions(
        pairs=tuple(ordered), parts=parts, n_apart=found.n_tested - n_used if parts is not None else 0
    )


def metrics_of(verdicts: Significance | None) -> dict[str, str]:
    """Target -> its metric."""
    return {} if verdicts is None else {result.target: result.metric for result in verdicts.results}


def _layout(level: Level, words: Words) -> _Layout:
    pairs = level.pairs
    keys = tuple(dict.fromkeys(key for own in pairs.values() for key in own))
    shape = len(keys), len(pairs)
    gains, errors, freedom = (np.full(shape, np.nan) for _ in range(3))
    reasons, whys = [], []
    measures = {name: _measures(own) for name, own in level.verdicts.items()}
    for row, key in enumerate(keys):
        there = {name: own[key] for name, own in pairs.items() if key in own}
        apart = {name: _apart(name, there, level, pairs, words) for name in pairs}
        usable = [name for name in pairs if not apart[name]]
        measured = {measures[name][key[1]] for name in usable}
        said = [(f"{name}: {why}", why) for name, why in apart.items() if why]
        if len(measured) > 1:
            different = ", ".join(f"{name}: {measures[name][key[1]]}" for name in usable)
            said.append((f"measured differently ({different})", "measured differently"))
        elif len(usable) >= 2:
            columns = [[*pairs].index(name) for name in usable]
            for column, name in zip(columns, usable, strict=True):
                pair = there[name]
                gains[row, column] = pair.improvement.gain
                errors[row, column] = pair.verdict.standard_error
                freedom[row, column] = pair.verdict.degrees_of_freedom
        reasons.append("; ".join(reason for reason, _ in said))
        whys.append("; ".join(dict.fromkeys(why for _, why in said)))
    return _Layout(keys=keys, gains=gains, errors=errors, freedom=freedom, reasons=tuple(reasons), whys=tuple(whys))


def _apart(name: str, there: Mapping[str, PairResult], level: Level, pairs: Mapping[str, object], words: Words) -> str:
    """Why a setting is left out of a pair's test; "" where it is compared."""
    if not pairs[name]:
        return f"no pair has a baseline and a source{level.amount}"
    if name not in there:
        return f"the pair is not compared on this {words.one}"
    return there[name].verdict.reason


def _measures(verdicts: Significance | None) -> dict[str, str]:
    """Target -> by what it is measured: only gains measured alike may be subtracted."""
    return {target: METRICS[metric].title for target, metric in metrics_of(verdicts).items()}


def _parts(
    layout: _Layout, verdicts: Mapping[str, Significance | None], metrics: Sequence[Mapping[str, str]]
) -> tuple[VarianceParts | None, int]:
    """The variance parts over pairs that are tested in every setting with any tested pair, and how many these are.

    An error has another unit than other metrics, so its targets are left out, unless all targets have the same metric.
    """
    tested = np.isfinite(layout.gains)
    columns = np.flatnonzero(tested.any(0))
    if len(columns) < 2:
        return None, 0
    known = {target: metric for own in metrics for target, metric in own.items()}
    one_metric = len({known[target] for _, target in layout.keys}) == 1
    rows = [
        row
        for row in np.flatnonzero(tested[:, columns].all(1))
        if one_metric or METRICS[known[layout.keys[row][1]]].higher_is_better
    ]
    results = [own for at, own in enumerate(verdicts.values()) if at in columns and own is not None]
    errors = []
    for target in dict.fromkeys(layout.keys[row][1] for row in rows):
        own = [at for at, row in enumerate(rows) if layout.keys[row][1] == target]
        sources = [layout.keys[rows[at]][0] for at in own]
        covariance, freedom = [], []
        for verdict in results:
            comparison = next(result.comparison for result in verdict.results if result.target == target)
            chosen = [comparison.sources.index(source) for source in sources]
            covariance.append(comparison.covariance[np.ix_(chosen, chosen)])
            freedom.append(float(comparison.degrees_of_freedom[chosen].min()))
        errors.append(
            TargetErrors(
                pairs=np.array(own, dtype=np.int64),
                covariance=np.array(covariance),
                degrees_of_freedom=np.array(freedom),
            )
        )
    parts = variance_parts(layout.gains[np.ix_(np.array(rows, dtype=np.int64), columns)], errors)
    return parts, len(rows)
