"""Verdicts, themes, limited data and similarities as tables, each with what its caption must say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from empslurm.analysis.collapse import CollapseDifference
from empslurm.analysis.themes import COUNTED, ThemeCell
from empslurm.analysis.verdicts import OUTCOMES
from empslurm.metrics import METRICS
from empslurm.report.analyses import Significance, Study, ThemePanels
from empslurm.report.embeddings import DataSimilarity, FusedSimilarity
from empslurm.report.formats import Entry, Table, capital, flat, number, shown, text, whole
from empslurm.report.seeds import IN_A_MANIFEST, SHARED, seeds_statement, seeds_table
from empslurm.report.significance import CONTROL, CONTROL_TITLE, PairResult
from empslurm.report.tables import title_of
from empslurm.report.wording import plain
from empslurm.tasks import Registry

# Plain name -> what is printed.
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
    "Inconclusive: a difference was not shown, nor that there is none; `margin` in the manifest, or --margin, asks for "
    "the latter."
)


def _margin_words(margin: float) -> str:
    return (
        f"Equivalent: shown to differ by less than {margin:g} in the target's metric, by two one-sided tests, "
        "Benjamini-Hochberg at .05; that goes before helps and harms. Inconclusive: neither was shown."
    )


def part_name(fraction: float) -> str:
    """The end of a file's name."""
    return "" if fraction == 1.0 else f"-f{fraction * 100:g}"


def counts(pairs: Sequence[PairResult]) -> dict[str, int]:
    """Pairs by verdict."""
    return {outcome: sum(pair.verdict.verdict == outcome for pair in pairs) for outcome in OUTCOMES}


def verdict_table(one: Significance, study: Study) -> Table:
    """One row per pair: the default verdict, the paper's test, and where they disagree."""
    registry = study.gathered.registry
    ids = {
        (source, target): score.ids
        for table in study.tables
        if table.fraction == one.fraction
        for (source, target), score in table.scores.items()
    }
    rows, origin = [], []
    for pair in (*one.pairs, *one.control):
        rows.append(_pair_row(pair, registry))
        verdict = pair.verdict
        own = ids.get((verdict.target if verdict.source == CONTROL else verdict.source, verdict.target), ())
        named = CONTROL_TITLE if verdict.source == CONTROL else verdict.source
        origin.append((named, verdict.target, " ".join((*own, *ids.get((verdict.target, verdict.target), ())))))
    return flat(
        name=f"verdicts{part_name(one.fraction)}",
        title=f"Does the source help?{_part_title(one)}",
        caption=verdict_caption(one),
        columns=VERDICT_COLUMNS,
        rows=rows,
        n_labels=3,
        origin=origin,
    )


def _part_title(one: Significance) -> str:
    if one.fraction == 1.0:
        return ""
    against = "the full-data baseline" if one.baseline_fraction == 1.0 else "the baseline with as much"
    return f" With {one.fraction * 100:g} % of the target's data, against {against}"


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


def _collapses(one: Significance, study: Study) -> list[str]:
    """Sources that change how often runs collapse, as sentences."""
    registry = study.gathered.registry
    return [
        f"{title_of(found.source, registry)} {_collapse_words(found)} on {title_of(found.target, registry)}: "
        f"{found.n_collapsed} of {found.n_runs} runs, the baseline {found.n_collapsed_baseline} of "
        f"{found.n_runs_baseline}."
        for found in one.collapse
        if found.differs
    ]


def _equivalent(n: int, margin: float | None) -> str:
    """A clause of the headline; "" where no margin was asked for."""
    return "" if margin is None else f"{n} are equivalent within {margin:g}, "


def verdict_caption(one: Significance) -> str:
    """The two tests, the family, the seeds and sizes, the power, and the paper's test on seeds of the same cell."""
    tally = counts(one.pairs)
    sizes = [result.n_examples for result in one.results if result.n_examples]
    seeds = sorted({pair.verdict.n_seeds_transfer for pair in one.pairs})
    said = [
        ", ".join(f"{n} {outcome}" for outcome, n in tally.items() if n) + f" of {len(one.pairs)} pairs.",
        f"Verdict: difference of seed means with seed and example error, Benjamini-Hochberg over "
        f"{one.pairs[0].verdict.n_tested} tested pairs at .05, 95 % intervals before correction; Holm within a target.",
        f"Seeds per transfer: {_span(seeds)}.",
        INCONCLUSIVE if one.margin is None else _margin_words(one.margin),
    ]
    if sizes:
        said.append(f"Test examples per target: {_span(sizes)}.")
    if not all(result.comparison.with_examples for result in one.results):
        said.append("Where predictions are missing the errors hold seed noise only.")
    said += [collapse_statement(one), power_statement(one)]
    if any(pair.paper_outcome for pair in one.pairs):
        n = sum(bool(pair.disagreement) for pair in one.pairs)
        said.append(
            "Paper's test: bootstrap over test examples, paired, one model per arm, two-sided, p < .05. It asks if "
            "these two trained models differ, which two seeds of one model do as well, and not whether the source "
            f"helps; it disagrees with the verdict in {n} pairs."
        )
    said.append(same_cell_statement(one))
    return " ".join(sentence for sentence in said if sentence)


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def power_statement(one: Significance) -> str:
    """The smallest difference that this design could have seen."""
    values = np.array([pair.verdict.smallest_detectable for pair in one.pairs])
    values = values[np.isfinite(values)]
    if len(values) == 0:
        seeds = {min(pair.verdict.n_seeds_transfer, pair.verdict.n_seeds_baseline) for pair in one.pairs}
        why = "no pair has two seeds in both arms" if max(seeds) < 2 else "no pair could be judged"
        return f"Power: unknown, since {why}."
    return (
        f"Power: with probability .8 this design sees differences of {np.median(values):.3f} (median over pairs; "
        f"{values.min():.3f} to {values.max():.3f}) before correction, larger ones after it."
    )


def collapse_statement(one: Significance) -> str:
    """How many runs did not learn, and what was done with them; "" where all did."""
    runs = [result.comparison for result in one.results]
    n, total = (sum(map(sum, (getattr(found, name) for found in runs))) for name in ("n_collapsed", "n_runs"))
    if not n:
        return ""
    targets = sum(any(found.n_collapsed) for found in runs)
    return (
        f"{n} of {total:,} runs collapsed, in {targets} of {len(runs)} targets: verdicts compare the runs that learnt, "
        "and how often runs collapse is compared by itself."
    )


def collapse_table(one: Significance, registry: Registry) -> Table | None:
    """Sources beside baselines in how often their runs collapse; None where none does."""
    if not one.collapse:
        return None
    rows = [
        (
            text(title_of(found.source, registry)),
            text(title_of(found.target, registry)),
            text(f"{found.n_collapsed} of {found.n_runs}"),
            text(f"{found.n_collapsed_baseline} of {found.n_runs_baseline}"),
            number(found.p_value),
            number(found.p_bh),
            text(_collapse_words(found)),
        )
        for found in one.collapse
    ]
    return flat(
        name=f"collapse{part_name(one.fraction)}",
        title=f"How often do runs collapse?{_part_title(one)}",
        caption="Runs that answered constantly, diverged, or fell far below the others of their target. Fisher's exact "
        "test, two-sided, Benjamini-Hochberg over all pairs of targets with such runs at .05; with fewer than four "
        "runs an arm no count can be told from another.",
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


def next_table(one: Significance, study: Study) -> Table:
    """What every target needs so that a wanted difference is seen."""
    advice = IN_A_MANIFEST if study.gathered.origin == "runs" else ""
    if one.fraction != one.baseline_fraction:
        advice += SHARED
    return seeds_table(
        one.next,
        study.gathered.registry,
        name=f"seeds{part_name(one.fraction)}",
        title=f"How many more seeds?{_part_title(one)}",
        advice=advice,
    )


def _collapse_words(found: CollapseDifference) -> str:
    if not found.differs:
        return "inconclusive"
    more = found.n_collapsed * found.n_runs_baseline > found.n_collapsed_baseline * found.n_runs
    return "collapses more often" if more else "collapses less often"


def same_cell_statement(one: Significance) -> str:
    """How often the paper's test calls two seeds of the same cell different; "" without such pairs."""
    n, total = one.same_cell
    if total == 0:
        return ""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(n, total, method="wilson")
    return (
        f"The paper's test calls two seeds of the very same cell different in {n} of {total} pairs "
        f"({100 * n / total:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
    )


def theme_tables(panels: Sequence[ThemePanels]) -> tuple[Table, ...]:
    """Figure 3's counts with rates and intervals."""
    return tuple(_theme_table(panel) for panel in panels)


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
    test = "default" if panel.test == "the default verdict" else "paper"
    where = "top" if panel.fraction == 1.0 else "bottom"
    return flat(
        name=f"figure3-{test}{part_name(panel.fraction)}",
        number=f"Figure 3, {where}",
        title=f"Transfer by theme, {panel.test}"
        + ("" if panel.fraction == 1.0 else f", {panel.fraction * 100:g} % of the data against the full-data baseline"),
        caption=f"{panel.n_pairs} pairs. Rates are of decided pairs, with Wilson's 95 % intervals, which take pairs as "
        "independent. The paper prints this figure without values.",
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
    )


def _theme_entries(cell: ThemeCell) -> tuple[Entry, ...]:
    return (
        whole(cell.n),
        number(cell.rate, 2),
        number(cell.low, 2),
        number(cell.high, 2),
    )


def effect_table(one: Significance) -> Table | None:
    """Mean difference to the baseline by source theme; None where themes or errors are unknown."""
    if not one.effects:
        return None
    rows = [
        (
            text(effect.name),
            number(effect.mean, signed=True),
            number(effect.low, signed=True),
            number(effect.high, signed=True),
            whole(effect.n_pairs),
        )
        for effect in one.effects
    ]
    return flat(
        name=f"theme-effects{part_name(one.fraction)}",
        title="Mean difference to the baseline by source theme",
        caption=f"95 % intervals that carry the shared baselines and test examples. Units are mixed: {_units(one)}.",
        columns={
            "source_theme": "source theme",
            "mean": "mean difference",
            "low": "low",
            "high": "high",
            "n_pairs": "pairs",
        },
        rows=rows,
    )


def _units(one: Significance) -> str:
    """What a mean over pairs of several metrics mixes."""
    names = {result.metric for result in one.results}
    if names <= {"f1_macro", "pearson"}:
        return "macro F1 and r"
    less = any(not METRICS[name].higher_is_better for name in names)
    titles = " and ".join(metric.title for name, metric in METRICS.items() if name in names)
    return f"{titles}{', where less is counted as a gain' if less else ''}"


def data_similarity_table(found: DataSimilarity, registry: Registry) -> Table:
    """Figure 9."""
    return _square(
        "figure9",
        "Figure 9",
        "Dataset cosine similarity",
        f"Mean sentence embeddings by {found.encoder}. The paper prints the heat map without values.",
        found.tasks,
        found.cosine,
        found.ids,
        registry,
        digits=2,
    )


def task_similarity_tables(found: Sequence[FusedSimilarity], registry: Registry) -> tuple[Table, ...]:
    """Figure 10, one per kind of Fisher labels: ranks by reciprocal rank fusion, 1 = most similar to the row's task."""
    return tuple(
        _square(
            f"figure10-{one.kind}",
            "Figure 10",
            f"Task embedding similarity ranks ({one.kind} Fisher information)",
            f"Reciprocal rank fusion over {len(one.similarity.components)} components, seed {one.seed}; 1: most "
            "similar to the row's task. The paper prints the heat map without values.",
            one.similarity.tasks,
            one.similarity.ranks,
            one.ids,
            registry,
            digits=0,
        )
        for one in found
    )


def _square(
    name: str,
    label: str,
    title: str,
    caption: str,
    tasks: Sequence[str],
    values: np.ndarray,
    ids: Sequence[str],
    registry: Registry,
    digits: int,
) -> Table:
    rows = [
        (text(title_of(task, registry)), *(number(float(value), digits, short=True) for value in values[at]))
        for at, task in enumerate(tasks)
    ]
    return Table(
        name=name,
        number=label,
        title=title,
        caption=caption,
        head=(("task", *(title_of(task, registry) for task in tasks)),),
        columns=("task", *tasks),
        rows=tuple(rows),
        origin=tuple((one, two, f"{ids[a]} {ids[b]}") for a, one in enumerate(tasks) for b, two in enumerate(tasks)),
    )


def limited_table(study: Study) -> Table | None:
    """Section 5.3: pairs not harmed by less data, beside the same data without a transfer; None without such cells."""
    rows = []
    for one in study.significance:
        if one.fraction == 1.0 or one.baseline_fraction != 1.0:
            continue
        for name, pairs in (("with transfer", one.pairs), ("without transfer (control)", one.control)):
            tally = counts(pairs)
            decided = len(pairs) - tally["undecided"]
            kept = sum(tally[outcome] for outcome in COUNTED["not harmed"])
            rate = kept / decided if decided else float("nan")
            gains = [pair.improvement.gain for pair in pairs if np.isfinite(pair.improvement.gain)]
            mean = float(np.mean(gains)) if gains else float("nan")
            rows.append(
                (
                    text(f"{one.fraction * 100:g} %"),
                    text(name),
                    *(whole(tally[outcome]) for outcome in OUTCOMES),
                    number(rate, 2),
                    number(mean, signed=True),
                )
            )
    if not rows:
        return None
    return flat(
        name="limited-data",
        title="Limited data: part of the target's data against the full-data baseline",
        caption="Not harmed: no significant loss by the default verdict, of decided pairs. Sources are trained on all "
        "of theirs; validation and test parts are whole. The control is the baseline with the same part of the data.",
        columns={
            "fraction": "data",
            "model": "model",
            **{outcome.replace(" ", "_"): outcome for outcome in OUTCOMES},
            "not_harmed": "not harmed",
            "mean_difference": "mean difference",
        },
        rows=rows,
        n_labels=2,
    )


def headline(study: Study) -> tuple[str, ...]:
    """What a group leader reads first: sentences with their numbers."""
    said = []
    if not study.significance and study.gathered.origin == "results":
        said.append(capital(study.lacking.get("baselines") or study.lacking["verdicts"]) + ".")
    for one in study.significance:
        tally = counts(one.pairs)
        where = "" if one.fraction == 1.0 else f" with {one.fraction * 100:g} % of the target's data"
        said.append(
            f"Of {len(one.pairs)} pairs{where}, {tally['helps']} help, {tally['harms']} harm, "
            f"{_equivalent(tally['equivalent'], one.margin)}{tally['inconclusive']} are inconclusive, "
            f"{tally['undecided']} are undecided."
        )
        told = (
            collapse_statement(one),
            *_collapses(one, study),
            power_statement(one),
            seeds_statement(one.next, one.margin, fraction=one.fraction, table=f"seeds{part_name(one.fraction)}"),
            same_cell_statement(one),
        )
        said += [sentence for sentence in told if sentence]
    said += _median(study)
    if study.audit is not None:
        said.append(study.audit.sentence)
    return tuple(said if study.of_paper else map(plain, said))


def _median(study: Study) -> list[str]:
    found = [
        pair.improvement for one in study.significance if one.fraction == one.baseline_fraction for pair in one.pairs
    ]
    gains = [one.gain for one in found if np.isfinite(one.gain)]
    percents = [one.percent for one in found if np.isfinite(one.percent)]
    if not percents:
        return []
    middle, up = float(np.median(percents)), sum(gain > 0 for gain in gains)
    where = "above" if all(table.higher_is_better for table in study.tables) else "better than"
    of = "" if len(percents) == len(gains) else f" (of {len(percents)} pairs whose baseline is positive)"
    return [
        f"The median change is {shown(middle, 1, signed=True)} %{of}; {up} of {len(gains)} pairs are {where} the "
        "baseline."
    ]
