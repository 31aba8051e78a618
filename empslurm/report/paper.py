"""The paper's other tables (ratings, 2; their agreement, 3; themes, 5), and comparisons with its printed scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from empslurm import reference
from empslurm.analysis.agreement import Agreement, Level, agreements
from empslurm.analysis.improvement import improvement_matrix
from empslurm.analysis.themes import THEMES
from empslurm.metrics import METRICS, PAPERS
from empslurm.reference import Rating
from empslurm.report import task_facts
from empslurm.report.formats import Entry, Table, main_columns, number, shown, text, whole
from empslurm.report.scores import ScoreTable
from empslurm.report.tables import column_heads, improvements, suffix, title_of
from empslurm.tasks import Registry

ASPECTS = {"definition": "Definition", "link": "Link", "conduciveness": "Conduciveness"}
CITATION = "Lahnala et al. (2024)"


def aspects(ratings: Sequence[Rating]) -> tuple[str, ...]:
    """The aspects of the ratings, the paper's first."""
    there = dict.fromkeys(rating.aspect for rating in ratings)
    return (*(name for name in ASPECTS if name in there), *(name for name in there if name not in ASPECTS))


def rating_arrays(ratings: Sequence[Rating]) -> dict[str, np.ndarray]:
    """Aspect -> its ratings, (n_tasks, n_annotators)."""
    return {
        aspect: np.array([rating.values for rating in ratings if rating.aspect == aspect])
        for aspect in aspects(ratings)
    }


def table2(ratings: Sequence[Rating], registry: Registry) -> Table:
    """Table 2: every annotator's rating of every aspect of every task."""
    annotators = ratings[0].annotators
    by_place = {(rating.task, rating.aspect): rating for rating in ratings}
    tasks = tuple(dict.fromkeys(rating.task for rating in ratings))
    heads = [(aspect, name) for aspect in aspects(ratings) for name in annotators]
    rows = []
    for task in tasks:
        entries = []
        for aspect, name in heads:
            rating = by_place.get((task, aspect))
            value = rating.values[annotators.index(name)] if rating else float("nan")
            entries.append(number(value, 0 if value == value and value == round(value) else 1))
        rows.append((text(title_of(task, registry)), *entries))
    return Table(
        name="table2",
        number="Table 2",
        title="Construct ratings of every annotator",
        caption=f"{len(tasks)} tasks, 5-point Likert scale. {_compare_ratings(ratings)}".strip(),
        head=(
            ("", *(ASPECTS.get(aspect, aspect) for aspect, _ in heads)),
            ("task", *(name.upper() if len(name) == 1 else name for _, name in heads)),
        ),
        columns=("task", *(f"{aspect}_{name}" for aspect, name in heads)),
        rows=tuple(rows),
    )


def _compare_ratings(ratings: Sequence[Rating]) -> str:
    printed = {(rating.task, rating.aspect): rating.values for rating in reference.ratings()}
    if printed.keys().isdisjoint((rating.task, rating.aspect) for rating in ratings):
        return ""
    same = sum(printed.get((rating.task, rating.aspect)) == rating.values for rating in ratings)
    return f"{same} of {len(ratings)} rows are equal to those that {CITATION} printed."


def of_table2(ratings: Sequence[Rating]) -> bool:
    """Whether exactly what Table 2 rates is rated: only then does agreement compare with the printed one."""
    rated, printed = ({(rating.task, rating.aspect) for rating in rows} for rows in (ratings, reference.ratings()))
    return rated == printed


def table3(agreement: Sequence[Agreement], *, compared: bool = True) -> Table:
    """Table 3: agreement per aspect and overall, next to the printed values. `compared`: see `of_table2`."""
    printed = {row.aspect: row for row in reference.agreement()}
    level = agreement[0].level
    comparable = level == "interval" and compared
    rows = []
    for row in agreement:
        before = printed.get(row.aspect) if comparable else None
        alpha = before.alpha if before else float("nan")
        spearman = before.spearman if before else float("nan")
        rows.append(
            (
                text(ASPECTS.get(row.aspect, row.aspect)),
                number(row.alpha, 2, short=True),
                number(alpha, 2, short=True),
                number(round(row.alpha, 2) - alpha, 2, short=True, signed=True),
                number(row.spearman, 2, short=True),
                number(spearman, 2, short=True),
                number(round(row.spearman, 2) - spearman, 2, short=True, signed=True),
                Entry(text=f"{row.p_value:.2g}" if row.p_value == row.p_value else "—", raw=row.p_value),
                whole(row.n_units),
            )
        )
    names: tuple[str, ...] = ("aspect", "alpha", "alpha_printed", "alpha_difference")
    names += ("spearman", "spearman_printed", "spearman_difference", "p_value", "n_units")
    n_annotators = agreement[0].n_annotators
    table = Table(
        name="table3",
        number="Table 3",
        title="Agreement between annotators",
        caption=f"Krippendorff's alpha at the {level} level, {n_annotators} annotators; Spearman's r with "
        f"two-sided p{'' if n_annotators == 2 else ', which is of two annotators only'}.",
        details="Overall pools the aspects. Difference: here minus the printed value, at two digits.",
        main=("aspect", "alpha", "alpha_printed", "spearman", "spearman_printed", "p_value", "n_units"),
        head=(("aspect", "α", "printed", "difference", "r", "printed", "difference", "p", "units"),),
        columns=names,
        rows=tuple(rows),
    )
    if compared:
        return table
    own = main_columns(replace(table, main=("aspect", "alpha", "spearman", "p_value", "n_units")))
    return replace(own, main=(), details="Overall pools the aspects.")


def figure8(agreement: Sequence[Agreement], *, compared: bool = True) -> Table:
    """Figure 8: how often two annotators differ, by the size of the difference. `compared`: see `of_table2`."""
    values = sorted({value for row in agreement for value in row.difference_counts})
    rows = [
        (
            text(ASPECTS.get(row.aspect, row.aspect)),
            *(whole(row.difference_counts.get(value, 0)) for value in values),
        )
        for row in agreement
        if row.aspect != "overall"
    ]
    return Table(
        name="figure8",
        number="Figure 8",
        title="Counts of differences in ratings",
        caption="Absolute difference between two annotators, counted over tasks and all pairs of annotators.",
        details="The paper prints the bars without values; its text has four two-point differences for conduciveness."
        if compared
        else "",
        head=(("aspect", *(f"{value:g}" for value in values)),),
        columns=("aspect", *(f"difference_{value:g}" for value in values)),
        rows=tuple(rows),
    )


def ratings_agreement(ratings: Sequence[Rating], level: Level = "interval") -> tuple[Agreement, ...]:
    """Agreement on every aspect and overall."""
    return agreements(rating_arrays(ratings), level)


def table5(
    ratings: Sequence[Rating], registry: Registry, tasks: Collection[str] = reference.task_ids()
) -> Table | None:
    """Table 5: themes with the mean ratings of `tasks`; None where none of them has a theme.

    The paper's tasks have the theme that it gives them and come first, others that of the rule on their means.
    """
    printed = {row.task: row for row in reference.themes() if row.task in tasks}
    order = [*printed, *(task for task in tasks if task not in printed)]
    themes = task_facts.themes(order, registry, ratings)
    means = task_facts.mean_ratings(order, registry, ratings)
    whole = {task: float(np.mean([*means[task].values()])) for task in order}
    others = sorted((task for task in themes if task not in printed), key=lambda task: -whole[task])
    rows = []
    n_different = 0
    for task in sorted([*printed, *others], key=lambda task: THEMES.index(themes[task])):
        values, mean = [*means[task].values()], whole[task]
        before = printed.get(task)
        title = title_of(task, registry) + ("" if before is None else "*" if before.deviates else "")
        title += "†" if printed and before is None else ""
        difference = float("nan")
        if before is not None:
            of_print = (before.definition, before.link, before.conduciveness, before.mean)
            n_different += any(abs(a - b) > 0.006 for a, b in zip((*values, mean), of_print, strict=True))
            difference = round(mean, 2) - before.mean
        rows.append(
            (
                text(themes[task]),
                text(title),
                *(number(value, 1) for value in values),
                number(mean, 2),
                number(difference, 2, signed=True),
            )
        )
    if not rows:
        return None
    of_paper = f"{n_different} of {len(printed)} tasks differ from the printed means. *: so marked in the paper, since "
    of_paper += "the mean does not agree with the theme."
    rule = f"{'†: theme' if printed else 'Themes'} by a rule on the mean: {task_facts.RULE}."
    table = Table(
        name="table5",
        number="Table 5",
        title="Themes of theoretical grounding",
        caption=" ".join(
            ["Means of the annotators' ratings.", *([of_paper] if printed else []), *([rule] if others else [])]
        ),
        details="The cut points of the rule lie halfway between the groups of Table 5 of Lahnala et al. (2024), "
        "without its tasks marked *. There, people chose the themes; four of its eighteen tasks do not follow the rule."
        if others
        else "",
        head=(("theme", "task", "Def.", "Link", "Cond.", "Mean", "mean − printed"),),
        columns=("theme", "task", "definition", "link", "conduciveness", "mean", "mean_difference"),
        rows=tuple(rows),
        n_labels=2,
    )
    if printed:
        return table
    return replace(main_columns(replace(table, main=table.columns[:-1])), main=())


def printed_scores() -> Mapping[tuple[str, str], float]:
    """(source, target) -> the score that Table 7 or 8 prints."""
    return {(row.source, row.target): row.value for row in reference.scores()}


def versus_printed(table: ScoreTable, registry: Registry, *, percent: bool = False) -> Table | None:
    """Each score minus its printed value, which follows in brackets; None where the paper prints none of them."""
    if table.fraction != 1.0 or table.metric not in PAPERS.values():
        return None
    before = printed_scores()
    if not set(table.scores) & set(before):
        return None
    own = {pair: score.value for pair, score in table.scores.items()}
    if percent:
        before, own = _percents(before, table), _percents_of(table)
    top, below = column_heads(table.targets, registry)
    digits = 1 if percent else 2
    rows = []
    for source in table.sources:
        entries = []
        for target in table.targets:
            value, old = own.get((source, target), np.nan), before.get((source, target), np.nan)
            if np.isnan(old) or (percent and source == target):
                entries.append(Entry(text=""))
                continue
            change = shown(value - old, digits, short=not percent, signed=True)
            entries.append(Entry(text=f"{change} ({shown(old, digits, short=not percent)})", raw=value - old))
        rows.append((text(title_of(source, registry)), *entries))
    figure = 6 if table.kind == "classification" else 7
    name = f"figure{figure}" if percent else f"table{table.number}"
    what = "Percent improvement" if percent else METRICS[table.metric].title
    return Table(
        name=f"{name}{suffix(table)}-versus-printed",
        number=f"Figure {figure}" if percent else f"Table {table.number}",
        title=f"{what}: difference from the printed value (in brackets)",
        caption=f"Printed: {CITATION}, Tables 7 and 8, RoBERTa-base, one run per pair"
        + (", with percentages computed from them." if percent else "."),
        head=(("", *top), ("source", *below)),
        columns=("source", *table.targets),
        rows=tuple(rows),
    )


def _percents_of(table: ScoreTable) -> dict[tuple[str, str], float]:
    matrix = improvements(table)
    return {
        (source, target): float(matrix.percent[row, column])
        for row, source in enumerate(matrix.sources)
        for column, target in enumerate(matrix.targets)
    }


def _percents(scores: Mapping[tuple[str, str], float], table: ScoreTable) -> dict[tuple[str, str], float]:
    order = tuple(dict.fromkeys((*table.sources, *table.targets)))
    matrix = improvement_matrix({pair: value for pair, value in scores.items() if set(pair) <= set(order)}, order)
    return {
        (source, target): float(matrix.percent[row, column])
        for row, source in enumerate(matrix.sources)
        for column, target in enumerate(matrix.targets)
    }
