"""Whether the runs learnt: collapsed and flagged runs, by seed, and baselines that are not above chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from empslurm import metrics
from empslurm.report.contents import GroupContents
from empslurm.report.formats import capital, shown
from empslurm.report.group_results import Analyses
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.tables import title_of

SHOWN = 12
OUTLIER = 0.5  # of its column's median: a run that did not learn
FEWEST_FOR_OUTLIER = 5


def learning(group: GroupContents) -> Mapping[str, Any]:
    """The answer in a sentence, then each run in doubt."""
    said = flagged(group.analyses)
    scores = [score for table in group.analyses.tables for score in table.scores.values()]
    n_runs = sum(len(score.seeds) for score in scores)
    n_bad = sum(len(score.not_learnt) for score in scores)
    runs = "run" if n_runs == 1 else "runs"
    if n_bad:
        answer = f"{n_bad:,} of {n_runs:,} {runs} did not learn; verdicts compare the others."
    elif said:
        answer = f"No run is known to have failed, but of {n_runs:,} {runs} these are in doubt."
    elif group.analyses.from_results:
        answer = f"The table flags none of its {n_runs:,} scores, and none is far below the others of its target."
    else:
        answer = f"All {n_runs:,} {runs} learnt: none answered constantly, diverged or fell far below the others."
    return {"answer": answer, "shown": said[:SHOWN], "rest": said[SHOWN:]}


def flagged(analyses: Analyses) -> list[str]:
    """Every score of which a run is in doubt, as a sentence with the seeds."""
    said = []
    for table in analyses.tables:
        halves, title = _halves(table), metrics.METRICS[table.metric].title
        for (_, target), score in sorted(table.scores.items()):
            name = _name(score, analyses)
            if score.flags:
                said.append(f"{name}: {'; '.join(_flags(score))}. {capital(title)} {shown(score.value)}.")
            elif score.value < halves.get(target, -np.inf):
                said.append(
                    f"{name}: {title} {shown(score.value)}, less than half of the median of its target: not learnt?"
                )
    return said


def _flags(score: Score) -> list[str]:
    """What each flag says, with the seeds that have it."""
    said = []
    for flag in score.flags:
        seeds = [seed for seed, own in zip(score.seeds, score.flags_of_seeds, strict=True) if flag in own]
        words = metrics.FLAGS.get(flag, f"flagged {flag}")
        which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
        said.append(f"{which} of {len(score.seeds)} {words}" if len(score.seeds) > 1 else f"{which} {words}")
    return said


def _name(score: Score, analyses: Analyses) -> str:
    target = title_of(score.target, analyses.gathered.registry)
    if score.source == score.target:
        return f"{target} alone"
    return f"{title_of(score.source, analyses.gathered.registry)} → {target}"


def _halves(table: ScoreTable) -> dict[str, float]:
    """Half the median of each column with enough scores, below which a run has not learnt; none of an error."""
    if not table.higher_is_better:
        return {}
    columns = {
        target: [score.value for score in column.values() if np.isfinite(score.value)]
        for target, column in table.columns.items()
    }
    return {
        target: OUTLIER * float(np.median(own)) for target, own in columns.items() if len(own) >= FEWEST_FOR_OUTLIER
    }
