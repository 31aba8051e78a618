"""The paper's dataset tables (1 and 9 to 12) side by side with what the files here hold, and every difference."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from empslurm import files, reference
from empslurm.tasks import Registry
from empslurm.tasks.stats import COLUMNS

Verdict = Literal["equal", "differs", "another draw", "another rule", "not here"]
TITLES: Mapping[int, str] = {
    1: "Samples, vocabulary and tokens of each dataset",
    9: "Ratings of the regression tasks, overall and per part",
    10: "Label shares of the smaller label sets, overall and per part",
    11: "Label shares of EmpDial QAct and QInt, overall and per part",
    12: "Label shares of EmpDial Emo and MI Behavior, overall and per part",
}
SIZES = {"n_samples": "n_examples", "n_vocabulary": "n_vocabulary", "n_tokens": "n_tokens"}  # the paper's name -> ours


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One published number beside ours.

    equal: to the printed digits. another draw: a part's number, where our parts are drawn anew. another rule: words are
    counted by a rule that the paper does not name. not here: the files are missing.
    """

    table: int
    name: str  # dataset id (Table 1) or task id
    measure: str  # n_samples, percent, mean, ... or a label
    column: str  # all, train, validation, test
    digits: int  # after the point, as printed
    here: float | None
    published: float
    verdict: Verdict

    @property
    def difference(self) -> float | None:
        """Ours minus the published one, or None."""
        return None if self.here is None else self.here - self.published


def compare(stats: Mapping[str, Mapping[str, Any]]) -> tuple[Compared, ...]:
    """Every number of the five tables. stats: by dataset id, what `dataset_stats` gives."""
    tasks = {id: task for one in stats.values() for id, task in one["tasks"].items()}
    here = {
        (id, line["label"] or line["statistic"], column): value
        for id, task in tasks.items()
        for line in task.get("lines", ())
        for column, value in zip(COLUMNS, line["values"], strict=True)
    }
    made = [row for size in reference.dataset_sizes() for row in _sizes(size, stats.get(size.dataset, {}))]
    tables = {row.task: row.table for row in reference.label_shares()}
    for row in reference.split_statistics():
        digits = 1 if row.statistic == "percent" else 2
        made += _columns(tables.get(row.task, 9), row, row.statistic, digits, here)
    for share in reference.label_shares():
        made += _columns(share.table, share, share.label, 1, here)
    return tuple(sorted(made, key=lambda row: row.table))


def _sizes(size: reference.DatasetSize, one: Mapping[str, Any]) -> Iterable[Compared]:
    for measure, name in SIZES.items():
        here, published = one.get(name), getattr(size, measure)
        changed: Verdict = "differs" if measure == "n_samples" else "another rule"
        yield Compared(
            table=1,
            name=size.dataset,
            measure=measure,
            column="all",
            digits=0,
            here=here,
            published=published,
            verdict=_verdict(here, published, 0, changed),
        )


def _columns(
    table: int,
    row: reference.SplitStatistic | reference.LabelShare,
    measure: str,
    digits: int,
    here: Mapping[tuple[str, str, str], float | None],
) -> Iterable[Compared]:
    for column in COLUMNS:
        value, published = here.get((row.task, measure, column)), getattr(row, column)
        yield Compared(
            table=table,
            name=row.task,
            measure=measure,
            column=column,
            digits=digits,
            here=value,
            published=published,
            verdict=_verdict(value, published, digits, "differs" if column == "all" else "another draw"),
        )


def _verdict(here: float | None, published: float, digits: int, changed: Verdict) -> Verdict:
    if here is None:
        return "not here"
    # A hair more than half of the last digit: what stands on the edge may have been rounded either way.
    return "equal" if abs(here - published) <= 0.5 * 10**-digits * (digits > 0) + 1e-6 else changed


def summary(rows: Iterable[Compared]) -> dict[int, dict[str, int]]:
    """Table -> verdict -> count."""
    made: dict[int, dict[str, int]] = {}
    for row in rows:
        counts = made.setdefault(row.table, {})
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    return made


def differences(rows: Iterable[Compared]) -> list[Compared]:
    """What a reader must know: numbers of whole datasets that are not the published ones, the largest share first."""
    found = [row for row in rows if row.verdict in ("differs", "another rule")]
    return sorted(found, key=lambda row: (row.table, row.name, row.measure))


def write(rows: Sequence[Compared], known: Registry, folder: Path) -> list[Path]:
    """table1, table9 to table12 as CSV, Markdown and LaTeX, and every number in differences.csv."""
    written = [folder / "differences.csv"]
    files.write_text(written[0], csv_text(_LONG, (_long(row) for row in rows)))
    for table, title in TITLES.items():
        own = [row for row in rows if row.table == table]
        names = [f"{column} {kind}" for column in _shown_columns(table) for kind in ("here", "paper", "difference")]
        texts = {
            "csv": csv_text(("name", "measure", *names), _numbers(own)),
            "md": _markdown(table, title, _cells(own, known)),
            "tex": _latex(table, title, _cells(own, known)),
        }
        for ending, text in texts.items():
            written.append(folder / f"table{table}.{ending}")
            files.write_text(written[-1], text)
    return written


_LONG = ("table", "name", "measure", "column", "here", "published", "difference", "verdict")


def _long(row: Compared) -> tuple[object, ...]:
    values = (_digits(row, row.here), _digits(row, row.published), _digits(row, row.difference))
    return (row.table, row.name, row.measure, row.column, *values, row.verdict)


def _digits(row: Compared, value: float | None, sign: str = "") -> str:
    # One digit more than in print, so that a difference below the printed digits can be seen.
    return "" if value is None else f"{value:{sign}.{row.digits + 1 if row.digits else 0}f}"


def _shown_columns(table: int) -> tuple[str, ...]:
    return ("all",) if table == 1 else COLUMNS


def _grouped(rows: Iterable[Compared]) -> dict[tuple[str, str], list[Compared]]:
    made: dict[tuple[str, str], list[Compared]] = {}
    for row in rows:
        made.setdefault((row.name, row.measure), []).append(row)
    return made


def _numbers(rows: Iterable[Compared]) -> Iterable[tuple[object, ...]]:
    for (name, measure), own in _grouped(rows).items():
        values = [
            text
            for row in own
            for text in (_digits(row, row.here), _digits(row, row.published), _digits(row, row.difference))
        ]
        yield (name, measure, *values)


def _cells(rows: Iterable[Compared], known: Registry) -> list[tuple[str, ...]]:
    """For people: title, measure, and per column `here / paper / difference`."""
    made = []
    for (name, measure), own in _grouped(rows).items():
        title = known.datasets[name].title if own[0].table == 1 else known.tasks[name].title
        made.append((title, measure, *(_cell(row) for row in own)))
    return made


def _cell(row: Compared) -> str:
    grouped = f",.{row.digits}f"
    here = "-" if row.here is None else f"{row.here:{grouped}}"
    difference = "-" if row.difference is None else f"{row.difference:+{grouped}}"
    return f"{here} / {row.published:{grouped}} / {difference}"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(table: int, title: str, cells: Sequence[Sequence[str]]) -> str:
    header = ("", "", *_shown_columns(table))
    lines = [f"**Table {table}.** {title}: here / paper / difference. `-`: not here.", ""]
    lines += ["| " + " | ".join(header) + " |", "|---|---|" + "---:|" * len(_shown_columns(table))]
    lines += ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join(lines) + "\n"


def _latex(table: int, title: str, cells: Sequence[Sequence[str]]) -> str:
    columns = _shown_columns(table)
    lines = [
        r"\begin{longtable}{ll" + "r" * len(columns) + "}",
        rf"\caption{{{title} (Table {table} of the paper): here / paper / difference.}}\\",
        r"\toprule",
        " & ".join(("", "", *columns)) + r" \\",
        r"\midrule \endhead",
    ]
    lines += [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in cells]
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}"]) + "\n"


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "&%_#$" else letter for letter in text)
