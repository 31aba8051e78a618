"""Did the baselines learn anything? Each baseline with an interval, compared with chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.resampling import resample
from empslurm.metrics import METRICS
from empslurm.report.scores import ScoreTable
from empslurm.report.significance import Loaded, load, stream

N_RESAMPLES = 2_000
LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One target's baseline: the mean over its seeds, its 95 % interval over test examples, and chance."""

    target: str
    metric: str
    fraction: float  # of the target's training part
    score: float
    low: float
    high: float
    chance: float  # the score of the same answer to all examples, see `metrics.Chance`
    above: bool  # the interval of the gain over chance is above 0
    n_above: int  # seeds that are above chance when tested separately
    n_examples: int


def against_chance(target: str, loaded: Loaded, *, fraction: float = 1.0, grouped: bool = True) -> Baseline:
    """Percentile bootstrap of the mean over seeds, and of its difference from a constant answer, paired by resample."""
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
        metric=loaded.metric,
        fraction=fraction,
        score=float(drawn.observed[:n_seeds].mean()),
        low=float(low),
        high=float(high),
        chance=0.0 if chosen is None else float(drawn.observed[n_seeds]),
        above=bool(gained > 0),
        n_above=sum(bool(np.nanpercentile(own, LEVELS[0]) > 0) for own in alone),
        n_examples=len(loaded.gold),
    )


def baselines(tables: Sequence[ScoreTable], *, grouped: bool = True) -> tuple[Baseline, ...]:
    """Every baseline whose predictions are known, in the order of the tables and their targets.

    `grouped`: resample whole conversations, posts or dialogues; False: single examples.
    """
    judged = []
    for table in tables:
        for target in table.targets:
            score = table.scores.get((target, target))
            loaded = load(table, (score,)) if score is not None and score.seeds else None
            if isinstance(loaded, Loaded):
                judged.append(against_chance(target, loaded, fraction=table.fraction, grouped=grouped))
    return tuple(judged)
