"""Several labs' estimates of the same pairs, pooled by random effects, and which lab departs from the others.

Pooling, per pair. Each lab has an estimate and the variance of its error, from its own verdict (`verdicts.py`: seed
noise and example error). Labs may differ in truth (other settings, machines, data), with variance tau^2. It is
estimated as Paule and Mandel (1982) do, which needs no normal distribution and is recommended for few studies (Veroniki
et al. 2016, doi 10.1002/jrsm.1164). The interval uses Student's t with k - 1 degrees of freedom for k labs, as Hartung
and Knapp (2001) do, and is never narrower than the random-effects error itself (Röver, Knapp and Friede 2015,
doi 10.1186/s12874-015-0091-1). With two labs it is very wide: two labs say little about all labs.

Test examples. Labs with the same test examples share the example error of a pair: it neither makes them differ, nor
does it shrink by pooling. So it is left out of weights, Q and tau^2, and added once to the pooled variance. If only
some labs share a test set, it stays in the labs' variances (so that Q is too small rather than too large), and what
these labs share is added to the pooled variance.

Q is Cochran's. Its p-value is Welch's (`interactions.py`), because the labs' variances are estimated from few seeds.

Which lab departs. With few labs the Q of a single pair is weak, so each lab is compared with the mean of all others
over all pairs at once: whether its gains are shifted, and whether they are scattered within targets. Within a lab the
pairs of a target share a baseline and may share seeds and examples: their covariance is used. The noise of single runs
is estimated over all labs, up to a level of each lab: two runs alone would say too little. The lab with the smallest
p-value is flagged, if that is below .05 after Bonferroni's correction over labs and both tests; then the others are
compared without it. Where labs differ in truth, pair by pair, as other settings do, a lab is flagged only if it departs
by more than the others do among themselves. `benchmarks/pooling.py` has the false alarms, the power and the coverage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.interactions import interactions
from empslurm.analysis.verdicts import KNOWN, LEVEL, Comparison, freedom_of
from empslurm.errors import UsageError

NEGLIGIBLE = 1e-10  # a variance below this share of the pair's largest counts as this share
ROUNDING = 1e-12  # of gains near 1
FEWEST_LABS = 3  # for a prediction interval, and to tell which lab departs
TESTS = 2  # of each lab: shifted, scattered


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One pair over labs, in the unit of the estimates; NaN where fewer than two labs can be pooled."""

    n_labs: int  # with an estimate and an error
    estimate: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float  # two-sided, of no change
    low: float  # 95 % interval of the mean over labs
    high: float
    tau: float  # standard deviation of the labs' true values
    q: float  # Cochran's
    q_p: float  # Welch's
    i2: float  # share of the estimates' variance that is not noise, at least 0
    prediction_low: float  # 95 % interval of the true value in another lab; NaN with fewer than three
    prediction_high: float
    weights: tuple[float, ...]  # per lab, together 1; 0 for one that is not pooled


def pool(
    estimates: NDArray[np.float64],
    variances: NDArray[np.float64],
    *,
    freedom: NDArray[np.float64],
    examples: NDArray[np.float64] | None = None,
    test_sets: NDArray[np.int64] | None = None,
) -> tuple[Pooled, ...]:
    """Pool every pair over labs. All shapes (n_pairs, n_labs); a lab counts where estimate and variance are known.

    `variances`: of the estimates, seeds and examples together; `freedom`: their degrees of freedom; `examples`: the
    part of the variances that is example error (None: unknown, or none); `test_sets`: equal numbers mark labs with the
    same test examples, negative ones are shared with nobody.
    """
    shape = estimates.shape
    examples = np.zeros(shape) if examples is None else examples
    test_sets = np.full(shape, -1) if test_sets is None else test_sets
    if not shape == variances.shape == freedom.shape == examples.shape == test_sets.shape or len(shape) != 2:
        raise UsageError(
            f"estimates, variances and the rest must have one shape (pairs, labs), but estimates have {shape} and "
            f"variances {variances.shape}; give one of each per pair and lab"
        )
    there = np.isfinite(estimates) & np.isfinite(variances)
    shared = np.array([_all_share(sets[own]) for sets, own in zip(test_sets, there, strict=True)], dtype=bool)
    own = np.where(shared[:, None], np.maximum(variances - examples, 0.0), variances)
    largest = np.where(there, own, 0.0).max(1, initial=0.0)
    poolable = (there.sum(1) >= 2) & (largest > ROUNDING**2)
    own = np.maximum(own, NEGLIGIBLE * largest[:, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        # As `freedom_of` loosens the degrees of freedom of a variance with an example part.
        tight = np.where(variances > 0, freedom * np.minimum(own / variances, 1.0) ** KNOWN, freedom)
    q_p = interactions(np.where(there, estimates, np.nan), np.sqrt(own), tight).p_value
    return tuple(
        _pooled(
            estimates[row],
            own[row],
            np.where(there[row], examples[row], 0.0),
            there[row] if poolable[row] else np.zeros_like(there[row]),
            test_sets[row],
            shared=bool(shared[row]),
            q_p=float(q_p[row]),
        )
        for row in range(shape[0])
    )


def _all_share(sets: NDArray[np.int64]) -> bool:
    return len(sets) > 1 and bool((sets == sets[0]).all() and sets[0] >= 0)


def _pooled(
    estimates: NDArray[np.float64],
    own: NDArray[np.float64],
    examples: NDArray[np.float64],
    there: NDArray[np.bool_],
    test_sets: NDArray[np.int64],
    *,
    shared: bool,
    q_p: float,
) -> Pooled:
    """One pair. `own`: variances of the errors that tell labs apart."""
    from scipy.stats import t as student
    from statsmodels.stats.meta_analysis import combine_effects

    k = int(there.sum())
    weights = np.zeros(len(there))
    if k < 2:
        nan = float("nan")
        return Pooled(
            n_labs=k,
            weights=tuple(weights.tolist()),
            **dict.fromkeys(("estimate", "standard_error", "degrees_of_freedom", "p_value", "low", "high"), nan),
            **dict.fromkeys(("tau", "q", "q_p", "i2", "prediction_low", "prediction_high"), nan),
        )
    # In units of the typical error: the iteration for tau^2 stops at an absolute tolerance.
    unit = float(np.sqrt(np.median(own[there])))
    unit = unit if unit > 0 else float(np.sqrt(own[there].max()))
    found = combine_effects(estimates[there] / unit, own[there] / unit**2, method_re="iterated", maxiter=200)
    weights[there] = found.weights_rel_re
    root = np.sqrt(examples)
    if shared:
        common = float((weights @ root) ** 2)
    else:
        same = (test_sets[:, None] == test_sets) & (test_sets >= 0) & ~np.eye(len(there), dtype=bool)
        common = float((weights * root) @ same @ (weights * root))
    apart = float(found.var_eff_w_re) * unit**2
    total = apart + common
    limit = float(k - 1)
    freedom = float(freedom_of(np.array(apart), np.array(apart**2 / limit), np.array(total), limit))
    estimate, error = float(found.mean_effect_re) * unit, float(np.sqrt(total))
    tau2 = max(0.0, float(found.tau2)) * unit**2
    margin = float(student.ppf(1 - LEVEL / 2, freedom)) * error
    beyond = float("nan")
    if k >= FEWEST_LABS:
        beyond = float(student.ppf(1 - LEVEL / 2, k - 2) * np.sqrt(tau2 + total))
    q = max(0.0, float(found.q))
    return Pooled(
        n_labs=k,
        estimate=estimate,
        standard_error=error,
        degrees_of_freedom=freedom,
        p_value=float(2 * student.sf(abs(estimate) / error, freedom)),
        low=estimate - margin,
        high=estimate + margin,
        tau=float(np.sqrt(tau2)),
        q=q,
        q_p=q_p,
        i2=max(0.0, 1 - limit / q) if q > 0 else 0.0,
        prediction_low=estimate - beyond,
        prediction_high=estimate + beyond,
        weights=tuple(weights.tolist()),
    )


def equivalence_p_value(pooled: Pooled, margin: float | None) -> float:
    """The larger p of two one-sided tests that show |mean over labs| < margin; NaN without a margin or an estimate."""
    from scipy.stats import t as student

    if margin is None or not np.isfinite(pooled.standard_error):
        return float("nan")
    return float(student.sf((margin - abs(pooled.estimate)) / pooled.standard_error, pooled.degrees_of_freedom))


# ---- which lab departs from the others -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """One lab's pairs of one target; shapes (n_sources,) unless said otherwise. Only pairs with an error."""

    sources: tuple[str, ...]
    gains: NDArray[np.float64]  # positive is better
    n_baseline: float  # runs
    n_transfer: NDArray[np.float64]
    rest: NDArray[np.float64]  # (n_sources, n_sources) covariance of the errors beyond the noise of single runs
    baseline: tuple[float, float]  # variance of its single runs, from these alone, and its degrees of freedom
    transfers: tuple[float, float]  # the same of the transfers, their mean

    @property
    def n_runs(self) -> NDArray[np.float64]:
        """Weights: the harmonic mean of the runs of each pair's two cells."""
        return np.asarray(2 / (1 / self.n_baseline + 1 / self.n_transfer))


def block(comparison: Comparison, *, shared_examples: bool) -> Block:
    """The pairs of a comparison that have an error. `shared_examples`: all labs have these test examples."""
    kept = np.flatnonzero(np.isfinite(comparison.difference) & np.isfinite(comparison.standard_error))
    cells = 1 + kept
    n_seeds = np.maximum(1.0, np.array(comparison.n_seeds, dtype=np.float64))
    noise = comparison.noise
    rest = comparison.covariance[np.ix_(kept, kept)]
    if shared_examples:
        rest = rest - comparison.example_covariance[np.ix_(kept, kept)]
    rest = rest - noise.variance[0] / n_seeds[0] - np.diag(noise.variance[cells] / n_seeds[cells])
    return Block(
        sources=tuple(comparison.sources[at] for at in kept),
        gains=comparison.sign * comparison.difference[kept],
        n_baseline=float(n_seeds[0]),
        n_transfer=n_seeds[cells],
        rest=rest,
        baseline=(noise.own_variance, noise.own_degrees_of_freedom),
        transfers=(noise.transfer_variance, noise.transfer_degrees_of_freedom),
    )


Blocks = Mapping[str, Mapping[str, Block]]  # target -> lab -> its pairs


@dataclass(frozen=True, kw_only=True)
class Departure:
    """How far one lab is from the mean of the others, over all pairs that it shares with at least two of them.

    NaN where there are no such pairs.
    """

    lab: str
    n_pairs: int
    shift: float  # mean of its gains minus the others', in the unit of the scores
    low: float  # 95 % interval of `shift`
    high: float
    p_shift: float
    scatter: float  # squared deviations from its shift of each target, over what is usual; 1: as usual
    p_scatter: float
    p_value: float  # of both, corrected for the two tests and the number of labs
    flagged: bool
    others: tuple[str, ...]  # the labs that it was compared with


def departures(blocks: Blocks, labs: Sequence[str]) -> tuple[Departure, ...]:
    """Compare every lab with the others, step by step: the one that departs most is flagged and set aside."""
    noise = _noise(blocks, labs)
    rest, flagged, reached = list(labs), dict[str, Departure](), 0.0
    while True:
        found = {lab: _departure(blocks, noise, lab, [other for other in rest if other != lab]) for lab in rest}
        tested = [one for one in found.values() if np.isfinite(one.p_value)]
        if not tested:
            break
        corrected = {one.lab: min(1.0, max(reached, TESTS * len(tested) * one.p_value)) for one in tested}
        first = min(tested, key=lambda one: one.p_value)
        if corrected[first.lab] >= LEVEL:
            found |= {one.lab: replace(one, p_value=corrected[one.lab]) for one in tested}
            break
        reached = corrected[first.lab]
        flagged[first.lab] = replace(first, p_value=reached, flagged=True)
        rest.remove(first.lab)
    return tuple(flagged[lab] if lab in flagged else found[lab] for lab in labs)


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """Noise of single runs: of each target's baselines and transfers over labs, times a level of each lab.

    The variances of one lab and target have few degrees of freedom; this model leaves labs their own noise and uses
    all runs. Each entry: a variance (or a level, 1 for a typical lab) and its degrees of freedom.
    """

    baselines: Mapping[str, tuple[float, float]]
    transfers: Mapping[str, tuple[float, float]]
    levels: Mapping[str, tuple[float, float]]


def _noise(blocks: Blocks, labs: Sequence[str]) -> _Noise:
    baselines = {target: _joined([one.baseline for one in own.values()]) for target, own in blocks.items()}
    transfers = {target: _joined([one.transfers for one in own.values()]) for target, own in blocks.items()}
    levels = {}
    for lab in labs:
        own = {target: of_lab[lab] for target, of_lab in blocks.items() if lab in of_lab}
        ratios = [
            (variance / common[target][0], freedom)
            for common, name in ((baselines, "baseline"), (transfers, "transfers"))
            for target, one in own.items()
            for variance, freedom in [getattr(one, name)]
            if common[target][0] > ROUNDING**2
        ]
        levels[lab] = _joined(ratios)
    return _Noise(baselines=baselines, transfers=transfers, levels=levels)


def _joined(variances: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of variances by their degrees of freedom, and the sum of these; (0, 0) without any."""
    known = [(variance, freedom) for variance, freedom in variances if freedom > 0 and np.isfinite(variance)]
    total = sum(freedom for _, freedom in known)
    return (sum(variance * freedom for variance, freedom in known) / total if total > 0 else 0.0), total


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One lab's part in the deviations of a target; shapes (n,). `weight`: of its gains in each deviation."""

    lab: str
    gains: NDArray[np.float64]
    weight: NDArray[np.float64]
    baseline: float  # variance of its mean
    transfers: NDArray[np.float64]
    rest: NDArray[np.float64]  # (n, n)

    @property
    def covariance(self) -> NDArray[np.float64]:
        return np.asarray(
            np.outer(self.weight, self.weight) * (self.baseline + self.rest) + np.diag(self.weight**2 * self.transfers)
        )


@dataclass(frozen=True, kw_only=True)
class _Apart:
    """Deviations of one lab from the mean of the others at one target."""

    target: str
    deviation: NDArray[np.float64]  # (n,)
    parts: tuple[_Part, ...]  # the lab's own first, whose weight is 1; of the others together 1
    tau2: float = 0.0  # variance of labs' true gains of a pair around their mean

    @property
    def covariance(self) -> NDArray[np.float64]:
        return np.asarray(sum(part.covariance for part in self.parts) + np.diag(self.tau2 * self.n_true))

    @property
    def n_true(self) -> NDArray[np.float64]:
        """(n,) variance of the deviations in units of `tau2`."""
        return np.asarray(sum(part.weight**2 for part in self.parts))

    @property
    def unit(self) -> float:
        return float(np.sqrt(np.diag(self.covariance).mean()))


def _departure(blocks: Blocks, noise: _Noise, lab: str, others: Sequence[str]) -> Departure:
    """One lab against the mean of the others; `p_value` is the smaller of both, uncorrected."""
    from scipy.stats import f as fisher
    from scipy.stats import t as student

    apart = [one for target in blocks if (one := _apart(blocks, noise, target, lab, others)) is not None]
    apart = [one for one in apart if one.unit > ROUNDING]
    n = sum(len(one.deviation) for one in apart)
    if not n:
        nan = float("nan")
        numbers = dict.fromkeys(("shift", "low", "high", "p_shift", "scatter", "p_scatter", "p_value"), nan)
        return Departure(lab=lab, n_pairs=0, flagged=False, others=tuple(others), **numbers)
    units = [one.unit for one in apart]
    usual = _usual(apart, units)
    apart = [replace(one, tau2=usual.tau2 * unit**2) for one, unit in zip(apart, units, strict=True)]
    # In units of each target's errors, so that metrics with other scales count alike.
    scaled, variance, freedom = _mean(apart, noise, usual, units, n)
    p_shift = float(fisher.sf(scaled**2 / variance, 1, freedom))
    shift, raw_variance, raw_freedom = _mean(apart, noise, usual, [1.0] * len(apart), n)
    margin = float(student.ppf(1 - LEVEL / 2, raw_freedom) * np.sqrt(raw_variance))
    scatter, p_scatter = _scatter(apart, noise, usual, units)
    return Departure(
        lab=lab,
        n_pairs=n,
        shift=shift,
        low=shift - margin,
        high=shift + margin,
        p_shift=p_shift,
        scatter=scatter,
        p_scatter=p_scatter,
        p_value=float(np.nanmin([p_shift, p_scatter])),
        flagged=False,
        others=tuple(others),
    )


def _apart(blocks: Blocks, noise: _Noise, target: str, lab: str, others: Sequence[str]) -> _Apart | None:
    """One target; None where the lab shares no pair with at least two of the others."""
    of_lab = blocks[target]
    own = of_lab.get(lab)
    there = [other for other in others if other in of_lab and of_lab[other].sources]
    if own is None or len(there) < FEWEST_LABS - 1:
        return None
    counts = [sum(source in of_lab[other].sources for other in there) for source in own.sources]
    kept = [source for source, n in zip(own.sources, counts, strict=True) if n >= FEWEST_LABS - 1]
    if not kept:
        return None
    rows = {name: np.array([_at(of_lab[name], source) for source in kept]) for name in (lab, *there)}
    runs = np.array([np.where(rows[name] >= 0, of_lab[name].n_runs[rows[name]], 0.0) for name in there])
    weights = [np.ones(len(kept)), *(runs / runs.sum(0))]
    parts = []
    for name, weight in zip((lab, *there), weights, strict=True):
        one, at, level = of_lab[name], rows[name], noise.levels[name][0]
        parts.append(
            _Part(
                lab=name,
                gains=one.gains[at],
                weight=weight,
                baseline=level * noise.baselines[target][0] / one.n_baseline,
                transfers=level * noise.transfers[target][0] / one.n_transfer[at],
                rest=one.rest[np.ix_(at, at)],
            )
        )
    mine, *theirs = parts
    deviation = mine.gains - sum(part.weight * part.gains for part in theirs)
    deviation = np.where(np.abs(deviation) < ROUNDING, 0.0, deviation)
    return _Apart(target=target, deviation=deviation, parts=tuple(parts))


def _at(one: Block, source: str) -> int:
    """The row of a source; -1 without one, whose weight is 0."""
    return one.sources.index(source) if source in one.sources else -1


@dataclass(frozen=True, kw_only=True)
class _Usual:
    """How much the other labs differ among themselves. In squared units of each target's error."""

    tau2: float  # at least 0
    noise: float  # of a single gain, beside it
    freedom: float


def _usual(apart: Sequence[_Apart], units: Sequence[float]) -> _Usual:
    """By moments: how far the gains of any two of the others differ beyond a shift of the target and beyond noise."""
    excess = noise = count = freedom = 0.0
    for one, unit in zip(apart, units, strict=True):
        others = one.parts[1:]
        for at, first in enumerate(others):
            for second in others[at + 1 :]:
                both = np.flatnonzero((first.weight > 0) & (second.weight > 0))
                n = len(both)
                if n < 2:
                    continue
                centring = np.eye(n) - 1 / n
                expected = sum(
                    float(
                        np.trace(centring @ (part.rest[np.ix_(both, both)] + np.diag(part.transfers[both])) @ centring)
                    )
                    for part in (first, second)
                )
                squares = float(((centring @ (first.gains - second.gains)[both]) ** 2).sum())
                excess += (squares - expected) / unit**2
                noise += expected / unit**2
                count += 2 * (n - 1)
        freedom += (len(one.deviation) - 1) * (len(others) - 1)
    if not count:
        return _Usual(tau2=0.0, noise=0.0, freedom=1.0)
    return _Usual(tau2=max(0.0, excess / count), noise=noise / count, freedom=freedom)


def _mean(
    apart: Sequence[_Apart], noise: _Noise, usual: _Usual, units: Sequence[float], n: int
) -> tuple[float, float, float]:
    """Mean deviation over n pairs, its variance, and Satterthwaite's degrees of freedom of that variance."""
    mean = variance = true = 0.0
    terms: list[tuple[str, str, float, float]] = []
    for one, unit in zip(apart, units, strict=True):
        scale = 1 / (unit * n)
        mean += float(one.deviation.sum()) * scale
        variance += float(one.covariance.sum()) * scale**2
        true += float(one.n_true.sum()) * one.tau2 * scale**2
        for part in one.parts:
            base = part.baseline * float(part.weight.sum() * scale) ** 2
            terms.append((one.target, part.lab, base, float((part.transfers * (part.weight * scale) ** 2).sum())))
    return mean, variance, _freedom(variance, terms, noise, usual, true)


def _scatter(apart: Sequence[_Apart], noise: _Noise, usual: _Usual, units: Sequence[float]) -> tuple[float, float]:
    """Squared deviations from each target's own shift, over what is usual, and the p-value.

    NaN where no target has two pairs. Without the shift the baselines cancel, whose variances are known worst.
    """
    from scipy.stats import f as fisher

    squares = expected = crossed = true = 0.0
    terms: list[tuple[str, str, float, float]] = []
    for one, unit in zip(apart, units, strict=True):
        n = len(one.deviation)
        centring = np.eye(n) - 1 / n
        covariance = centring @ one.covariance @ centring
        squares += float(((centring @ one.deviation) ** 2).sum()) / unit**2
        expected += float(np.trace(covariance)) / unit**2
        crossed += float((covariance**2).sum()) / unit**4
        true += float(one.n_true.sum()) * one.tau2 * (1 - 1 / n) / unit**2
        for part in one.parts:
            own = float((part.transfers * part.weight**2).sum()) * (1 - 1 / n) / unit**2
            terms.append((one.target, part.lab, 0.0, own))
    if not expected > ROUNDING:
        return float("nan"), float("nan")
    freedom = _freedom(expected, terms, noise, usual, true)
    return squares / expected, float(fisher.sf(squares / expected, expected**2 / crossed, freedom))


def _freedom(
    total: float, terms: Sequence[tuple[str, str, float, float]], noise: _Noise, usual: _Usual, true: float
) -> float:
    """Satterthwaite's degrees of freedom of a variance. `terms`: target, lab, part of its baseline, of its transfers.

    A target's variances are common to all labs, and a lab's level to all targets. `true`: the part of true differences.
    """
    sums: dict[tuple[int, str], float] = {}
    for target, lab, base, own in terms:
        for key, value in (((0, target), base), ((1, target), own), ((2, lab), base + own)):
            sums[key] = sums.get(key, 0.0) + value
    kinds = (noise.baselines, noise.transfers, noise.levels)
    spread = sum(value**2 / kinds[kind][name][1] for (kind, name), value in sums.items() if value > 0)
    if usual.tau2 > 0 and true > 0:
        spread += (true * (1 + usual.noise / usual.tau2)) ** 2 / usual.freedom
    return total**2 / spread if spread > 0 else float("inf")
