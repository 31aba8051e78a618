"""The sources of one target in order: what each is expected to give, how sure that is, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from empslurm.analysis import source_prediction, source_selection
from empslurm.analysis.source_prediction import FEWEST_CALIBRATED, Prediction
from empslurm.report.significance import stream
from empslurm.report.source_choice import (
    FEATURES,
    Compared,
    Part,
    SourceChoice,
    history_of,
    judge,
    measured,
    pairs_of,
    sources_of,
    varying,
    with_features,
)

PERCENT = 100.0
POPULARITY, OWN_RUNS = "popularity", "own_runs"
TITLES = {POPULARITY: "popularity", OWN_RUNS: "its runs on this target"}


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A part of an expected improvement, as its difference from the other sources'."""

    feature: str  # a name in FEATURES or TITLES
    part: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One source. Improvements are positive where it helps, in the unit of the ranking."""

    source: str
    expected: float
    low: float  # 90 % interval of what runs would measure
    high: float
    best: float  # probability of being among the k best
    tried: bool  # whether its transfer to this target has finished
    popularity: float  # how much more it gained than the average source of a target, mean over others; NaN: unknown
    values: Mapping[str, float]  # the features, NaN where one is not known
    reasons: tuple[Reason, ...]  # the largest first
    seconds: float = float("nan")  # that reading the target's texts with its adapter took; NaN: not read


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """All sources of a target, the best first. `setting`: of a table of results; "" elsewhere."""

    setting: str
    k: int = 0
    percent: bool = False  # whether the target's metric is an error: improvements are in percent of the baseline's
    candidates: tuple[Candidate, ...] = ()
    fraction: float = 1.0  # of the targets' training parts, in what is finished
    n_targets: int = 0  # finished targets that it learnt from
    width: float = 1.0  # of the intervals, in units of the model's own
    choice: SourceChoice | None = None  # how good this way to choose was for other targets, with its rivals
    unjudged: str = ""  # why there is no `choice`
    one_seed: bool = False  # whether a finished target has one seed only, so that its noise is not known
    strangers: tuple[str, ...] = ()  # sources of which no finished grid has a gain

    @property
    def calibrated(self) -> bool:
        """Whether the intervals' width comes from targets that were left out."""
        return self.n_targets >= FEWEST_CALIBRATED


def rank(target: str, sources: Sequence[str], part: Part, *, k: int, setting: str = "") -> Ranking:
    """Rank the sources. `part`: what is finished, with this target or without, and what is known of the sources."""
    targets = part.targets
    among = tuple(dict.fromkeys((*sources, *sources_of([part]))))
    names = [name for name in among if name != target]
    if not names:
        return Ranking(setting=setting)
    others = replace(part, targets=tuple(one for one in targets if one.target != target))
    tried = next((one for one in targets if one.target == target), None)
    own = pairs_of(part.analyses, target, names, tried.comparison if tried else None, among=among)
    pairs = measured([others], among)
    history = history_of(pairs, len(among), varying([*pairs, own]))
    fitted = source_prediction.calibrated(history.targets, len(among), history.helpful, history.prior)
    k = min(k, len(names))
    rng = stream("suggest", target, *names)
    popular = source_selection.popularity(history.targets, len(among))[own.sources]
    own = replace(own, known=np.isfinite(popular))
    found = source_prediction.predict(fitted, with_features(own, history.features), k, rng)
    judged = judge([part])
    percent = bool(targets) and all(_is_error(one) for one in ([tried] if tried else targets))
    unit = PERCENT if percent else 1.0
    candidates = [
        Candidate(
            source=name,
            expected=unit * float(found.mean[at]),
            low=unit * float(found.low[at]),
            high=unit * float(found.high[at]),
            best=float(found.best[at]),
            tried=bool(np.isfinite(own.gains[at])),
            popularity=unit * float(popular[at]),
            values=dict(zip(FEATURES, own.features[at].tolist(), strict=True)),
            reasons=reasons(found, history.features, at, unit),
        )
        for at, name in enumerate(names)
    ]
    return Ranking(
        setting=setting,
        k=k,
        percent=percent,
        candidates=tuple(sorted(candidates, key=lambda one: (-one.expected, one.source))),
        fraction=targets[0].table.fraction if targets else 1.0,
        n_targets=fitted.n_targets,
        width=fitted.width,
        choice=judged.result,
        unjudged="; ".join(judged.lacking.values()),
        one_seed=any(_of_one_seed(one) for one in targets),
        strangers=tuple(name for name, value in zip(names, popular, strict=True) if not np.isfinite(value)),
    )


def _is_error(one: Compared) -> bool:
    return not one.comparison.higher_is_better


def reasons(found: Prediction, features: Sequence[str], at: int, unit: float) -> tuple[Reason, ...]:
    """What sets a source apart from the mean source of this target, the largest part first."""
    named = {POPULARITY: found.popularity, **dict(zip(features, found.parts.T, strict=True)), OWN_RUNS: found.measured}
    parts = {name: unit * float(values[at] - values.mean()) for name, values in named.items()}
    largest = sorted(parts, key=lambda name: -abs(parts[name]))
    return tuple(Reason(feature=name, part=parts[name]) for name in largest if parts[name])


def title(feature: str) -> str:
    """A feature in words."""
    return FEATURES[feature].title if feature in FEATURES else TITLES[feature]


def _of_one_seed(one: Compared) -> bool:
    return max(one.comparison.n_runs) == 1
