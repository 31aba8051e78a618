"""Verdicts, collapses and effects of one group as tables with their captions, and the same as sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from empslurm.analysis.collapse import CollapseDifference
from empslurm.analysis.verdicts import OUTCOMES
from empslurm.metrics import METRICS, PAPERS
from empslurm.report.formats import Entry, Table, flat, number, shown, text, whole
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.seeds import IN_A_MANIFEST, SHARED, seeds_table
from empslurm.report.significance import CONTROL, CONTROL_TITLE, PairResult
from empslurm.report.tables import title_of
from empslurm.tasks import Registry

# Plain name -> printed header.
VERDICT_COLUMNS = {
    "source": "source",
    "target": "target",
    "verdict": "verdict",
    "baseline": "baseline",
    "transfer": "transfer",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "percent": "%",
    "percent_low": "% low",
    "percent_high": "% high",
    "p_value": "p",
    "p_bh": "p (BH)",
    "p_holm": "p (Holm)",
    "p_equivalent": "p (equivalent)",
    "smallest_detectable": "detectable",
    "n_seeds": "seeds",
    "n_collapsed": "collapsed",
    "paper_p": "p, paper's test",
    "paper_test": "paper's test",
    "disagreement_or_reason": "disagreement or reason",
}
INCONCLUSIVE = (
    "Inconclusive: a difference was neither shown nor excluded, which is not the same as no effect; to test for no "
    "relevant difference, set `margin` in the manifest, or --margin."
)


def _margin_words(margin: float) -> str:
    return (
        f"Equivalent: shown to differ by less than {margin:g} in the target's metric (two one-sided tests, "
        "Benjamini-Hochberg at .05); this verdict takes precedence over helps and harms. Inconclusive: neither a "
        "difference nor equivalence was shown, which is not the same as no effect."
    )


def tables(analyses: Analyses) -> list[Table]:
    """Per data fraction: verdicts, seeds, and where they are known collapses and effects by theme."""
    registry = analyses.gathered.registry
    shown_tables: list[Table | None] = []
    for significance in analyses.significance:
        shown_tables += [verdict_table(significance, analyses), next_table(significance, analyses)]
        shown_tables += [collapse_table(significance, registry), effect_table(significance)]
    return [table for table in shown_tables if table is not None]


def part_name(fraction: float) -> str:
    """The end of a file's name at a data fraction."""
    return "" if fraction == 1.0 else f"-f{fraction * 100:g}"


def counts(pairs: Sequence[PairResult]) -> dict[str, int]:
    """Verdict -> number of pairs."""
    return {outcome: sum(pair.verdict.verdict == outcome for pair in pairs) for outcome in OUTCOMES}


def verdict_table(significance: Significance, analyses: Analyses) -> Table:
    """One row per pair: the default verdict, the paper's test, and any disagreement."""
    registry = analyses.gathered.registry
    ids, alone = (
        {pair: score.ids for table in analyses.tables if table.fraction == part for pair, score in table.scores.items()}
        for part in (significance.fraction, significance.baseline_fraction)
    )
    rows, origin = [], []
    for pair in (*significance.pairs, *significance.control):
        rows.append(_pair_row(pair, registry))
        verdict = pair.verdict
        own = ids.get((verdict.target if verdict.source == CONTROL else verdict.source, verdict.target), ())
        named = CONTROL_TITLE if verdict.source == CONTROL else verdict.source
        origin.append((named, verdict.target, " ".join((*own, *alone.get((verdict.target, verdict.target), ())))))
    return flat(
        name=f"verdicts{part_name(significance.fraction)}",
        title=f"Does the source help?{_part_title(significance)}",
        caption=verdict_caption(significance),
        details=verdict_details(significance),
        columns=VERDICT_COLUMNS,
        main=("source", "target", "verdict", "difference", "low", "high", "p_bh", "n_seeds"),
        rows=rows,
        n_labels=3,
        origin=origin,
    )


def _part_title(significance: Significance) -> str:
    if significance.fraction == 1.0:
        return ""
    against = "the full-data baseline" if significance.baseline_fraction == 1.0 else "the baseline with the same amount"
    return f" With {significance.fraction * 100:g} % of the target's data, against {against}"


def _pair_row(pair: PairResult, registry: Registry) -> tuple[Entry, ...]:
    verdict, improvement = pair.verdict, pair.improvement
    source = CONTROL_TITLE if verdict.source == CONTROL else title_of(verdict.source, registry)
    seeds = f"{verdict.n_seeds_transfer}/{verdict.n_seeds_baseline}"
    lost = verdict.n_collapsed_transfer, verdict.n_collapsed_baseline
    return (
        text(source),
        text(title_of(verdict.target, registry)),
        Entry(text=verdict.verdict, bold=verdict.verdict in ("helps", "harms")),
        number(verdict.baseline),
        number(verdict.transfer),
        number(verdict.difference, signed=True),
        number(verdict.low, signed=True),
        number(verdict.high, signed=True),
        number(improvement.percent, 1, signed=True),
        number(improvement.low, 1, signed=True),
        number(improvement.high, 1, signed=True),
        number(verdict.p_value),
        number(verdict.p_bh),
        number(verdict.p_holm),
        number(verdict.p_equivalent),
        number(verdict.smallest_detectable),
        text(seeds),
        text(f"{lost[0]}/{lost[1]}" if any(lost) else ""),
        number(pair.paper_p),
        text(pair.paper_outcome),
        text(pair.disagreement or verdict.reason),
    )


def verdict_caption(significance: Significance) -> str:
    """The caption: pairs by verdict, the test and its family."""
    tally = ", ".join(f"{n} {outcome}" for outcome, n in counts(significance.pairs).items() if n)
    return (
        f"{tally} of {len(significance.pairs)} pairs. Difference of seed means, with 95 % intervals before correction. "
        f"Helps or harms: p (BH), corrected over {significance.pairs[0].verdict.n_tested} tested pairs, is below .05."
    )


def verdict_details(significance: Significance) -> str:
    """The details: both tests, seeds and sizes, power, and the paper's test on seeds of the same cell."""
    sizes = [result.n_examples for result in significance.results if result.n_examples]
    seeds = sorted({pair.verdict.n_seeds_transfer for pair in significance.pairs})
    said = [
        "Verdict: difference of seed means; its error covers seeds and test examples. p (BH): Benjamini-Hochberg over "
        "all tested pairs; p (Holm): Holm within a target.",
        f"Seeds per transfer: {_span(seeds)}.",
        INCONCLUSIVE if significance.margin is None else _margin_words(significance.margin),
    ]
    if sizes:
        said.append(f"Test examples per target: {_span(sizes)}.")
    if not all(result.comparison.with_examples for result in significance.results):
        said.append("Where predictions are missing, the errors cover seed noise only.")
    said += [collapse_statement(significance), power_statement(significance)]
    if any(pair.paper_outcome for pair in significance.pairs):
        n = sum(bool(pair.disagreement) for pair in significance.pairs)
        said.append(
            "Paper's test: bootstrap over test examples, paired, one model per arm, two-sided, p < .05. It asks "
            "whether these two trained models differ, as two seeds of one model may, and not whether the source helps; "
            f"it disagrees with the verdict in {n} pairs."
        )
    said.append(same_cell_statement(significance))
    return " ".join(sentence for sentence in said if sentence)


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def power_statement(significance: Significance) -> str:
    """The smallest differences that this design can detect, separately for each metric."""
    metric_of = {result.target: result.metric for result in significance.results}
    by_metric: dict[str, list[float]] = {}
    for pair in significance.pairs:
        if np.isfinite(pair.verdict.smallest_detectable):
            by_metric.setdefault(metric_of[pair.verdict.target], []).append(pair.verdict.smallest_detectable)
    if not by_metric:
        seeds = {min(pair.verdict.n_seeds_transfer, pair.verdict.n_seeds_baseline) for pair in significance.pairs}
        why = "no pair has two seeds that learnt in both arms" if max(seeds) < 2 else "no pair could be judged"
        return f"Power: unknown, because {why}."
    seen = "; ".join(f"{METRICS[metric].title} {_detectable(np.array(values))}" for metric, values in by_metric.items())
    return (
        f"Power: smallest differences detected with probability .8, before correction: {seen}; after correction they "
        f"must be larger; by target in the table `seeds{part_name(significance.fraction)}`."
    )


def _detectable(values: NDArray[np.float64]) -> str:
    if len(values) == 1:
        return shown(float(values[0]), short=True)
    low, middle, high = (shown(float(value), short=True) for value in (values.min(), np.median(values), values.max()))
    return f"{low} to {high} (median {middle})"


def collapse_statement(significance: Significance) -> str:
    """How many runs did not learn, and how they are treated; "" where all learnt."""
    runs = [result.comparison for result in significance.results]
    n, total = (sum(map(sum, (getattr(comparison, name) for comparison in runs))) for name in ("n_collapsed", "n_runs"))
    if not n:
        return ""
    targets = sum(any(comparison.n_collapsed) for comparison in runs)
    return (
        f"{n} of {total:,} runs collapsed (did not learn), in {targets} of {len(runs)} targets: verdicts compare the "
        "runs that learnt, and how often runs collapse is compared separately."
    )


def collapse_table(significance: Significance, registry: Registry) -> Table | None:
    """How often the runs of each source and of the baseline collapse; None where no run does."""
    if not significance.collapse:
        return None
    rows = [
        (
            text(title_of(collapse.source, registry)),
            text(title_of(collapse.target, registry)),
            text(f"{collapse.n_collapsed} of {collapse.n_runs}"),
            text(f"{collapse.n_collapsed_baseline} of {collapse.n_runs_baseline}"),
            number(collapse.p_value),
            number(collapse.p_bh),
            text(collapse_words(collapse)),
        )
        for collapse in significance.collapse
    ]
    return flat(
        name=f"collapse{part_name(significance.fraction)}",
        title=f"How often do runs collapse?{_part_title(significance)}",
        caption="Runs that gave every text the same answer, diverged, or fell far below the others of their target.",
        details="Fisher's exact test, two-sided, Benjamini-Hochberg at .05 over all pairs of targets with such runs. "
        "With fewer than four runs in each arm, no difference can be shown.",
        columns={
            "source": "source",
            "target": "target",
            "transfer": "transfer",
            "baseline": "baseline",
            "p_value": "p",
            "p_bh": "p (BH)",
            "finding": "finding",
        },
        rows=rows,
        n_labels=2,
    )


def next_table(significance: Significance, analyses: Analyses) -> Table:
    """What every target needs to detect a wanted difference."""
    advice = IN_A_MANIFEST if analyses.gathered.origin == "runs" else ""
    if significance.fraction != significance.baseline_fraction:
        advice += SHARED
    return seeds_table(
        significance.next,
        analyses.gathered.registry,
        name=f"seeds{part_name(significance.fraction)}",
        title=f"How many more seeds?{_part_title(significance)}",
        advice=advice,
    )


def collapse_words(collapse: CollapseDifference) -> str:
    if not collapse.differs:
        return "inconclusive"
    more = collapse.n_collapsed * collapse.n_runs_baseline > collapse.n_collapsed_baseline * collapse.n_runs
    return "collapses more often" if more else "collapses less often"


def same_cell_statement(significance: Significance) -> str:
    """How often the paper's test finds a difference between two seeds of the same cell; "" without such pairs."""
    n, total = significance.same_cell
    if total == 0:
        return ""
    low, high = significance.same_cell_interval
    return (
        f"The paper's test calls two seeds of the same cell (same source and target) different in {n} of {total} "
        f"comparisons of two seeds ({100 * n / total:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
    )


def effect_table(significance: Significance) -> Table | None:
    """Mean difference from the baseline by source theme; None where themes or errors are unknown."""
    if not significance.effects:
        return None
    rows = [
        (
            text(effect.name),
            number(effect.mean, signed=True),
            number(effect.low, signed=True),
            number(effect.high, signed=True),
            whole(effect.n_pairs),
        )
        for effect in significance.effects
    ]
    return flat(
        name=f"theme-effects{part_name(significance.fraction)}",
        title="Mean difference from the baseline by source theme",
        caption="The 95 % intervals account for shared baselines and test examples. "
        f"Units are mixed: {_units(significance)}.",
        columns={
            "source_theme": "source theme",
            "mean": "mean difference",
            "low": "low",
            "high": "high",
            "n_pairs": "pairs",
        },
        rows=rows,
    )


def _units(significance: Significance) -> str:
    """The metrics that a mean over all pairs mixes."""
    names = {result.metric for result in significance.results}
    if names <= {*PAPERS.values()}:
        return "macro F1 and r"
    less = any(not METRICS[name].higher_is_better for name in names)
    titles = " and ".join(metric.title for name, metric in METRICS.items() if name in names)
    return f"{titles}{', where a lower value counts as a gain' if less else ''}"
