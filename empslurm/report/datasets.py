"""The paper's dataset tables (1 and 9 to 12) next to the numbers of the files here, and every difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from empslurm import files, reference
from empslurm.report.formats import Entry, Table, number, text, write_forms
from empslurm.report.tables import to_rows_csv
from empslurm.tasks import Registry
from empslurm.tasks.schema import Dataset, Task
from empslurm.tasks.stats import COLUMNS

Verdict = Literal["equal", "differs", "another draw", "another rule", "not here"]
TITLES: Mapping[int, str] = {
    1: "Samples, vocabulary and tokens of each dataset",
    9: "Ratings of the regression tasks, overall and per part",
    10: "Label shares of the smaller label sets, overall and per part",
    11: "Label shares of EmpDial QAct and QInt, overall and per part",
    12: "Label shares of EmpDial Emo and MI Behavior, overall and per part",
}
LONG = ("table", "name", "measure", "column", "here", "published", "difference", "verdict")
SIZES = {"n_samples": "n_examples", "n_vocabulary": "n_vocabulary", "n_tokens": "n_tokens"}  # the paper's name -> ours


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One published number next to ours.

    Verdicts: `equal` to the printed digits; `another draw`: a number of one part, and our parts are drawn again;
    `another rule`: the paper does not say how it counts words; `not here`: the files are missing.
    """

    table: int
    name: str  # dataset id (Table 1) or task id
    measure: str  # n_samples, percent, mean, ... or a label
    column: str  # all, train, validation, test
    digits: int  # decimals, as printed
    here: float | None
    published: float
    verdict: Verdict

    @property
    def difference(self) -> float | None:
        """Ours minus the published one, or None."""
        return None if self.here is None else self.here - self.published


def compare(stats: Mapping[str, Mapping[str, Any]]) -> tuple[Compared, ...]:
    """Compare every number of the five tables. `stats`: dataset id -> the result of `dataset_stats`."""
    tasks = {id: task for dataset in stats.values() for id, task in dataset["tasks"].items()}
    here = {
        (id, line["label"] or line["statistic"], column): value
        for id, task in tasks.items()
        for line in task.get("lines", ())
        for column, value in zip(COLUMNS, line["values"], strict=True)
    }
    compared = [row for size in reference.dataset_sizes() for row in _sizes(size, stats.get(size.dataset, {}))]
    tables = {row.task: row.table for row in reference.label_shares()}
    for row in reference.split_statistics():
        digits = 1 if row.statistic == "percent" else 2
        compared += _columns(tables.get(row.task, 9), row, row.statistic, digits, here)
    for share in reference.label_shares():
        compared += _columns(share.table, share, share.label, 1, here)
    return tuple(sorted(compared, key=lambda row: row.table))


def _sizes(size: reference.DatasetSize, dataset: Mapping[str, Any]) -> Iterable[Compared]:
    for measure, name in SIZES.items():
        here, published = dataset.get(name), getattr(size, measure)
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
    # A little more than half of the last digit: a value on the edge may have been rounded either way.
    return "equal" if abs(here - published) <= 0.5 * 10**-digits * (digits > 0) + 1e-6 else changed


def summary(rows: Iterable[Compared]) -> dict[int, dict[str, int]]:
    """Table -> verdict -> count."""
    by_table: dict[int, dict[str, int]] = {}
    for row in rows:
        counts = by_table.setdefault(row.table, {})
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    return by_table


def differences(rows: Iterable[Compared]) -> list[Compared]:
    """Numbers of whole datasets that differ from the published ones, by table, name and measure."""
    different = [row for row in rows if row.verdict in ("differs", "another rule")]
    return sorted(different, key=lambda row: (row.table, row.name, row.measure))


def write(rows: Sequence[Compared], known: Registry, folder: Path) -> list[Path]:
    """Write table1 and table9 to table12 as CSV, Markdown and LaTeX, and every number to differences.csv."""
    long = folder / "differences.csv"
    files.write_text(long, to_rows_csv(LONG, ({**asdict(row), "difference": row.difference} for row in rows)))
    written = [long]
    for at in TITLES:
        written += write_forms(_table(at, [row for row in rows if row.table == at], known), folder)
    return written


def _table(at: int, rows: Sequence[Compared], known: Registry) -> Table:
    columns = ("all",) if at == 1 else COLUMNS
    kinds = ("here", "paper", "difference")
    grouped: dict[tuple[str, str], list[Compared]] = {}
    for row in rows:
        grouped.setdefault((row.name, row.measure), []).append(row)
    titled: Mapping[str, Dataset | Task] = known.datasets if at == 1 else known.tasks
    return Table(
        name=f"table{at}",
        title=f"{TITLES[at]}, next to Table {at} of the paper",
        caption="Difference: here minus the paper. A blank: the files are not here.",
        head=(
            ("", "", *(column for column in columns for _ in kinds)),
            ("", "", *(kind for _ in columns for kind in kinds)),
        ),
        columns=("name", "measure", *(f"{column} {kind}" for column in columns for kind in kinds)),
        rows=tuple(
            (text(titled[name].title), text(measure), *(entry for row in own for entry in _entries(row)))
            for (name, measure), own in grouped.items()
        ),
        n_labels=2,
    )


def _entries(row: Compared) -> tuple[Entry, Entry, Entry]:
    def entry(value: float | None, *, signed: bool = False) -> Entry:
        return number(float("nan") if value is None else value, row.digits, signed=signed)

    return entry(row.here), entry(row.published), entry(row.difference, signed=True)
