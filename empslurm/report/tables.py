"""Scores in the form of the paper's Tables 7 and 8, and percent improvements as in Figures 6 and 7."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from empslurm import metrics
from empslurm.analysis.improvement import ImprovementMatrix, improvement_matrix
from empslurm.metrics import METRICS
from empslurm.report.formats import MISSING, Entry, Table, capital, shown, text
from empslurm.report.scores import Score, ScoreTable
from empslurm.tasks import Registry

FLAGGED, LEAKING, UNDEFINED = "†", "‡", "undef."
MOST_NAMED = 5  # datasets in a sentence


def title_of(task: str, registry: Registry) -> str:
    """A task's title, or its id where the registry does not have it."""
    return registry.tasks[task].title if task in registry.tasks else task


def suffix(table: ScoreTable) -> str:
    """The end of a table's file names, which depends on its data fraction and metric."""
    part = "" if table.fraction == 1.0 else f"-f{table.fraction * 100:g}"
    metric = "" if table.metric in metrics.PAPERS.values() else f"-{table.metric}"
    return f"{part}{metric}"


def column_heads(targets: Sequence[str], registry: Registry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two header lines, as in Table 7: the first word above the rest; a title of one word is on the lower line."""
    words = [title_of(task, registry).split(" ", 1) for task in targets]
    return tuple(word[0] if len(word) > 1 else "" for word in words), tuple(word[-1] for word in words)


def table_of_scores(table: ScoreTable, registry: Registry) -> Table:
    """Table 7 or 8 in the paper's form."""
    top, below = column_heads(table.targets, registry)
    rows = []
    for source in table.sources:
        entries = [score_entry(table, table.scores.get((source, target))) for target in table.targets]
        rows.append((text(title_of(source, registry)), *entries))
    return Table(
        name=f"table{table.number}{suffix(table)}",
        title=f"{capital(METRICS[table.metric].title)} for each target task (columns)" + part_of_data(table),
        caption=caption(table),
        details=details(table, registry),
        head=(("", *top), ("source", *below)),
        columns=("source", *table.targets),
        rows=tuple(rows),
        number=f"Table {table.number}",
        origin=origin(table),
    )


def origin(table: ScoreTable) -> tuple[tuple[str, str, str], ...]:
    """(source, target, ids of the cells behind the score) of each pair."""
    return tuple((source, target, " ".join(score.ids)) for (source, target), score in sorted(table.scores.items()))


def part_of_data(table: ScoreTable) -> str:
    return "" if table.fraction == 1.0 else f", {table.fraction * 100:g} % of the target's training data"


def score_entry(table: ScoreTable, score: Score | None) -> Entry:
    """One score as printed: two digits, baseline underlined, best bold, with marks that refer to the notes."""
    if score is None:
        return Entry(text="")
    baseline = score.source == score.target
    if score.state == "missing":
        return Entry(text=MISSING, underlined=baseline)
    marks = (FLAGGED if score.flags else "") + (LEAKING if score.leaks else "")
    n_seeds = len(score.seeds) + score.n_missing
    partial = f" ({len(score.seeds)}/{n_seeds})" if score.n_missing else ""
    if score.state == "undefined":
        return Entry(text=UNDEFINED + marks + partial, underlined=baseline, raw=float("nan"))
    best = bool(np.isclose(score.value, table.best(score.target), rtol=0, atol=1e-12))
    printed = shown(score.value, 2, short=True) + marks + partial
    return Entry(text=printed, underlined=baseline, bold=best, raw=score.value)


def caption(table: ScoreTable) -> str:
    """How to read the table, with its seeds and test sizes."""
    best = "" if table.higher_is_better else " (the lowest)"
    opening = f"Sources are rows, targets columns; baselines are underlined, the best of a column{best} is bold."
    return f"{provisional(table)}{opening} {rests_on(table)}".strip()


def provisional(table: ScoreTable) -> str:
    """The first words of a caption where data are invented, else ""."""
    if not any(score.sample for score in table.scores.values()):
        return ""
    return "PROVISIONAL: invented sample data, not a result. "


def rests_on(table: ScoreTable) -> str:
    """Seeds and test sizes, as sentences."""
    scores = table.scores.values()
    sizes = [score.n_examples for score in scores if score.n_examples]
    counts = sorted({len(score.seeds) for score in scores if score.seeds})
    said = []
    if counts:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        said.append(f"Means over {seeds} seed{'' if counts[-1] == 1 else 's'}.")
    if sizes:
        span = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        said.append(f"{span} test examples per target.")
    return " ".join(said)


def details(table: ScoreTable, registry: Registry) -> str:
    """What the marks that occur mean, and for which data empslurm has no record."""
    scores = table.scores.values()
    missing = sum(score.state == "missing" for score in scores)
    marks = (
        (missing, f"{MISSING}: no result yet ({missing} of {len(scores)})."),
        (any(score.flags for score in scores), f"{FLAGGED} {_flag_words(scores)}."),
        (any(score.leaks for score in scores), f"{LEAKING} test texts are also in a training part."),
        (any(score.state == "undefined" for score in scores), f"{UNDEFINED} no defined score."),
        (any(score.n_missing and score.seeds for score in scores), "(n/m) n of m seeds have a result."),
    )
    said = [sentence for there, sentence in marks if there]
    return " ".join(filter(None, [*said, unrecorded([table], registry)]))


def unrecorded(tables: Iterable[ScoreTable], registry: Registry) -> str:
    """A sentence that names data which are no recorded release, nor invented, nor of a card; "" without such data."""
    targets = dict.fromkeys(
        score.target
        for table in tables
        for score in table.scores.values()
        if score.seeds and not (score.pinned or score.sample or score.of_card)
    )
    names = [*dict.fromkeys(registry.tasks[task].dataset if task in registry.tasks else task for task in targets)]
    if not names:
        return ""
    more = len(names) - MOST_NAMED
    named = ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"Data that empslurm has no record of: {named} (your own, or an altered copy)."


def _flag_words(scores: Iterable[Score]) -> str:
    """What flags mean; flags of a table of results are shown as they are."""
    there = {flag for score in scores for flag in score.flags}
    ours, others = [text for flag, text in metrics.FLAGS.items() if flag in there], sorted(there - {*metrics.FLAGS})
    known = [f"a run {', or '.join(ours)}"] if ours else []
    return "; ".join([*known, f"a run is flagged: {', '.join(others)}"] if others else known)


def improvements(table: ScoreTable) -> ImprovementMatrix:
    """Percent improvement of every pair over its target's baseline (Figures 6 and 7)."""
    values = {pair: score.value for pair, score in table.scores.items()}
    tasks = tuple(dict.fromkeys((*table.sources, *table.targets)))
    return improvement_matrix(values, tasks, higher_is_better=table.higher_is_better)


def table_of_improvements(table: ScoreTable, registry: Registry) -> Table:
    """Percent improvement per pair, the numbers of Figure 6 or 7."""
    matrix = improvements(table)
    top, below = column_heads(matrix.targets, registry)
    rows = []
    for row, source in enumerate(matrix.sources):
        entries = [
            _percent_entry(table, source, target, float(matrix.percent[row, at]))
            for at, target in enumerate(matrix.targets)
        ]
        rows.append((text(title_of(source, registry)), *entries))
    figure = 6 if table.kind == "classification" else 7
    return Table(
        name=f"figure{figure}{suffix(table)}",
        title="Percent improvement over the baseline" + part_of_data(table),
        caption=f"{provisional(table)}100 × ({_gain(table)}) / baseline, {METRICS[table.metric].title}"
        f"{'' if table.higher_is_better else ', where lower is better'}. {rests_on(table)}".strip(),
        details=f"{MISSING}: a score is missing or undefined, or the baseline is not positive. "
        + details(table, registry),
        head=(("", *top), ("source", *below)),
        columns=("source", *matrix.targets),
        rows=tuple(rows),
        number=f"Figure {figure}",
        origin=tuple(
            (source, target, ids + " " + " ".join(table.scores[target, target].ids))
            for source, target, ids in origin(table)
            if source != target and (target, target) in table.scores
        ),
    )


def _gain(table: ScoreTable) -> str:
    return "transfer − baseline" if table.higher_is_better else "baseline − transfer"


def _percent_entry(table: ScoreTable, source: str, target: str, value: float) -> Entry:
    if source == target or (source, target) not in table.scores:
        return Entry(text="")
    flagged = any(table.scores[pair].flags for pair in ((source, target), (target, target)) if pair in table.scores)
    return Entry(text=shown(value, 1, signed=True) + (FLAGGED if flagged else ""), raw=value)


PAIR_COLUMNS = (
    "source",
    "target",
    "fraction",
    "metric",
    "baseline",
    "transfer",
    "difference",
    "percent",
    "n_seeds_baseline",
    "n_seeds_transfer",
    "flags",
    "flagged_seeds",
    "state",
    "data",
    "ids_baseline",
    "ids_transfer",
)


def pair_rows(tables: Iterable[ScoreTable]) -> list[dict[str, object]]:
    """One row per pair and data fraction, with the ids of the cells behind its numbers."""
    rows: list[dict[str, object]] = []
    for table in tables:
        sign = 1 if table.higher_is_better else -1
        for (source, target), score in sorted(table.scores.items()):
            if source == target:
                continue
            base = table.scores.get((target, target))
            before = float("nan") if base is None else base.value
            difference = score.value - before
            flags = sorted({*score.flags, *(base.flags if base else ())})
            row = {
                "source": source,
                "target": target,
                "fraction": table.fraction,
                "metric": table.metric,
                "baseline": before,
                "transfer": score.value,
                "difference": difference,
                "percent": sign * 100 * difference / before if before > 0 else float("nan"),
                "n_seeds_baseline": len(base.seeds) if base else 0,
                "n_seeds_transfer": len(score.seeds),
                "flags": " ".join(flags),
                "flagged_seeds": _flagged_seeds(base, score),
                "state": score.state,
                "data": _data(score),
                "ids_baseline": " ".join(base.ids) if base else "",
                "ids_transfer": " ".join(score.ids),
            }
            rows.append(row)
    return rows


def _data(score: Score) -> str:
    """What the numbers rest on, as a column of `pairs.csv` says it."""
    kinds = {"sample": score.sample, "card": score.of_card, "pinned": score.pinned}
    return next((kind for kind, is_it in kinds.items() if is_it), "unpinned")


def _flagged_seeds(base: Score | None, score: Score) -> str:
    arms = (("baseline", base), ("transfer", score))
    return "; ".join(f"{arm}: {scored.flagged}" for arm, scored in arms if scored is not None and scored.flagged)


def to_rows_csv(columns: Sequence[str], rows: Iterable[dict[str, object]]) -> str:
    """CSV of dictionaries; NaN is empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(name) for name in columns)
        writer.writerow(["" if value is None or value != value else value for value in values])
    return stream.getvalue()
