"""Verdicts from gathered scores and predictions, target by target: the default test and the paper's."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from empslurm import ids
from empslurm.analysis.collapse import collapsed_runs
from empslurm.analysis.improvement import Improvement, improvements
from empslurm.analysis.resampling import Examples, resample
from empslurm.analysis.significance import ExampleTest, example_test
from empslurm.analysis.verdicts import (
    Comparison,
    TargetScores,
    Verdict,
    compare,
    decide,
    shared_example_covariance,
)
from empslurm.errors import EmpslurmError
from empslurm.gather import prediction_files
from empslurm.metrics import METRICS
from empslurm.report.scores import TOLD, Score, ScoreTable

LEVEL = 0.05
N_RESAMPLES = 10_000  # of the paper's test
N_RESAMPLES_COVARIANCE = 2_000  # a covariance needs fewer resamples
N_RESAMPLES_SEEDS = 1_000  # for pairs of seeds of the same cell, of which there are many
NO_PREDICTIONS = "no predictions: the paper's test needs them"
OTHER_EXAMPLES = "the runs were tested on different examples, or on other gold answers"
OTHER_LABELS = "the runs' predictions have different numbers of labels"
CONTROL = "\0control"  # "source" of a baseline with less data than the one it is compared with; no task's name
CONTROL_TITLE = "(none)"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained model of a target: a row of the comparison, with one seed."""

    row: int  # 0: the baseline
    seed: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """Everything known about one target at one data fraction."""

    target: str
    metric: str
    comparison: Comparison
    improvements: tuple[Improvement, ...]  # one per source
    test: ExampleTest | None  # the paper's, on `test_sources`
    test_sources: tuple[str, ...]
    test_seed: int | None
    n_examples: int
    n_groups: int
    doubt: str  # why the paper's test is missing; "" where it ran
    same_cell: tuple[int, int]  # pairs of seeds of one cell that the paper's test calls different, and all pairs


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """One pair, as a row of the verdict table."""

    verdict: Verdict
    improvement: Improvement
    paper_p: float
    paper_outcome: str  # helps, harms, inconclusive, or "" without a test
    disagreement: str  # a clause where the two verdicts differ, else ""


def target_results(
    table: ScoreTable, *, baselines: ScoreTable | None = None, grouped: bool = True
) -> tuple[TargetResult, ...]:
    """Compare every source of every target of a table with the target's baseline.

    `baselines`: the table whose baselines are compared with (for limited data: all data); by default `table`.
    `grouped`: resample whole conversations, posts or dialogues; False: single examples, as the paper may have done.
    """
    return tuple(_target(table, target, base, there, grouped) for target, base, there in comparable(table, baselines))


def comparable(table: ScoreTable, baselines: ScoreTable | None = None) -> Iterator[tuple[str, Score, dict[str, Score]]]:
    """Each target that has a baseline and a transfer: its baseline, and its scores by source. As `target_results`."""
    for target in table.targets:
        base = (baselines or table).scores.get((target, target))
        moved = {source: score for source, score in table.columns[target].items() if source != target}
        if baselines is not None and (target, target) in table.scores:
            moved[CONTROL] = table.scores[target, target]
        there = {source: score for source, score in moved.items() if score.seeds}
        if base is not None and base.seeds and there:
            yield target, base, there


def compare_with(
    table: ScoreTable, target: str, base: Score, moved: Mapping[str, Score], *, grouped: bool
) -> tuple[Comparison, Loaded | str]:
    """Compare every score of `moved` (by source) with `base` over seeds; and the predictions, or why there are none."""
    rows = (base, *moved.values())
    seeds = sorted({seed for score in rows for seed in score.seeds})
    scores = np.full((len(rows), len(seeds)), np.nan)
    undefined, known_collapsed = np.zeros(scores.shape, dtype=bool), np.zeros(scores.shape, dtype=bool)
    for row, score in enumerate(rows):
        for seed, value, flags in zip(score.seeds, score.values, score.flags_of_seeds, strict=True):
            at = row, seeds.index(seed)
            scores[at], undefined[at], known_collapsed[at] = value, np.isnan(value), bool(TOLD & {*flags})
    # `compare` finds the same runs from the same scores; they are needed here for the covariance.
    collapsed = collapsed_runs(scores, higher_is_better=table.higher_is_better, known=known_collapsed)
    lost = {(row, seeds[at]) for row, at in zip(*np.nonzero(collapsed), strict=True)}
    loaded = load(table, rows)
    known = None if isinstance(loaded, str) else _covariance(loaded, len(rows), target, lost, grouped)
    comparison = compare(
        TargetScores(
            target=target,
            sources=tuple(moved),
            scores=scores,
            undefined=undefined,
            collapsed=known_collapsed,
            example_covariance=known,
            higher_is_better=table.higher_is_better,
        )
    )
    return comparison, loaded


def _target(table: ScoreTable, target: str, base: Score, moved: dict[str, Score], grouped: bool) -> TargetResult:
    comparison, loaded = compare_with(table, target, base, moved, grouped=grouped)
    test, tested, tested_seed = (
        (None, (), None) if isinstance(loaded, str) else _paper_test(loaded, tuple(moved), target, grouped)
    )
    return TargetResult(
        target=target,
        metric=table.metric,
        comparison=comparison,
        improvements=improvements(comparison),
        test=test,
        test_sources=tested,
        test_seed=tested_seed,
        n_examples=0 if isinstance(loaded, str) else len(loaded.gold),
        n_groups=0 if isinstance(loaded, str) else len(np.unique(loaded.groups)),
        doubt=loaded if isinstance(loaded, str) else "" if test else "no seed has both a baseline and a transfer",
        same_cell=(0, 0) if isinstance(loaded, str) else _same_cell(loaded, target, grouped),
    )


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The test predictions of every run of a target, on the same examples."""

    metric: str
    gold: NDArray[np.float64]  # (n_examples,)
    groups: NDArray[np.int64]  # (n_examples,)
    n_labels: int
    outputs: NDArray[np.float64]  # (n_runs, n_examples): label indices (-1: not finite) or values
    rows: NDArray[np.int64]  # (n_runs,): 0 the baseline, then the sources
    seeds: NDArray[np.int64]  # (n_runs,)

    @property
    def labelled(self) -> bool:
        """Whether answers are labels, not values."""
        return METRICS[self.metric].kind == "classification"

    def examples(self, *, grouped: bool) -> Examples:
        """The examples for the bootstrap; where every group has one example, there are no groups."""
        groups = self.groups if grouped and len(np.unique(self.groups)) < len(self.groups) else None
        gold = self.gold.astype(np.int64) if self.labelled else self.gold
        resampler = METRICS[self.metric].formula.resampler
        return Examples(gold=gold, resampler=resampler, n_labels=self.n_labels, groups=groups)

    def answers(self, chosen: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64] | NDArray[np.int64]:
        """Outputs of the chosen runs, in the form that the bootstrap takes."""
        outputs = self.outputs[chosen]
        return outputs.astype(np.int64) if self.labelled else outputs


def load(table: ScoreTable, rows: Sequence[Score]) -> Loaded | str:
    """The predictions of every run, or a clause that says why they cannot be used."""
    runs = [
        Run(row=row, seed=seed, path=Path(path))
        for row, score in enumerate(rows)
        for seed, path in zip(score.seeds, score.predictions, strict=True)
        if path
    ]
    absent = [id for score in rows for id, path in zip(score.ids, score.predictions, strict=True) if not path]
    if absent:
        return f"{NO_PREDICTIONS} (of {absent[0]})" if runs else NO_PREDICTIONS
    try:
        predictions = prediction_files.aligned(
            [prediction_files.read(run.path, METRICS[table.metric].kind) for run in runs]
        )
    except EmpslurmError as error:
        return f"predictions cannot be read: {error}"
    first = predictions[0]
    if any(other.ids != first.ids or not np.array_equal(other.gold, first.gold) for other in predictions):
        return OTHER_EXAMPLES
    if any(other.outputs.shape[1:] != first.outputs.shape[1:] for other in predictions):
        return OTHER_LABELS
    return Loaded(
        metric=table.metric,
        gold=first.gold,
        groups=np.unique(np.asarray(first.groups), return_inverse=True)[1],
        n_labels=first.outputs.shape[1] if first.outputs.ndim == 2 else 0,
        outputs=np.stack([_answer(other.outputs) for other in predictions]),
        rows=np.array([run.row for run in runs]),
        seeds=np.array([run.seed for run in runs]),
    )


def _answer(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values as they are, logits as label indices; -1 everywhere for a run that diverged."""
    if outputs.ndim == 1:
        return outputs
    finite = np.isfinite(outputs).all()
    return outputs.argmax(1).astype(np.float64) if finite else np.full(len(outputs), -1.0)


def stream(*key: object) -> np.random.Generator:
    """A random stream that depends only on its use (`key`): tables must not change from one gather to the next."""
    return np.random.default_rng(int(ids.digest([str(part) for part in key], 16), 16))


def _covariance(
    loaded: Loaded, n_rows: int, target: str, lost: Collection[tuple[int, int]], grouped: bool
) -> NDArray[np.float64]:
    """Covariance of the cells' scores over test sets. `lost`: (row, seed) of runs that did not learn: left out."""
    drawn = resample(
        loaded.examples(grouped=grouped),
        loaded.answers(),
        n_resamples=N_RESAMPLES_COVARIANCE,
        rng=stream("covariance", target),
    )
    gone = [run in lost for run in zip(loaded.rows.tolist(), loaded.seeds.tolist(), strict=True)]
    drawn.scores[np.array(gone, dtype=bool)] = np.nan
    return shared_example_covariance(drawn.scores, loaded.rows, loaded.seeds, n_rows)


def _paper_test(
    loaded: Loaded, sources: tuple[str, ...], target: str, grouped: bool
) -> tuple[ExampleTest | None, tuple[str, ...], int | None]:
    """Run the paper's test on one model per arm, at the first seed that the baseline and most sources have."""
    seeds = sorted(set(loaded.seeds[loaded.rows == 0].tolist()))
    counts = [int(((loaded.seeds == seed) & (loaded.rows > 0)).sum()) for seed in seeds]
    if not counts or max(counts) == 0:
        return None, (), None
    seed = seeds[counts.index(max(counts))]
    base = np.flatnonzero((loaded.seeds == seed) & (loaded.rows == 0))
    moved = np.flatnonzero((loaded.seeds == seed) & (loaded.rows > 0))
    test = example_test(
        loaded.examples(grouped=grouped),
        loaded.answers(base)[0],
        loaded.answers(moved),
        rng=stream("paper", target),
        n_resamples=N_RESAMPLES,
    )
    return test, tuple(sources[row - 1] for row in loaded.rows[moved]), int(seed)


def _same_cell(loaded: Loaded, target: str, grouped: bool) -> tuple[int, int]:
    """In how many pairs of seeds of one cell the paper's test finds a difference, and the number of these pairs."""
    n_different = n_pairs = 0
    examples, rng = loaded.examples(grouped=grouped), stream("seeds", target)
    for row in np.unique(loaded.rows):
        own = np.flatnonzero(loaded.rows == row)
        for first, second in itertools.pairwise(own):
            test = example_test(
                examples,
                loaded.answers(np.array([first]))[0],
                loaded.answers(np.array([second])),
                rng=rng,
                n_resamples=N_RESAMPLES_SEEDS,
            )
            if not np.isnan(test.p_value[0]):
                n_different += bool(test.p_value[0] < LEVEL)
                n_pairs += 1
    return n_different, n_pairs


def pair_results(results: Sequence[TargetResult], margin: float | None = None) -> tuple[PairResult, ...]:
    """Verdicts of all pairs, with the paper's test; all targets of all tables form one family for the correction."""
    verdicts = decide([result.comparison for result in results], margin)
    pairs, at = [], 0
    for result in results:
        for index, source in enumerate(result.comparison.sources):
            pairs.append(_pair(verdicts[at], result, index, source))
            at += 1
    return tuple(pairs)


def _pair(verdict: Verdict, result: TargetResult, index: int, source: str) -> PairResult:
    p_value, outcome = float("nan"), ""
    if result.test is not None and source in result.test_sources:
        at = result.test_sources.index(source)
        p_value = float(result.test.p_value[at])
        outcome = paper_outcome(p_value, result.comparison.sign * float(result.test.difference[at]))
    return PairResult(
        verdict=verdict,
        improvement=result.improvements[index],
        paper_p=p_value,
        paper_outcome=outcome,
        disagreement=_disagreement(outcome, verdict),
    )


def paper_outcome(p_value: float, gain: float) -> str:
    """The outcome of the paper's test at .05; "" without a p-value. `gain`: positive is better."""
    if np.isnan(p_value):
        return ""
    if p_value >= LEVEL:
        return "inconclusive"
    return "helps" if gain > 0 else "harms"


def _disagreement(outcome: str, verdict: Verdict) -> str:
    same = (outcome, "undecided", "equivalent" if outcome == "inconclusive" else outcome)
    if not outcome or verdict.verdict in same:
        return ""
    return f"paper's test: {outcome}; over seeds: {verdict.verdict}"


def without_control(results: Sequence[TargetResult]) -> tuple[TargetResult, ...]:
    """The results without the control, which is not a pair of the study."""
    return tuple(_keep(result, [source != CONTROL for source in result.comparison.sources]) for result in results)


def only_control(results: Sequence[TargetResult]) -> tuple[TargetResult, ...]:
    """The results of the control alone."""
    kept = [_keep(result, [source == CONTROL for source in result.comparison.sources]) for result in results]
    return tuple(result for result in kept if result.comparison.sources)


def _keep(result: TargetResult, keep: Sequence[bool]) -> TargetResult:
    chosen = np.flatnonzero(np.asarray(keep, dtype=bool))
    comparison = result.comparison
    cells = np.concatenate([[0], 1 + chosen])
    kept = replace(
        comparison,
        sources=tuple(comparison.sources[at] for at in chosen),
        reasons=tuple(comparison.reasons[at] for at in chosen),
        n_seeds=tuple(comparison.n_seeds[at] for at in cells),
        n_collapsed=tuple(comparison.n_collapsed[at] for at in cells),
        noise=comparison.noise.of(cells),
        covariance=comparison.covariance[np.ix_(chosen, chosen)],
        example_covariance=comparison.example_covariance[np.ix_(chosen, chosen)],
        mean_covariance=comparison.mean_covariance[np.ix_(cells, cells)],
        **{
            name: getattr(comparison, name)[chosen]
            for name in (
                "transfer",
                "difference",
                "standard_error",
                "degrees_of_freedom",
                "p_value",
                "low",
                "high",
                "smallest_detectable",
                "n_shared",
            )
        },
    )
    return replace(result, comparison=kept, improvements=tuple(result.improvements[at] for at in chosen))
