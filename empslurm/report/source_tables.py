"""The ranking of the sources as a table, where no target has a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, flat, number, text
from empslurm.report.group_results import Analyses, Finding
from empslurm.report.sources import Ranked, ranked
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

# Verdict -> its word in a comparison with the best source, which itself may or may not help.
BESIDE = {"helps": "better", "harms": "worse"}


def rank(analyses: Analyses) -> Finding:
    """Rank the sources of each target, where no pair could be judged against a baseline."""
    if analyses.significance:
        return Finding(result=())
    return Finding(result=ranked(analyses.tables, grouped=analyses.grouped, margin=analyses.margin))


def tables(analyses: Analyses) -> list[Table]:
    """The table of the ranking, if there is one."""
    return [sources_table(analyses.ranked, analyses.gathered.registry)] if analyses.ranked else []


def sources_table(targets: Sequence[Ranked], registry: Registry) -> Table:
    """The ranking, one row per target and source."""
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
        caption="Each source against the best source of its target: differences of seed means with 95 % intervals. "
        "Without baselines, nothing here says whether a source is better than no source.",
        details="Benjamini-Hochberg over all rows at .05. The best source was chosen by the same scores, so its lead "
        "looks too large.",
        columns={
            "target": "target",
            "source": "source",
            "score": "score",
            "difference": "difference from the best",
            "low": "low",
            "high": "high",
            "p_bh": "p (BH)",
            "verdict": "against the best",
            "n_seeds": "seeds",
            "metric": "metric",
        },
        rows=rows,
        n_labels=2,
        main=("target", "source", "score", "difference", "low", "high", "verdict", "n_seeds"),
    )
