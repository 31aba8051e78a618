"""The learning section: did the runs learn? Collapsed and flagged runs by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from empslurm import metrics
from empslurm.report.contents import GroupContents
from empslurm.report.formats import shown
from empslurm.report.group_results import Analyses
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.tables import title_of

SHOWN = 12
MOST_NAMED = 8  # sources of one sentence
OUTLIER = 0.5  # of its column's median, below which a score is doubtful
FEWEST_FOR_OUTLIER = 5


def learning(group: GroupContents) -> Mapping[str, Any]:
    """The section's values: the answer in a sentence, then each doubtful run."""
    said = flagged(group.analyses)
    return {"answer": _answer(group.analyses, in_doubt=bool(said)), "shown": said[:SHOWN], "rest": said[SHOWN:]}


def _answer(analyses: Analyses, *, in_doubt: bool) -> str:
    n_runs, n_bad, n_worse = _counted(analyses)
    if n_bad:
        return not_learnt(analyses) + _worse(n_worse)
    runs = "1 run" if n_runs == 1 else f"{n_runs:,} runs"
    if in_doubt:
        return (
            f"No run is known to have failed to learn, but of {runs} those below are in doubt; they stay in the means."
        )
    if analyses.from_results:
        checked = all({*table.targets} <= {*_halves(table)} for table in analyses.tables)
        low = ", and no score is far below the others of its target" if checked else ""
        return f"The table flags none of its {runs}{low}."
    return f"All {runs} learnt: none gave every text the same answer, diverged or fell far below the others."


def _worse(n: int) -> str:
    if not n:
        return ""
    return f" {n:,} more did worse than one answer to all texts, and {'stays' if n == 1 else 'stay'} in the means."


def _counted(analyses: Analyses) -> tuple[int, int, int]:
    """Numbers of runs: all, those that did not learn, and others that did worse than the same answer to all texts."""
    scores = [score for table in analyses.tables for score in table.scores.values()]
    return (
        sum(len(score.seeds) for score in scores),
        sum(len(score.not_learnt) for score in scores),
        sum(len(score.worse) for score in scores),
    )


def not_learnt(analyses: Analyses) -> str:
    """How many runs did not learn, and which tasks never did (they are poor sources too); "" where all learnt."""
    n_runs, n_bad, _ = _counted(analyses)
    if not n_bad:
        return ""
    never = [
        title_of(target, analyses.gathered.registry)
        for table in analyses.tables
        if table.fraction == 1.0
        for target in table.targets
        if (own := table.scores.get((target, target))) and own.seeds and len(own.not_learnt) == len(own.seeds)
    ]
    said = f"{n_bad:,} of {n_runs:,} runs did not learn; verdicts leave them out."
    if never:
        said += f" {_few(never)} never learnt alone, so as sources they say nothing about their tasks."
    return said


def flagged(analyses: Analyses) -> list[str]:
    """Every doubtful run with its seed; the same doubt about several sources of a target is one sentence."""
    registry = analyses.gathered.registry
    alike: dict[tuple[str, str], list[str]] = {}
    for table in analyses.tables:
        halves = _halves(table)
        for (source, target), score in sorted(table.scores.items()):
            words = _doubts(score, halves.get(target, -np.inf))
            if words:
                part = "" if table.fraction == 1.0 else f" with {table.fraction * 100:g} % of its data"
                name = "alone" if source == target else f"after {title_of(source, registry)}"
                alike.setdefault((title_of(target, registry) + part, words), []).append(name)
    return [f"{target}, {_few(names)}: {words}." for (target, words), names in alike.items()]


def _few(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _doubts(score: Score, half: float) -> str:
    """The flags of a score's runs in words, with their seeds; "" without any doubt."""
    said: dict[str, list[str]] = {}
    for flag in score.flags:
        seeds = [seed for seed, own in zip(score.seeds, score.flags_of_seeds, strict=True) if flag in own]
        said.setdefault(_seeds(seeds, len(score.seeds)), []).append(metrics.FLAGS.get(flag, f"flagged {flag}"))
    if said:
        return "; ".join(f"{seeds} {' and '.join(words)}" for seeds, words in said.items())
    low = shown(score.value) if score.value < half else ""
    return f"{low}, less than half of the median of its target: did it learn?" if low else ""


def _seeds(seeds: Sequence[int], n: int) -> str:
    """Seeds in words; `n`: number of all seeds of the score."""
    if len(seeds) == n and n > 1:
        return f"all {n} seeds"
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _halves(table: ScoreTable) -> dict[str, float]:
    """Half the median of each column with enough scores, below which a run is doubtful; empty for an error metric."""
    if not table.higher_is_better:
        return {}
    columns = {
        target: [score.value for score in column.values() if np.isfinite(score.value)]
        for target, column in table.columns.items()
    }
    return {
        target: OUTLIER * float(np.median(own))
        for target, own in columns.items()
        if len(own) >= FEWEST_FOR_OUTLIER and np.median(own) > 0
    }
