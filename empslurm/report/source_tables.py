"""Where no target has a baseline: the ranking of the sources as a table."""

from __future__ import annotations

from collections.abc import Sequence

from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, flat, number, text
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.sources import Ranked, ranked
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

# A verdict -> what it is called beside the best, of which nobody knows whether it helps.
BESIDE = {"helps": "better", "harms": "worse"}


def rank(analyses: Analyses) -> Finding:
    """The sources of each target, where no pair could be judged against a baseline."""
    if analyses.significance:
        return Finding(result=())
    return Finding(result=ranked(analyses.tables, grouped=analyses.grouped, margin=analyses.margin))


def tables(analyses: Analyses) -> list[Table]:
    """The ranking, where there is one."""
    return [sources_table(analyses.ranked, analyses.gathered.registry)] if analyses.ranked else []


def sources_table(targets: Sequence[Ranked], registry: Registry) -> Table:
    """The ranking, a row per target and source."""
    rows: list[tuple[Entry, ...]] = []
    for target in targets:
        title, metric = title_of(target.target, registry), METRICS[target.metric].title
        best, nothing = target.best, text(None)
        rows.append(
            (
                text(title),
                text(title_of(best.source, registry)),
                number(best.value),
                *[nothing] * 4,
                text("best"),
                text(str(len(best.seeds))),
                text(metric),
            )
        )
        rows += [
            (
                text(title),
                text(title_of(verdict.source, registry)),
                number(verdict.transfer),
                number(verdict.difference, signed=True),
                number(verdict.low, signed=True),
                number(verdict.high, signed=True),
                number(verdict.p_bh),
                text(BESIDE.get(verdict.verdict, verdict.verdict)),
                text(str(verdict.n_seeds_transfer)),
                text(metric),
            )
            for verdict in target.verdicts
        ]
    return flat(
        name="sources",
        title="Which source is best, where no target has a baseline",
        caption="Each source against the best of its target: differences of seed means with 95 % intervals. Nothing "
        "here says whether any source is better than none.",
        details="Benjamini-Hochberg over all rows at .05. The best was chosen by the same scores, so its lead is "
        "flattered.",
        columns={
            "target": "target",
            "source": "source",
            "score": "score",
            "difference": "difference to the best",
            "low": "low",
            "high": "high",
            "p_bh": "p (BH)",
            "verdict": "beside the best",
            "n_seeds": "seeds",
            "metric": "metric",
        },
        rows=rows,
        n_labels=2,
        main=("target", "source", "score", "difference", "low", "high", "verdict", "n_seeds"),
    )
