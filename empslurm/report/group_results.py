"""Everything known about one group of cells: its scores, and what each analysis found or why it could not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from empslurm.analysis.collapse import CollapseDifference
from empslurm.analysis.importance_checks import ImportanceChecks
from empslurm.analysis.themes import MeanEffect, ThemeCell
from empslurm.gather import Gathered, Group
from empslurm.reference import Rating
from empslurm.report import task_facts
from empslurm.report.baselines import Baseline
from empslurm.report.embeddings import DataSimilarity, FusedSimilarity
from empslurm.report.formats import Table
from empslurm.report.scores import ScoreTable
from empslurm.report.seeds import Next
from empslurm.report.significance import PairResult, TargetResult
from empslurm.report.source_ranks import SourceRanks
from empslurm.report.sources import Ranked

if TYPE_CHECKING:
    from empslurm.report.source_choice import SourceChoice


@dataclass(frozen=True, kw_only=True)
class Significance:
    """Verdicts of all pairs at one data fraction."""

    fraction: float
    baseline_fraction: float  # of the baselines that pairs are compared with
    results: tuple[TargetResult, ...]
    pairs: tuple[PairResult, ...]
    control: tuple[PairResult, ...]  # limited data: the same amount of data without a transfer
    effects: tuple[MeanEffect, ...]  # mean difference by source theme
    collapse: tuple[CollapseDifference, ...] = ()  # pairs of those targets with any run that did not learn
    margin: float | None = None  # a difference too small to matter; None: not asked for
    next: tuple[Next, ...] = ()  # per target, the seeds that would detect a wanted difference

    @property
    def same_cell(self) -> tuple[int, int]:
        """Pairs of seeds of one cell that the paper's test calls different, and all such pairs."""
        return (
            sum(result.same_cell[0] for result in self.results),
            sum(result.same_cell[1] for result in self.results),
        )

    @property
    def same_cell_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share that `same_cell` counts; NaN without such pairs."""
        from statsmodels.stats.proportion import proportion_confint

        n, total = self.same_cell
        low, high = proportion_confint(n, total, method="wilson") if total else (float("nan"), float("nan"))
        return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class ThemePanels:
    """Figure 3 at one data fraction, by one test."""

    test: str  # "the default verdict" or "the paper's test"
    fraction: float
    gains: tuple[ThemeCell, ...]  # improvement; with limited data: not harmed
    harms: tuple[ThemeCell, ...]
    n_pairs: int
    n_by_rule: int  # tasks whose themes follow from their mean ratings


@dataclass(frozen=True, kw_only=True)
class Analyses:
    """One group: what was read, and the results of its analyses so far, by the analyses' names."""

    gathered: Gathered
    group: Group
    ratings: tuple[Rating, ...]
    grouped: bool  # resample whole conversations, posts or dialogues; False: single examples
    margin: float | None  # see `analysis.verdicts.decide`
    tables: tuple[ScoreTable, ...]
    data_similarity: DataSimilarity | None = None
    task_similarity: tuple[FusedSimilarity, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)  # what could not be computed, with the reason

    @property
    def of_paper(self) -> bool:
        """Whether its tasks are the paper's: only then do the paper's names and numbers apply."""
        return task_facts.is_of_the_paper(self.tasks, whole=self.from_results)

    @property
    def from_results(self) -> bool:
        """Whether the scores come from a table of results, not from runs."""
        return self.gathered.origin == "results"

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the tables' order."""
        there = {task for table in self.tables for task in (*table.sources, *table.targets)}
        known = [task for task in self.gathered.registry.tasks if task in there]
        return (*known, *sorted(there - set(known)))

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """Baselines against chance, of every data fraction; empty where no predictions are known."""
        return tuple(self.results["baselines"])

    @property
    def significance(self) -> tuple[Significance, ...]:
        """Verdicts, per data fraction."""
        return tuple(self.results["verdicts"])

    @property
    def themes(self) -> tuple[ThemePanels, ...]:
        """Figure 3, per test and data fraction."""
        return tuple(self.results["themes"])

    @property
    def importances(self) -> tuple[ImportanceChecks, ...]:
        """Table 6, per estimator; empty where there are too few pairs."""
        return tuple(self.results["importances"])

    @property
    def source_ranks(self) -> tuple[SourceRanks, ...]:
        """Sources by how much they help, per data fraction; empty with fewer than two sources."""
        return tuple(self.results["source ranks"])

    @property
    def source_choice(self) -> SourceChoice | None:
        """Ways to choose sources; None where there are too few targets or sources."""
        found: SourceChoice | None = self.results["source choice"]
        return found

    @property
    def ranked(self) -> tuple[Ranked, ...]:
        """The sources of each target, where no target has a baseline."""
        return tuple(self.results["sources"])


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one analysis found."""

    result: Any
    lacking: Mapping[str, str] = field(default_factory=dict)  # what could not be computed -> the reason, a clause


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One entry of `analyses.ANALYSES`."""

    name: str  # its key in `Analyses.results`
    run: Callable[[Analyses], Finding]  # gets what was read and the results of the analyses before it
    tables: Callable[[Analyses], Sequence[Table]]  # the tables that show the result; empty where there is none
