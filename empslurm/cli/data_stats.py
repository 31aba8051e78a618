"""`data stats`: sizes and label distributions, compared with the paper's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from empslurm.cli.output import Output
from empslurm.config import DataUse, SplitRule
from empslurm.errors import DataError
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Survey
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Dataset

if TYPE_CHECKING:
    from empslurm.report.datasets import Compared


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--splits", choices=get_args(SplitRule), default="family", help="split by this rule (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the tables there (default: RUNS/gathered/data)")


def _measure(
    datasets: Sequence[Dataset], options: argparse.Namespace, out: Output
) -> tuple[dict[str, dict[str, Any]], dict[str, str], dict[str, str]]:
    """Statistics, missing datasets with how to obtain them, and datasets that cannot be read with the reason."""
    from rich.progress import Progress

    from empslurm.tasks.stats import dataset_stats

    root, use = RunsRoot(options.runs), DataUse(splits=options.splits)
    stats: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    broken: dict[str, str] = {}
    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("counting", total=len(datasets))
        for dataset in datasets:
            progress.update(bar, description=f"counting {dataset.id}")
            try:
                located = locate(dataset, options.data, root.prepared)
                if located.state == "missing":
                    missing[dataset.id] = located.problem
                else:
                    stats[dataset.id] = dataset_stats(dataset, options.data, root.prepared, use)
            except DataError as error:  # the others can still be counted
                broken[dataset.id] = str(error)
            progress.advance(bar)
    return stats, missing, broken


def run(options: argparse.Namespace, out: Output, datasets: Sequence[Dataset], surveyed: Survey) -> int:
    from empslurm.report.datasets import compare, summary, write

    stats, missing, broken = _measure(datasets, options, out)
    ids = {name for dataset in datasets for name in (dataset.id, *(task.id for task in dataset.tasks))}
    rows = [row for row in compare(stats) if row.name in ids]
    written = write(rows, surveyed.known, options.out or RunsRoot(options.runs).gathered / "data")
    out.document(
        {
            "splits": options.splits,
            "datasets": stats,
            "missing": missing,
            "broken": broken,
            "refused": surveyed.refused,
            "compared": [{**asdict(row), "difference": row.difference} for row in rows],
            "summary": summary(rows),
            "files": [str(path) for path in written],
        }
    )
    if not out.json:
        cards = [Path(card).name for card in surveyed.refused]
        _show(
            stats, rows, [*((name, "cannot be read") for name in broken), *((name, "refused") for name in cards)], out
        )
        out.line(f"tables are in {written[0].parent}")
    for problem in missing.values():
        out.line(f"missing: {problem}")
    for problem in broken.values():
        out.say(f"empslurm: {problem}", style="red")
    tell_refused(surveyed.refused, out)
    return 1 if broken or surveyed.refused else 0


def tell_refused(refused: Mapping[str, Sequence[str]], out: Output) -> None:
    """Print why cards are refused."""
    for card, problems in refused.items():
        for problem in problems:
            out.say(f"refused: {problem}" if card in problem else f"refused: {card}: {problem}", style="red")


def _show(
    stats: dict[str, dict[str, Any]], rows: Sequence[Compared], uncounted: Sequence[tuple[str, str]], out: Output
) -> None:
    """Print the statistics for people. `uncounted`: the other datasets and cards, with their state."""
    from empslurm.report.datasets import differences, summary

    columns = ("dataset", "examples", "vocabulary", "tokens", "with previous turn", "groups", "rejected rows", "state")
    names = ("title", "n_examples", "n_vocabulary", "n_tokens", "n_tokens_previous", "n_groups", "n_rejects", "state")
    counted = [[dataset[name] for name in names] for dataset in stats.values()]
    out.table("sizes", columns, counted + [[name, *[None] * (len(names) - 2), state] for name, state in uncounted])
    for dataset in stats.values():
        for task, value in dataset["tasks"].items():
            if "problem" in value:
                out.line(f"! {task}: {value['problem']}", style="yellow")
            else:
                out.table(task, ("", *value["columns"]), value["rows"])
    counts = summary(rows)
    kinds = sorted({kind for table in counts.values() for kind in table})
    lines = [(f"Table {table}", *(tally.get(kind, 0) for kind in kinds)) for table, tally in counts.items()]
    if lines:
        out.table("numbers beside the paper's", ("", *kinds), lines)
    shown = [
        (row.table, f"{row.name}: {row.measure}", row.here, row.published, row.difference, row.verdict)
        for row in differences(rows)
    ]
    if shown:
        out.table("whole datasets that differ", ("table", "what", "here", "paper", "difference", "why"), shown)
    for dataset in stats.values():
        for text in filter(None, (dataset["leaks"], *dataset["notes"])):
            out.line(f"! {text}", style="yellow")
