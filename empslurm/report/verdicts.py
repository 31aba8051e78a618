"""Verdicts on all pairs of a group, and the targets that can have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.collapse import collapse_differences
from empslurm.analysis.themes import MeanEffect, mean_effect
from empslurm.report import significance, task_facts
from empslurm.report.group_results import Analyses, Finding, Significance
from empslurm.report.scores import ScoreTable, scored
from empslurm.report.seeds import next_seeds
from empslurm.report.significance import TargetResult, pair_results, target_results
from empslurm.report.sources import has_baseline, without_baseline

SHOWN_TARGETS = 5
BASELINE = "a baseline's row has a blank source, or its target as the source"


def judge(analyses: Analyses) -> Finding:
    """Judge the pairs of every data fraction with transfers."""
    full = _full(analyses)
    fractions = sorted({table.fraction for table in analyses.tables}, reverse=True)
    judged = [verdicts for fraction in fractions if (verdicts := _at_fraction(analyses, fraction, full))]
    lacking = _without_verdicts(judged) | _without_baselines(analyses.tables)
    if _none_has_a_baseline(analyses.tables):
        lacking.pop("verdicts", None)  # the missing baselines explain it
    if not any(fraction != 1.0 for fraction in fractions):
        lacking["limited data (Figure 3, bottom)"] = "no cells with a part of the training data"
    return Finding(result=tuple(judged), lacking=lacking)


def with_equal_data(analyses: Analyses, fraction: float) -> Significance | None:
    """Verdicts at one data fraction, against baselines with the same; None without both."""
    for verdicts in analyses.significance:
        if verdicts.fraction == verdicts.baseline_fraction == fraction:
            return verdicts
    return _at_fraction(analyses, fraction, full={})


def _full(analyses: Analyses) -> dict[str, ScoreTable]:
    """Metric -> the scores with all data."""
    return {table.metric: table for table in analyses.tables if table.fraction == 1.0}


def _at_fraction(analyses: Analyses, fraction: float, full: Mapping[str, ScoreTable]) -> Significance | None:
    """Verdicts at one data fraction, against the baselines of `full`, else its own; None without transfers."""
    results: list[TargetResult] = []
    for table in analyses.tables:
        against = None if fraction == 1.0 else full.get(table.metric)
        if table.fraction == fraction and (fraction == 1.0 or against is not None or not full):
            results += target_results(table, baselines=against, grouped=analyses.grouped)
    transfers = [result for result in significance.without_control(results) if result.comparison.sources]
    if not transfers:
        return None
    baseline_fraction = 1.0 if full else fraction
    pairs = pair_results(transfers, analyses.margin)
    return Significance(
        fraction=fraction,
        baseline_fraction=baseline_fraction,
        results=tuple(transfers),
        pairs=pairs,
        control=pair_results(significance.only_control(results), analyses.margin),
        margin=analyses.margin,
        effects=_effects(transfers, analyses),
        collapse=collapse_differences([result.comparison for result in transfers]),
        next=next_seeds(
            transfers,
            scored(analyses.group),
            fraction=fraction,
            baseline_fraction=baseline_fraction,
            margin=analyses.margin,
            pairs=pairs,
            registry=analyses.gathered.registry,
        ),
    )


def _effects(results: Sequence[TargetResult], analyses: Analyses) -> tuple[MeanEffect, ...]:
    """Mean difference by source theme, with the covariance from shared baselines and examples."""
    themes = task_facts.themes(analyses.tasks, analyses.gathered.registry, analyses.ratings)
    sources = [source for result in results for source in result.comparison.sources]
    if not set(sources) <= set(themes) or any(
        not np.isfinite(result.comparison.covariance).any() for result in results
    ):
        return ()
    gains = [result.comparison.difference * result.comparison.sign for result in results]
    differences = np.concatenate(gains)
    covariance = _block_diagonal([result.comparison.covariance for result in results])
    effects = []
    for theme in ("direct", "abstract", "adjacent"):
        own = np.array([themes[source] == theme for source in sources])
        if own.any():
            effects.append(mean_effect(theme, differences[own], covariance[np.ix_(own, own)]))
    return tuple(effects)


def _block_diagonal(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*blocks))


def _without_verdicts(judged: Sequence[Significance]) -> dict[str, str]:
    """Why there is no verdict or only undecided ones, and why the paper's test is missing."""
    lacking = {}
    pairs = [pair for significance in judged for pair in significance.pairs]
    if not judged:
        lacking["verdicts"] = "no target has both a baseline and a transfer"
    elif all(pair.verdict.verdict == "undecided" for pair in pairs):
        lacking["verdicts"] = "every pair is undecided: " + "; ".join(sorted({pair.verdict.reason for pair in pairs}))
    doubts = sorted({result.doubt for significance in judged for result in significance.results if result.doubt})
    if doubts:
        lacking["the paper's test"] = "; ".join(doubts)
    return lacking


def _without_baselines(tables: Sequence[ScoreTable]) -> dict[str, str]:
    """Which targets can have no verdict, and which source may be a baseline under another name."""
    lacking = {}
    unjudged = _without_full_baseline(tables)
    if unjudged:
        lacking["full-data baselines"] = f"missing for {_few(unjudged)}: no verdict on their runs with less data"
    absent = without_baseline(tables)
    if _none_has_a_baseline(tables):
        lacking["baselines"] = (
            f"no target has a baseline, so no source can be said to help or to harm: {BASELINE}"
            + _baseline_under_a_name(tables, absent)
        )
    elif absent:
        lacking["baselines"] = (
            f"{len(absent)} of {_n_targets(tables)} targets have none ({_few(absent)}), so they have no verdict"
        )
    return lacking


def _none_has_a_baseline(tables: Sequence[ScoreTable]) -> bool:
    """Whether there are targets and none of them has a baseline."""
    return 0 < _n_targets(tables) <= len(without_baseline(tables))


def _n_targets(tables: Sequence[ScoreTable]) -> int:
    return sum(len(table.targets) for table in tables if table.fraction == 1.0)


def _baseline_under_a_name(tables: Sequence[ScoreTable], absent: Sequence[str]) -> str:
    """A hint where exactly one source is in every column and is not a target: it may be the baseline."""
    everywhere = [source for source in _sources_of_all(tables) if source not in absent]
    return f"; if `{everywhere[0]}` is the baseline, leave its source blank" if len(everywhere) == 1 else ""


def _few(names: Sequence[str]) -> str:
    """The first names of a list, for a sentence."""
    return ", ".join(names[:SHOWN_TARGETS]) + (", ..." if len(names) > SHOWN_TARGETS else "")


def _without_full_baseline(tables: Sequence[ScoreTable]) -> list[str]:
    """Targets with runs on part of the data but without a full-data baseline, where other targets have one."""
    whole = [table for table in tables if table.fraction == 1.0]
    full = {target for table in whole for target in table.targets if has_baseline(table, target)}
    part = {target for table in tables if table.fraction != 1.0 for target in table.targets}
    return sorted(part - full) if whole else []


def _sources_of_all(tables: Sequence[ScoreTable]) -> list[str]:
    """Sources that every target has."""
    columns = [set(table.columns[target]) for table in tables if table.fraction == 1.0 for target in table.targets]
    return sorted(set.intersection(*columns)) if columns else []
