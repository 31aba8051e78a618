"""The default verdict: does the source help, judged over seeds and test examples together?

One target at a time; its baseline and transfers (its *cells*) share seeds and test examples. Runs that collapsed are
counted and left out (`collapse.py`). A run that learnt scores

    score[cell, k] = mean[cell] + seed[k] + noise[cell, k] + example error[cell]

- `seed`: the common effect of equal seeds (order, masks, initial weights: common random numbers); it cancels where
  source and baseline ran with the same seeds (an additive layout of cells and seeds: Grubbs 1948).
- `noise`: has a variance per transfer. Two degrees of freedom estimate it badly, so it is shrunk towards that of the
  other transfers (the moderated t: Smyth 2004, doi 10.2202/1544-6115.1027). The baseline is another kind of model, and
  every comparison uses it: it takes the larger of its own variance and the shrunk one, because a variance that is too
  small by chance would make every comparison wrong. More seeds for the baseline are the cheapest way to more power.
- `example error`: what another test set would change, whatever the seed: the covariance *between* seeds under the
  bootstrap over examples, as in multi-reader multi-case studies (Obuchowski and Rockette 1995; Hillis 2007).

`benchmarks/verdict_simulation.py` gives the false-positive rates and the power behind this choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.collapse import collapsed_runs
from empslurm.analysis.seed_noise import ROUNDING, SeedNoise, seed_noise
from empslurm.errors import UsageError

Outcome = Literal["helps", "harms", "equivalent", "inconclusive", "undecided"]
OUTCOMES: tuple[Outcome, ...] = ("helps", "harms", "equivalent", "inconclusive", "undecided")
LEVEL = 0.05
POWER = 0.8
KNOWN = 1.5  # see `freedom_of`
ONE_SEED = "one seed only: what another seed would change is unknown"
UNDEFINED = "a run has no defined score"
MISSING = "no run"
COLLAPSED = "the pair's runs, or the baseline's, collapse: fewer than two of them learnt"
ONE_SCORE = "all runs of the source have one score and all of the baseline have one: no seed noise to judge them by"


@dataclass(frozen=True, kw_only=True)
class TargetScores:
    """One target's scores. A row per cell: row 0 is the baseline, the others are the sources' transfers."""

    target: str
    sources: tuple[str, ...]
    scores: NDArray[np.float64]  # (1 + n_sources, n_seeds); NaN without a score
    undefined: NDArray[np.bool_] | None = None  # same shape: runs that ended without a defined score
    collapsed: NDArray[np.bool_] | None = None  # same shape: runs known not to have learnt, with or without a score
    example_covariance: NDArray[np.float64] | None = None  # (1 + n_sources, 1 + n_sources); None: predictions unknown
    higher_is_better: bool = True  # of the metric; False for an error


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One target's comparisons before any correction; arrays have shape (n_sources,) unless said otherwise.

    Means, differences and errors are those of the runs that learnt; NaN where no run did.
    """

    target: str
    sources: tuple[str, ...]
    baseline: float  # mean over seeds
    transfer: NDArray[np.float64]
    difference: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    degrees_of_freedom: NDArray[np.float64]
    p_value: NDArray[np.float64]  # two-sided; NaN where undecided
    low: NDArray[np.float64]  # 95 % interval of the difference, not corrected for many pairs
    high: NDArray[np.float64]
    smallest_detectable: NDArray[np.float64]  # |difference| detected with probability .8 at level .05, uncorrected
    covariance: NDArray[np.float64]  # (n_sources, n_sources) of the differences, which share baseline and examples
    mean_covariance: NDArray[np.float64]  # (1 + n_sources, 1 + n_sources) of the cells' means
    noise: SeedNoise  # of single runs of the cells
    n_shared: NDArray[np.int64]  # (n_sources,) seeds with which both the source and the baseline learnt
    example_covariance: NDArray[np.float64]  # (n_sources, n_sources) of the differences over test sets; 0 where unknown
    n_seeds: tuple[int, ...]  # per cell, the baseline first: compared runs, without collapsed ones
    n_collapsed: tuple[int, ...]  # per cell, the baseline first: runs that did not learn
    reasons: tuple[str, ...]  # per source, why undecided; "" where decided
    with_examples: bool  # False: errors cover seed noise only
    higher_is_better: bool

    @property
    def example_variance(self) -> NDArray[np.float64]:
        """(n_sources,) of the differences over test sets; 0 where unknown."""
        return np.diag(self.example_covariance)

    @property
    def sign(self) -> int:
        """The factor that turns a difference into a gain: 1, or -1 where the metric is an error."""
        return 1 if self.higher_is_better else -1

    @property
    def n_runs(self) -> tuple[int, ...]:
        """Per cell, the baseline first: the number of all runs, whether they learnt or not."""
        return tuple(learnt + collapsed for learnt, collapsed in zip(self.n_seeds, self.n_collapsed, strict=True))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one pair. Scores and differences are in the target's metric; for an error, below 0 is a gain."""

    source: str
    target: str
    verdict: Outcome  # equivalent by `p_equivalent`, else by `p_bh`, at level .05
    reason: str  # why undecided, else ""
    baseline: float
    transfer: float
    difference: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float
    p_bh: float  # Benjamini-Hochberg over all tested pairs of all targets
    p_holm: float  # Holm within the target
    p_equivalent: float  # of two one-sided tests against the margin, Benjamini-Hochberg; NaN without a margin
    smallest_detectable: float
    n_seeds_baseline: int  # compared runs, without collapsed ones
    n_seeds_transfer: int
    n_collapsed_baseline: int
    n_collapsed_transfer: int
    n_tested: int  # size of the family of `p_bh`
    with_examples: bool


def shared_example_covariance(
    scores: NDArray[np.float64], cells: NDArray[np.int64], seeds: NDArray[np.int64], n_cells: int
) -> NDArray[np.float64]:
    """Covariance of the cells' scores over test sets that all seeds share, shape (n_cells, n_cells).

    `scores`: (n_models, n_resamples) of the same resamples (`resampling.resample`), every seed's model of every cell;
    `cells`, `seeds`: (n_models,). Only models of different seeds are compared, because the interaction of examples with
    one seed is part of the seed noise. Where two cells have a single seed, that seed's covariance is used instead.
    Undefined models are left out; resamples where a model is undefined take its mean.
    """
    defined = np.asarray(~np.isnan(scores).all(1))
    means = np.nanmean(np.where(defined[:, None], scores, 0.0), axis=1, keepdims=True)
    centred = np.where(np.isnan(scores), 0.0, scores - means)
    covariance = centred @ centred.T / max(1, scores.shape[1] - 1)
    member = (cells == np.arange(n_cells)[:, None]) & defined  # (n_cells, n_models)
    other_seed = seeds[:, None] != seeds[None, :]
    counts, all_counts = _sums(member, other_seed), _sums(member, np.ones_like(other_seed))
    across = _sums(member, covariance * other_seed) / np.maximum(counts, 1)
    within = _sums(member, covariance) / np.maximum(all_counts, 1)
    return _nearest_covariance(np.where(counts > 0, across, within))


def _sums(member: NDArray[np.bool_], values: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
    weights = member.astype(np.float64)
    return np.asarray(weights @ values.astype(np.float64) @ weights.T)


def _nearest_covariance(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set negative eigenvalues to 0: they are estimation error, since a covariance has none."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def compare(table: TargetScores) -> Comparison:
    """Compare every source of one target with its baseline; each error covers seed noise and example error.

    Runs that did not learn, by `collapsed` or by their scores (`collapse.collapsed_runs`), are counted and left out;
    otherwise a baseline that by luck had no collapse would beat all sources at once.
    """
    _check(table)
    collapsed = collapsed_runs(table.scores, higher_is_better=table.higher_is_better, known=table.collapsed)
    table = replace(
        table,
        scores=np.where(collapsed, np.nan, table.scores),
        undefined=None if table.undefined is None else table.undefined & ~collapsed,
    )
    n_collapsed = collapsed.sum(1)
    reasons = _reasons(table, n_collapsed)
    n_seeds = (~np.isnan(table.scores)).sum(1)
    usable: NDArray[np.bool_] = np.array(
        [True, *(reason not in (UNDEFINED, MISSING) for reason in reasons)], dtype=bool
    )
    noise = seed_noise(np.where(usable[:, None], table.scores, np.nan))
    means = np.array([row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else np.nan for row in table.scores])
    if table.undefined is not None:  # the remaining seeds would be only those that went well
        means[table.undefined.any(1)] = np.nan
    decided = np.array([reason == "" for reason in reasons], dtype=bool)
    parts = _variance_parts(table, noise, n_seeds)
    return _tested(table, reasons, decided, means, n_seeds, n_collapsed, noise, parts)


def _check(table: TargetScores) -> None:
    rows = 1 + len(table.sources)
    for name, array, shape in (
        ("scores", table.scores, (rows, table.scores.shape[-1])),
        ("undefined", table.undefined, table.scores.shape),
        ("collapsed", table.collapsed, table.scores.shape),
        ("example_covariance", table.example_covariance, (rows, rows)),
    ):
        if array is not None and array.shape != shape:
            raise UsageError(
                f"{name} of {table.target} must have shape {shape}, but has {array.shape}; "
                "row 0 is the baseline, then one row per source"
            )


def _reasons(table: TargetScores, n_collapsed: NDArray[np.int64]) -> tuple[str, ...]:
    """Why each source cannot be judged; "" where it can. `table`: without the scores of collapsed runs."""
    undefined = np.zeros(table.scores.shape, dtype=bool) if table.undefined is None else table.undefined
    n_seeds = (~np.isnan(table.scores)).sum(1)
    n_runs = n_seeds + n_collapsed
    one_score = [len(runs) > 0 and np.ptp(runs) < ROUNDING for runs in (row[~np.isnan(row)] for row in table.scores)]
    reasons = []
    for row in range(1, len(table.scores)):
        if undefined[row].any() or undefined[0].any():
            reasons.append(UNDEFINED)
        elif n_runs[row] == 0 or n_runs[0] == 0:
            reasons.append(MISSING)
        elif n_runs[row] == 1 or n_runs[0] == 1:
            reasons.append(ONE_SEED)
        elif n_seeds[row] < 2 or n_seeds[0] < 2:
            reasons.append(COLLAPSED)
        else:
            reasons.append(ONE_SCORE if one_score[row] and one_score[0] else "")
    return tuple(reasons)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The parts of the covariance of the cells' means; shapes (n_cells, n_cells)."""

    noise: NDArray[np.float64]
    seed: NDArray[np.float64]
    examples: NDArray[np.float64]


def _variance_parts(table: TargetScores, noise: SeedNoise, n_seeds: NDArray[np.int64]) -> _Parts:
    there = np.asarray(~np.isnan(table.scores), dtype=np.float64)
    n_runs = np.maximum(n_seeds, 1).astype(np.float64)
    shared = there @ there.T / np.outer(n_runs, n_runs)
    examples = table.example_covariance
    return _Parts(
        noise=np.diag(noise.variance / n_runs),
        seed=noise.seed_variance * shared,
        examples=np.zeros_like(shared) if examples is None else examples,
    )


def _contrast(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of the differences from cell 0, shape (n_sources, n_sources)."""
    return np.asarray(covariance[1:, 1:] - covariance[1:, :1] - covariance[:1, 1:] + covariance[0, 0])


def _tested(
    table: TargetScores,
    reasons: tuple[str, ...],
    decided: NDArray[np.bool_],
    means: NDArray[np.float64],
    n_seeds: NDArray[np.int64],
    n_collapsed: NDArray[np.int64],
    noise: SeedNoise,
    parts: _Parts,
) -> Comparison:
    from scipy.stats import t as student

    there = ~np.isnan(table.scores)
    total = parts.noise + parts.seed + parts.examples
    covariance = _contrast(total)
    difference = means[1:] - means[0]
    difference[np.abs(difference) < ROUNDING] = 0.0
    with np.errstate(invalid="ignore"):
        standard_error = np.where(decided, np.sqrt(np.diag(covariance)), np.nan)
    freedom = np.where(decided, _satterthwaite(noise, parts, np.diag(covariance)), np.nan)
    ratio = np.full(len(difference), np.nan)
    exact = decided & (standard_error <= 0)
    np.divide(np.abs(difference), standard_error, out=ratio, where=decided & ~exact)
    ratio[exact] = np.where(difference[exact] == 0, 0.0, np.inf)
    margin = student.ppf(1 - LEVEL / 2, freedom) * standard_error
    return Comparison(
        target=table.target,
        sources=table.sources,
        baseline=float(means[0]),
        transfer=means[1:],
        difference=difference,
        standard_error=standard_error,
        degrees_of_freedom=freedom,
        p_value=2 * student.sf(ratio, freedom),
        low=difference - margin,
        high=difference + margin,
        smallest_detectable=margin + student.ppf(POWER, freedom) * standard_error,
        covariance=np.where(np.outer(decided, decided), covariance, np.nan),
        mean_covariance=total,
        noise=noise,
        n_shared=(there[1:] & there[0]).sum(1),
        example_covariance=_contrast(parts.examples),
        n_seeds=tuple(int(n) for n in n_seeds),
        n_collapsed=tuple(int(n) for n in n_collapsed),
        reasons=reasons,
        with_examples=table.example_covariance is not None,
        higher_is_better=table.higher_is_better,
    )


def _satterthwaite(noise: SeedNoise, parts: _Parts, total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Satterthwaite's degrees of freedom of each comparison's variance: (n_sources,)."""
    own, base = np.diag(parts.noise)[1:], parts.noise[0, 0]
    seed = np.diag(_contrast(parts.seed))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (
            own**2 / noise.degrees_of_freedom[1:]
            + base**2 / noise.degrees_of_freedom[0]
            + seed**2 / noise.seed_degrees_of_freedom
        )
    return freedom_of(own + base + seed, spread, total, noise.total_degrees_of_freedom)


def freedom_of(
    seeds_only: NDArray[np.float64], spread: NDArray[np.float64], total: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Satterthwaite's degrees of freedom of variances that have an example part; all of one shape.

    `seeds_only`: their sums without it; `spread`: per sum, the squares of its terms over their degrees of freedom;
    `limit`: the degrees of freedom of all residuals of the target, an upper limit for sums without examples. A known
    example part would multiply both by the square of `total / seeds_only` (Hillis 2007). It is estimated, so the power
    is only `KNOWN`: with it false positives are at .05 where variances differ; with the square they are at .053.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        loosened = np.where(seeds_only > 0, (total / seeds_only) ** KNOWN, 1.0)
        return np.asarray(np.minimum(np.where(spread > 0, seeds_only**2 / spread, limit), limit) * loosened)


def decide(comparisons: Sequence[Comparison], margin: float | None = None) -> tuple[Verdict, ...]:
    """Verdicts of all pairs: Benjamini-Hochberg over every tested pair (the family), Holm within each target.

    `margin`: a difference that is too small to matter, above 0, in each target's metric. Pairs that are shown to differ
    by less are `equivalent`, even where the difference is shown not to be 0. Without a margin, no pair is.
    """
    p_values = np.concatenate([comparison.p_value for comparison in comparisons] or [np.empty(0)])
    bh = benjamini_hochberg(p_values)
    equal = benjamini_hochberg(
        np.concatenate([equivalence_p_values(comparison, margin) for comparison in comparisons] or [np.empty(0)])
    )
    n_tested = int((~np.isnan(p_values)).sum())
    verdicts, start = [], 0
    for comparison in comparisons:
        holm = _holm(comparison.p_value)
        for at in range(len(comparison.sources)):
            adjusted = (float(bh[start + at]), float(holm[at]), float(equal[start + at]))
            verdicts.append(_verdict(comparison, at, *adjusted, n_tested))
        start += len(comparison.sources)
    return tuple(verdicts)


def equivalence_p_values(comparison: Comparison, margin: float | None) -> NDArray[np.float64]:
    """The larger p of two one-sided tests that show |difference| < margin (Schuirmann 1987): (n_sources,).

    NaN where a pair is undecided, and everywhere without a margin.
    """
    from scipy.stats import t as student

    tested = ~np.isnan(comparison.p_value)
    p_values = np.full(len(tested), np.nan)
    if margin is None:
        return p_values
    inside, error = margin - np.abs(comparison.difference), comparison.standard_error
    exact = tested & ~(error > 0)
    p_values[exact] = np.where(inside[exact] > 0, 0.0, 1.0)
    rest = tested & ~exact
    # The test against the nearer bound has the larger p.
    p_values[rest] = student.sf(inside[rest] / error[rest], comparison.degrees_of_freedom[rest])
    return p_values


def benjamini_hochberg(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p-values of the family of all that are not NaN (Benjamini and Hochberg 1995)."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(len(p_values), np.nan)
    tested = ~np.isnan(p_values)
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], method="fdr_bh")[1]
    return adjusted


def _holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's adjusted p-values; not from statsmodels, which runs the garbage collector in every call."""
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested])]
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def _verdict(
    comparison: Comparison, at: int, p_bh: float, p_holm: float, p_equivalent: float, n_tested: int
) -> Verdict:
    difference = float(comparison.difference[at])
    outcome: Outcome = "inconclusive"
    if np.isnan(p_bh):
        outcome = "undecided"
    elif p_equivalent < LEVEL:
        outcome = "equivalent"
    elif p_bh < LEVEL:
        outcome = "helps" if comparison.sign * difference > 0 else "harms"
    return Verdict(
        source=comparison.sources[at],
        target=comparison.target,
        verdict=outcome,
        reason=comparison.reasons[at],
        baseline=comparison.baseline,
        transfer=float(comparison.transfer[at]),
        difference=difference,
        low=float(comparison.low[at]),
        high=float(comparison.high[at]),
        standard_error=float(comparison.standard_error[at]),
        degrees_of_freedom=float(comparison.degrees_of_freedom[at]),
        p_value=float(comparison.p_value[at]),
        p_bh=p_bh,
        p_holm=p_holm,
        p_equivalent=p_equivalent,
        smallest_detectable=float(comparison.smallest_detectable[at]),
        n_seeds_baseline=comparison.n_seeds[0],
        n_seeds_transfer=comparison.n_seeds[1 + at],
        n_collapsed_baseline=comparison.n_collapsed[0],
        n_collapsed_transfer=comparison.n_collapsed[1 + at],
        n_tested=n_tested,
        with_examples=comparison.with_examples,
    )
