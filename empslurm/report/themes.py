"""Transfer by theme (Figure 3) and with limited data (section 5.3): counts and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from empslurm.analysis.themes import COUNTED, Panel, ThemeCell, theme_table
from empslurm.analysis.verdicts import OUTCOMES
from empslurm.report import task_facts
from empslurm.report.formats import Entry, Table, flat, number, text, whole
from empslurm.report.group_results import Analyses, Finding, Significance, ThemePanels
from empslurm.report.significance import PairResult
from empslurm.report.verdict_tables import counts, part_name
from empslurm.report.wording import some


def theme_panels(analyses: Analyses) -> Finding:
    """Count pairs by theme, per data fraction and test, where both tasks have a theme."""
    themes = task_facts.themes(analyses.tasks, analyses.gathered.registry, analyses.ratings)
    panels = [panel for significance in analyses.significance for panel in _panels(significance, themes)]
    lacking = {}
    without = [task for task in analyses.tasks if task not in themes]
    if themes and without:
        lacking["themes"] = f"not rated on all three criteria: {some(without)}"
    if not panels:
        lacking["Figure 3"] = "no pair of tasks with themes has a verdict or the paper's test"
    return Finding(result=tuple(panels), lacking=lacking)


def _panels(significance: Significance, themes: Mapping[str, str]) -> list[ThemePanels]:
    """One panel for the default verdict and one for the paper's test, if they judge any pair."""
    known = [pair for pair in significance.pairs if {pair.verdict.source, pair.verdict.target} <= set(themes)]
    pairs = [(pair.verdict.source, pair.verdict.target) for pair in known]
    tests: dict[str, list[str]] = {
        "the default verdict": [pair.verdict.verdict for pair in known],
        "the paper's test": [pair.paper_outcome or "undecided" for pair in known],
    }
    good: Panel = "helps" if significance.fraction == 1.0 else "not harmed"
    return [
        ThemePanels(
            test=test,
            fraction=significance.fraction,
            gains=theme_table(pairs, verdicts, themes, good),
            harms=theme_table(pairs, verdicts, themes, "harms"),
            n_pairs=len(pairs),
            n_by_rule=len(task_facts.by_rule({task for pair in pairs for task in pair})),
        )
        for test, verdicts in tests.items()
        if any(verdict != "undecided" for verdict in verdicts)
    ]


def tables(analyses: Analyses) -> list[Table]:
    """The counts of Figure 3 with rates and intervals, and the table of limited data."""
    limited = limited_table(analyses)
    return [*map(_theme_table, analyses.themes), *([] if limited is None else [limited])]


def _theme_table(panel: ThemePanels) -> Table:
    rows = [
        (
            text(gain.source_theme),
            text(gain.target_theme),
            *_theme_entries(gain),
            *_theme_entries(harm),
            whole(gain.n_pairs),
            whole(gain.n_undecided),
        )
        for gain, harm in zip(panel.gains, panel.harms, strict=True)
    ]
    good = "helps" if panel.fraction == 1.0 else "not harmed"
    rule = ""
    if panel.n_by_rule:
        one = panel.n_by_rule == 1
        follow = "The theme of 1 task follows a rule on its mean rating"
        follow = follow if one else f"The themes of {panel.n_by_rule} tasks follow a rule on their mean ratings"
        rule = f" {follow}: {task_facts.RULE}."
    test = "default" if panel.test == "the default verdict" else "paper"
    where = "top" if panel.fraction == 1.0 else "bottom"
    return flat(
        name=f"figure3-{test}{part_name(panel.fraction)}",
        number=f"Figure 3, {where}",
        title=f"Transfer by theme, {panel.test}"
        + ("" if panel.fraction == 1.0 else f", {panel.fraction * 100:g} % of the data against the full-data baseline"),
        caption=f"{panel.n_pairs} pairs. Rate: share of the decided pairs, with Wilson's 95 % interval." + rule,
        details="The intervals treat pairs as independent. The paper prints this figure without values.",
        columns={
            "source_theme": "source theme",
            "target_theme": "target theme",
            good.replace(" ", "_"): good,
            "rate": "rate",
            "low": "low",
            "high": "high",
            "harms": "harms",
            "harm_rate": "rate",
            "harm_low": "low",
            "harm_high": "high",
            "n_pairs": "pairs",
            "n_undecided": "undecided",
        },
        rows=rows,
        n_labels=2,
        main=("source_theme", "target_theme", good.replace(" ", "_"), "rate", "harms", "harm_rate", "n_pairs"),
    )


def _theme_entries(cell: ThemeCell) -> tuple[Entry, ...]:
    return (
        whole(cell.n),
        number(cell.rate, 2),
        number(cell.low, 2),
        number(cell.high, 2),
    )


def limited_table(analyses: Analyses) -> Table | None:
    """Section 5.3: pairs not harmed by less data, next to the same data without a transfer; None without such cells."""
    rows = [
        _limited_row(significance.fraction, model, pairs)
        for significance in analyses.significance
        if significance.fraction != 1.0 and significance.baseline_fraction == 1.0
        for model, pairs in (
            ("with transfer", significance.pairs),
            ("without transfer (control)", significance.control),
        )
    ]
    if not rows:
        return None
    return flat(
        name="limited-data",
        title="Limited data: part of the target's data against the full-data baseline",
        caption="Not harmed: share of the decided pairs without a significant loss by the default verdict, which does "
        "not show that there is no loss. Control: the baseline with the same part of the data.",
        details="Sources are trained on all of their data; validation and test parts are complete.",
        columns={
            "fraction": "data",
            "model": "model",
            **{outcome.replace(" ", "_"): outcome for outcome in OUTCOMES},
            "not_harmed": "not harmed",
            "mean_difference": "mean difference",
        },
        rows=rows,
        n_labels=2,
        main=("fraction", "model", *("helps", "harms", "inconclusive", "undecided"), "not_harmed", "mean_difference"),
    )


def _limited_row(fraction: float, model: str, pairs: Sequence[PairResult]) -> tuple[Entry, ...]:
    tally = counts(pairs)
    decided = len(pairs) - tally["undecided"]
    kept = sum(tally[outcome] for outcome in COUNTED["not harmed"])
    gains = [pair.improvement.gain for pair in pairs if np.isfinite(pair.improvement.gain)]
    return (
        text(f"{fraction * 100:g} %"),
        text(model),
        *(whole(tally[outcome]) for outcome in OUTCOMES),
        number(kept / decided if decided else float("nan"), 2),
        number(float(np.mean(gains)) if gains else float("nan"), signed=True),
    )
