"""Whether the baselines learnt anything: each with an interval, beside what needs no learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.resampling import resample
from empslurm.metrics import METRICS
from empslurm.report.formats import MISSING, Entry, Table, number, text, whole
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.significance import Loaded, load, stream
from empslurm.report.tables import part_of_data, title_of
from empslurm.tasks import Registry

N_RESAMPLES = 2_000
LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One target's baseline: the mean over its seeds, its 95 % interval over test examples, and chance."""

    target: str
    score: float
    low: float
    high: float
    chance: float  # of one answer to all examples, see `metrics.Chance`
    above: bool  # the interval of the difference to chance lies above 0
    n_above: int  # seeds of which each alone lies above it
    n_examples: int


def against_chance(target: str, loaded: Loaded, *, grouped: bool = True) -> Baseline:
    """Percentile bootstrap of the mean over seeds, and of its difference to one constant answer on equal resamples."""
    answers: NDArray[Any] = loaded.answers()
    chance = np.zeros(N_RESAMPLES)
    n_seeds = len(answers)
    chosen = METRICS[loaded.metric].chance.answer
    if chosen is not None:
        constant = chosen(loaded.gold)
        answers = np.vstack([answers, np.full(len(loaded.gold), constant, dtype=answers.dtype)])
    drawn = resample(loaded.examples(grouped=grouped), answers, n_resamples=N_RESAMPLES, rng=stream("baseline", target))
    if chosen is not None:
        chance = drawn.scores[n_seeds]
    sign = METRICS[loaded.metric].sign
    means = drawn.scores[:n_seeds].mean(0)
    low, high = np.nanpercentile(means, LEVELS) if np.isfinite(means).any() else (float("nan"), float("nan"))
    gained = np.nanpercentile(sign * (means - chance), LEVELS[0]) if np.isfinite(means).any() else float("nan")
    alone = [sign * (own - chance) for own in drawn.scores[:n_seeds] if np.isfinite(own).any()]
    return Baseline(
        target=target,
        score=float(drawn.observed[:n_seeds].mean()),
        low=float(low),
        high=float(high),
        chance=0.0 if chosen is None else float(drawn.observed[n_seeds]),
        above=bool(gained > 0),
        n_above=sum(bool(np.nanpercentile(own, LEVELS[0]) > 0) for own in alone),
        n_examples=len(loaded.gold),
    )


def baseline_tables(tables: Sequence[ScoreTable], registry: Registry, *, grouped: bool = True) -> tuple[Table, ...]:
    """One table per score table that has baselines with predictions."""
    return tuple(baselines for table in tables if (baselines := _table(table, registry, grouped)) is not None)


def _table(table: ScoreTable, registry: Registry, grouped: bool) -> Table | None:
    rows: list[tuple[Entry, ...]] = []
    for target in table.targets:
        score = table.scores.get((target, target))
        loaded = load(table, (score,)) if score is not None and score.seeds else None
        if score is not None and isinstance(loaded, Loaded):
            baseline = against_chance(target, loaded, grouped=grouped)
            rows.append(_row(title_of(target, registry), baseline, score))
    if not rows:
        return None
    chance = METRICS[table.metric].chance.words
    return Table(
        name=f"baselines-{table.metric}{'' if table.fraction == 1.0 else f'-f{table.fraction * 100:g}'}",
        title=f"Baselines against chance ({table.metric}{part_of_data(table)})",
        caption=f"Means over seeds with 95 % bootstrap intervals over the test part. Chance: {chance}; above it where "
        "the interval of the difference to the better, on the same resamples, lies above 0, for the mean and for each "
        "seed alone.",
        head=(("target", "baseline", "95 % interval", "chance", "above chance", "seeds above it", "test examples"),),
        columns=("target", "baseline", "low_high", "chance", "above_chance", "seeds_above", "n_examples"),
        rows=tuple(rows),
        n_labels=1,
    )


def _row(title: str, baseline: Baseline, score: Score) -> tuple[Entry, ...]:
    defined = np.isfinite(baseline.low)
    above, n_seeds = "yes" if baseline.above else "no", len(score.seeds)
    for seeds, what in ((score.not_learnt, "did not learn"), (score.worse, "worse than one answer to all")):
        if seeds:
            above += f"; {len(seeds)} of {n_seeds} seeds ({', '.join(map(str, seeds))}) {what}"
    return (
        text(title),
        number(baseline.score),
        text(f"{baseline.low:.3f} to {baseline.high:.3f}" if defined else MISSING),
        number(baseline.chance),
        text(above),
        text(f"{baseline.n_above} of {n_seeds}"),
        whole(baseline.n_examples),
    )
