"""How good a measure was on its test part, with an interval; scores and model cards include it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from empslurm import metrics
from empslurm.analysis.resampling import Examples, resample
from empslurm.errors import DamagedError
from empslurm.scoring.selection import Chosen, Group
from empslurm.store import adapter_metadata, predictions
from empslurm.store.adapter_metadata import Evidence
from empslurm.store.predictions import Predictions

N_RESAMPLES = 2_000
LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval


def evidence(group: Group) -> Evidence | None:
    """Mean test score over seeds and its 95 % interval; stored in exported adapters. None: unknown."""
    paths = [member.predictions for member in group.members if member.predictions is not None]
    if not paths:
        return group.measure.evidence
    parts = [_test(path) for path in paths]
    measure = group.measure
    outputs = _aligned(parts)
    scores = [metrics.score(measure.kind, len(measure.labels), parts[0].gold, seed)[measure.metric] for seed in outputs]
    low, high = _interval(measure, parts[0], outputs)
    defined = all(map(math.isfinite, scores))
    flags = [metrics.run_flags(measure.metric, {"test": (parts[0].gold, seed)}) for seed in outputs]
    there = tuple(sorted({flag for own in flags for flag in own}))
    tested = [member.measure.seed for member in group.members if member.predictions is not None]
    return Evidence(
        metric=measure.metric,
        score=float(np.mean(scores)) if defined else None,
        low=low if defined else None,
        high=high if defined else None,
        seeds=tuple(member.measure.seed for member in group.members),
        seed_spread=float(np.std(scores, ddof=1)) if defined and len(scores) > 1 else None,
        n_test=len(parts[0].ids),
        resampled="groups" if _clustered(parts[0]) else "examples",
        flags=there,
        flagged_seeds=tuple(
            tuple(seed for seed, own in zip(tested, flags, strict=True) if flag in own) for flag in there
        ),
    )


def with_evidence(chosen: Chosen) -> dict[str, Evidence | None]:
    """The evidence of every measure, by its name."""
    return {group.name: evidence(group) for group in chosen.groups}


def _test(path: object) -> Predictions:
    from pathlib import Path

    parts = predictions.read(Path(str(path)))
    if "test" not in parts:
        raise DamagedError(f"{path} must hold predictions of the test part, but does not; run the cell again")
    return parts["test"]


def _aligned(parts: list[Predictions]) -> list[NDArray[np.float64]]:
    """Every seed's outputs in the order of the first seed's examples."""
    first = parts[0].ids
    aligned = []
    for part in parts:
        row_of = {example: row for row, example in enumerate(part.ids)}
        if set(row_of) != set(first):
            raise DamagedError("seeds of one measure must be tested on the same examples, but are not; run them again")
        aligned.append(part.outputs[[row_of[example] for example in first]])
    return aligned


def _clustered(part: Predictions) -> bool:
    return len(set(part.groups)) < len(part.groups)


def _interval(
    measure: adapter_metadata.Measure, part: Predictions, outputs: list[NDArray[np.float64]]
) -> tuple[float | None, float | None]:
    """Percentile bootstrap of the mean over seeds. None if it is undefined in more than 5 % of the resamples."""
    labels = measure.kind == "classification"
    groups = np.unique(np.asarray(part.groups), return_inverse=True)[1].astype(np.int64) if _clustered(part) else None
    examples = Examples(
        gold=part.gold.astype(np.int64) if labels else part.gold,
        resampler=metrics.METRICS[measure.metric].formula.resampler,
        n_labels=len(measure.labels),
        groups=groups,
    )
    answers = np.stack([seed.argmax(1) if labels else seed for seed in outputs])
    resampled = resample(examples, answers, n_resamples=N_RESAMPLES, rng=np.random.default_rng(0))
    means = resampled.scores.mean(0)
    if np.isnan(means).mean() > 0.05:
        return None, None
    low, high = np.nanpercentile(means, LEVELS)
    return float(low), float(high)
