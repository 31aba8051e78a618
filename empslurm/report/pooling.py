"""Several labs: each one's own estimate of every pair, the pooled change, and which lab departs from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from empslurm import ids
from empslurm.analysis.pooling import Block, Departure, Pooled, block, departures, equivalence_p_value, pool
from empslurm.analysis.verdicts import LEVEL, Comparison, benjamini_hochberg
from empslurm.errors import EmpslurmError
from empslurm.gather import Gathered, LabRuns, Told, prediction_files
from empslurm.metrics import METRICS
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.scores import Score, ScoreTable, score_tables
from empslurm.report.significance import CONTROL, comparable, compare_with
from empslurm.tasks import Registry

Outcome = Literal["helps", "harms", "equivalent", "inconclusive", "not pooled"]
ONE_LAB = "only one lab has this pair"
ONE_ESTIMATE = "fewer than two labs have an estimate with an error"
NO_NOISE = "no seed noise to weigh the labs by"
TOO_FEW = "shares no pair with two other labs: it takes three to tell which one departs"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One lab's own estimate of a pair, in the target's metric. NaN where unknown."""

    lab: str
    difference: float
    standard_error: float
    degrees_of_freedom: float
    low: float  # 95 % interval
    high: float
    example_variance: float  # the part of the squared error that test examples cause; 0: unknown
    test_set: str  # digest of its test examples; "" where unknown
    n_seeds_baseline: int
    n_seeds_transfer: int
    with_examples: bool
    reason: str  # why it has no error, else ""


@dataclass(frozen=True, kw_only=True)
class PooledPair:
    """One pair over labs, in the target's metric; for an error, below 0 is a gain."""

    source: str
    target: str
    fraction: float  # of the target's training part
    metric: str
    estimates: tuple[Estimate, ...]
    pooled: Pooled
    weights: Mapping[str, float]  # lab -> its weight in the pooled change; 0: not pooled
    verdict: Outcome  # equivalent by `p_equivalent`, else by `p_bh`, at level .05
    p_bh: float  # Benjamini-Hochberg over all pooled pairs
    p_equivalent: float
    q_p_bh: float  # of heterogeneity, over all pooled pairs
    same_examples: bool  # all pooled labs have the same test examples
    without_flagged: float  # pooled change without the labs that depart; NaN where none does
    together: tuple[float, float, float]  # change and interval of all runs analysed together; NaN where there is none
    reason: str  # why it is not pooled, else ""

    @property
    def differs(self) -> bool:
        """Whether the labs are shown to differ by more than noise."""
        return self.q_p_bh < LEVEL

    @property
    def difference(self) -> str:
        """The same in words. I² is told only here: it takes errors from few seeds as known, and then is too large."""
        if self.differs:
            return f"labs differ by more than noise (I² {100 * self.pooled.i2:.0f} %)"
        return "labs not shown to differ"


@dataclass(frozen=True, kw_only=True)
class LabSummary:
    """What one lab contributed, and how far it departs from the others."""

    runs: LabRuns
    seeds: tuple[int, ...]
    n_pairs: int  # with an estimate of its own
    n_alone: int  # of these, pairs of no other lab
    with_examples: bool | None  # whether its errors cover test examples; None without estimates
    departure: Departure
    reason: str  # why it is not compared with the others, else ""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Everything about several labs."""

    labs: tuple[LabSummary, ...]
    pairs: tuple[PooledPair, ...]  # pooled ones first, by target
    told: tuple[Told, ...]
    remarks: tuple[str, ...]
    lacking: str  # why nothing is pooled, else ""
    registry: Registry

    @property
    def pooled(self) -> tuple[PooledPair, ...]:
        """The pairs that are pooled."""
        return tuple(pair for pair in self.pairs if not pair.reason)

    @property
    def flagged(self) -> tuple[LabSummary, ...]:
        """The labs that depart from the others."""
        return tuple(lab for lab in self.labs if lab.departure.flagged)


_Kind = TypeVar("_Kind", bound=Hashable)
Key = tuple[float, str, str, str]  # fraction, target, metric, source


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One lab's comparison of one target."""

    lab: str
    fraction: float
    metric: str
    baselines: float  # data fraction of the baselines that it is compared with
    comparison: Comparison
    test_set: str

    @property
    def place(self) -> tuple[float, str]:
        """What has one metric and one kind of baselines over labs: data fraction and target."""
        return self.fraction, self.comparison.target


def pool_labs(gathered: Gathered, groups: Sequence[Analyses], *, grouped: bool, margin: float | None) -> Pooling | None:
    """Pool the labs of a gather; None where it has one input. `groups`: all runs analysed together."""
    if not gathered.labs and not gathered.remarks:
        return None
    labs = [lab for lab in gathered.labs if len(lab.group.runs)]
    targets = [one for lab in labs for one in _targets(gathered, lab, grouped)]
    targets, remarks = _one_metric(targets)
    targets, said = _one_kind_of_baselines(targets)
    remarks += said + _other_errors(targets)
    names = [lab.name for lab in labs]
    found = departures(_blocks(targets), names)
    away = {one.lab for one in found if one.flagged}
    pairs = _pairs(targets, names, away, _together(groups), margin)
    return Pooling(
        labs=tuple(
            _summary(lab, [one for one in found if one.lab == lab.name], pairs, targets) for lab in gathered.labs
        ),
        pairs=pairs,
        told=gathered.told,
        remarks=(*gathered.remarks, *remarks),
        lacking="" if any(not pair.reason for pair in pairs) else _why_none(labs, pairs),
        registry=gathered.registry,
    )


# ---- each lab's own estimates ----------------------------------------------------------------------------------------


def _targets(gathered: Gathered, lab: LabRuns, grouped: bool) -> list[_Target]:
    """The comparisons of one lab, at every data fraction: with less data against its baselines with all data."""
    tables = score_tables(gathered, lab.group)
    full = {table.metric: table for table in tables if table.fraction == 1.0}
    found = []
    for table in tables:
        against = None if table.fraction == 1.0 else full.get(table.metric)
        if table.fraction != 1.0 and against is None and full:
            continue
        for target, base, there in comparable(table, against):
            moved = {source: score for source, score in there.items() if source != CONTROL}
            if moved:
                comparison, _ = compare_with(table, target, base, moved, grouped=grouped)
                test_set = _test_set(table, base) if comparison.with_examples else ""
                found.append(
                    _Target(
                        lab=lab.name,
                        fraction=table.fraction,
                        metric=table.metric,
                        baselines=(against or table).fraction,
                        comparison=comparison,
                        test_set=test_set,
                    )
                )
    return found


def _test_set(table: ScoreTable, base: Score) -> str:
    """A digest of the test examples: ids and gold answers; "" where they cannot be read."""
    try:
        given = prediction_files.read(Path(base.predictions[0]), METRICS[table.metric].kind)
    except EmpslurmError:
        return ""
    predicted, labels = given.predictions, given.labels
    gold = [labels[int(value)] if labels else float(value) for value in predicted.gold.tolist()]
    return ids.digest([list(predicted.ids), gold])


def _one_metric(targets: Sequence[_Target]) -> tuple[list[_Target], list[str]]:
    """The comparisons by the metric that most labs use for their target; and sentences about the others."""
    usual = _usual([(one.place, one.metric) for one in targets])
    remarks = [
        f"{one.lab} scores {one.comparison.target} by {one.metric}, other labs by {usual[one.place]}: its estimates of "
        "this target are not pooled."
        for one in targets
        if one.metric != usual[one.place]
    ]
    return [one for one in targets if one.metric == usual[one.place]], list(dict.fromkeys(remarks))


def _one_kind_of_baselines(targets: Sequence[_Target]) -> tuple[list[_Target], list[str]]:
    """The comparisons with the baselines that most labs have for their target; and sentences about the others.

    With a part of the data, a change from baselines with all data and one from baselines with that part are no
    estimates of the same number.
    """
    usual = _usual([(one.place, one.baselines) for one in targets])
    remarks = [
        f"At data fraction {one.fraction:g}, {one.lab} measures the changes of {one.comparison.target} from baselines "
        f"at fraction {one.baselines:g}, other labs from baselines at fraction {usual[one.place]:g}: its estimates of "
        "these pairs are not pooled."
        for one in targets
        if one.baselines != usual[one.place]
    ]
    return [one for one in targets if one.baselines == usual[one.place]], list(dict.fromkeys(remarks))


def _usual(rows: Sequence[tuple[tuple[float, str], _Kind]]) -> dict[tuple[float, str], _Kind]:
    """(place, kind) of every row -> the kind that most rows of a place have; of equally many the first."""
    tally: dict[tuple[float, str], Counter[_Kind]] = {}
    for place, kind in rows:
        tally.setdefault(place, Counter())[kind] += 1
    return {place: counter.most_common(1)[0][0] for place, counter in tally.items()}


def _other_errors(targets: Sequence[_Target]) -> list[str]:
    """A sentence where only some labs have predictions, by which errors cover test examples."""
    without = list(dict.fromkeys(one.lab for one in targets if not one.comparison.with_examples))
    if not without or len(without) == len({one.lab for one in targets}):
        return []
    return [
        f"Without predictions of all runs, the errors of {', '.join(without[:5])}{', ...' if len(without) > 5 else ''} "
        "cover seeds alone, so they weigh more than they should beside those of the other labs; give their predictions."
    ]


# ---- pooled ----------------------------------------------------------------------------------------------------------


def _blocks(targets: Sequence[_Target]) -> dict[str, dict[str, Block]]:
    """The estimates of full data as `departures` takes them."""
    by_target: dict[str, list[_Target]] = {}
    for one in targets:
        if one.fraction == 1.0:
            by_target.setdefault(one.comparison.target, []).append(one)
    return {
        target: {
            one.lab: block(one.comparison, shared_examples=_same([other.test_set for other in own])) for one in own
        }
        for target, own in by_target.items()
    }


def _same(test_sets: Sequence[str]) -> bool:
    """Whether all labs are known to have the same test examples."""
    return len(test_sets) > 1 and "" not in test_sets and len({*test_sets}) == 1


def _estimates(targets: Sequence[_Target]) -> dict[Key, list[Estimate]]:
    pairs: dict[Key, list[Estimate]] = {}
    for one in targets:
        found = one.comparison
        for at, source in enumerate(found.sources):
            pairs.setdefault((-one.fraction, found.target, one.metric, source), []).append(
                Estimate(
                    lab=one.lab,
                    difference=float(found.difference[at]),
                    standard_error=float(found.standard_error[at]),
                    degrees_of_freedom=float(found.degrees_of_freedom[at]),
                    low=float(found.low[at]),
                    high=float(found.high[at]),
                    example_variance=float(found.example_variance[at]),
                    test_set=one.test_set,
                    n_seeds_baseline=found.n_seeds[0],
                    n_seeds_transfer=found.n_seeds[1 + at],
                    with_examples=found.with_examples,
                    reason=found.reasons[at],
                )
            )
    return pairs


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Estimates of all pairs (rows) by all labs (columns), as `pool` takes them."""

    estimates: NDArray[np.float64]
    variances: NDArray[np.float64]
    freedom: NDArray[np.float64]
    examples: NDArray[np.float64]
    test_sets: NDArray[np.int64]

    def pool(self, labs: NDArray[np.bool_]) -> tuple[Pooled, ...]:
        """Pool some of the labs."""
        return pool(
            self.estimates[:, labs],
            self.variances[:, labs],
            freedom=self.freedom[:, labs],
            examples=self.examples[:, labs],
            test_sets=self.test_sets[:, labs],
        )


def _layout(pairs: Mapping[Key, Sequence[Estimate]], labs: Sequence[str]) -> _Layout:
    shape = (len(pairs), len(labs))
    found = {name: np.full(shape, np.nan) for name in ("estimates", "variances", "freedom")}
    examples, test_sets = np.zeros(shape), np.full(shape, -1, dtype=np.int64)
    numbers: dict[str, int] = {}
    for row, own in enumerate(pairs.values()):
        for one in own:
            at = row, labs.index(one.lab)
            found["estimates"][at], found["variances"][at] = one.difference, one.standard_error**2
            found["freedom"][at], examples[at] = one.degrees_of_freedom, one.example_variance
            test_sets[at] = numbers.setdefault(one.test_set, len(numbers)) if one.test_set else -1
    return _Layout(**found, examples=examples, test_sets=test_sets)


def _pairs(
    targets: Sequence[_Target],
    labs: Sequence[str],
    away: set[str],
    together: Mapping[tuple[float, str, str], tuple[float, float, float]],
    margin: float | None,
) -> tuple[PooledPair, ...]:
    pairs = dict(sorted(_estimates(targets).items()))
    layout = _layout(pairs, labs)
    every = np.ones(len(labs), dtype=bool)
    pooled = layout.pool(every) if pairs else ()
    kept = np.array([lab not in away for lab in labs], dtype=bool)
    others = layout.pool(kept) if pairs and away else (None,) * len(pooled)
    p_bh = benjamini_hochberg(np.array([one.p_value for one in pooled]))
    q_p_bh = benjamini_hochberg(np.array([one.q_p for one in pooled]))
    equal = benjamini_hochberg(np.array([equivalence_p_value(one, margin) for one in pooled]))
    nan = float("nan")
    found = []
    for at, ((fraction, target, metric, source), own) in enumerate(pairs.items()):
        one, other = pooled[at], others[at]
        reason = _reason(own, one)
        with_error = [estimate.test_set for estimate in own if np.isfinite(estimate.standard_error)]
        found.append(
            PooledPair(
                source=source,
                target=target,
                fraction=-fraction,
                metric=metric,
                estimates=tuple(own),
                pooled=one,
                weights=dict(zip(labs, one.weights, strict=True)),
                verdict=_verdict(one, metric, float(p_bh[at]), float(equal[at])) if not reason else "not pooled",
                p_bh=float(p_bh[at]),
                p_equivalent=float(equal[at]),
                q_p_bh=float(q_p_bh[at]),
                same_examples=_same(with_error),
                without_flagged=nan if other is None else other.estimate,
                together=together.get((-fraction, source, target), (nan, nan, nan)),
                reason=reason,
            )
        )
    return tuple(sorted(found, key=lambda pair: bool(pair.reason)))


def _reason(estimates: Sequence[Estimate], pooled: Pooled) -> str:
    if np.isfinite(pooled.estimate):
        return ""
    if len(estimates) < 2:
        return ONE_LAB
    known = sum(np.isfinite(one.standard_error) for one in estimates)
    return NO_NOISE if known >= 2 else ONE_ESTIMATE


def _verdict(pooled: Pooled, metric: str, p_bh: float, p_equivalent: float) -> Outcome:
    if p_equivalent < LEVEL:
        return "equivalent"
    if p_bh < LEVEL:
        return "helps" if METRICS[metric].sign * pooled.estimate > 0 else "harms"
    return "inconclusive"


def _together(groups: Sequence[Analyses]) -> dict[tuple[float, str, str], tuple[float, float, float]]:
    """(fraction, source, target) -> change and interval of all runs together; only where one group alone has it."""
    found: dict[tuple[float, str, str], list[tuple[float, float, float]]] = {}
    significances: list[Significance] = [one for analyses in groups for one in analyses.significance]
    for significance in significances:
        for pair in significance.pairs:
            verdict = pair.verdict
            key = (significance.fraction, verdict.source, verdict.target)
            found.setdefault(key, []).append((verdict.difference, verdict.low, verdict.high))
    return {key: rows[0] for key, rows in found.items() if len(rows) == 1}


# ---- labs ------------------------------------------------------------------------------------------------------------


def _summary(
    lab: LabRuns, found: Sequence[Departure], pairs: Sequence[PooledPair], targets: Sequence[_Target]
) -> LabSummary:
    own = [pair for pair in pairs if any(_is_of(one, lab) for one in pair.estimates)]
    errors = [one.comparison.with_examples for one in targets if one.lab == lab.name]
    departure = found[0] if found else _untested(lab.name)
    return LabSummary(
        runs=lab,
        seeds=tuple(sorted({int(seed) for seed in lab.group.runs["seed"]})),
        n_pairs=len(own),
        n_alone=sum(len(pair.estimates) == 1 for pair in own),
        with_examples=all(errors) if errors else None,
        departure=departure,
        reason="" if np.isfinite(departure.p_value) else TOO_FEW,
    )


def _is_of(estimate: Estimate, lab: LabRuns) -> bool:
    return estimate.lab == lab.name and bool(np.isfinite(estimate.standard_error))


def _untested(lab: str) -> Departure:
    return departures({}, [lab])[0]


def _why_none(labs: Sequence[LabRuns], pairs: Sequence[PooledPair]) -> str:
    """Why no pair is pooled, as a clause."""
    if len(labs) < 2:
        return "fewer than two labs have runs of their own"
    if not pairs:
        return "no lab has a target with a baseline and a transfer of its own"
    reasons = Counter(pair.reason for pair in pairs)
    return "; ".join(f"{reason} ({n:,} {'pair' if n == 1 else 'pairs'})" for reason, n in reasons.most_common())
