"""`score`: score every text with every chosen adapter, in one pass."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.cli import common
from empslurm.cli.names import cell_of
from empslurm.cli.output import Output, stdout_errors
from empslurm.errors import UsageError
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from empslurm.scoring.inputs import Columns, Format, Row
    from empslurm.scoring.run import Progress
    from empslurm.scoring.selection import Chosen

PRECISIONS = ("fp32", "fp32_medium", "bf16")
FORMATS = ("txt", "csv", "tsv", "jsonl", "parquet")


def listed(text: str) -> list[str]:
    """The words between commas."""
    return [word for word in text.split(",") if word]


def selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --tasks and --backbone (shared with `export`)."""
    text = "use only these tasks, with commas between, such as news_* (default: all)"
    parser.add_argument("--tasks", type=listed, default=[], metavar="TASK,...", help=text)
    text = "use only the adapters on this backbone: minilm, a hub id, a folder, or the name that tables give it "
    text += "(default: the only one)"
    parser.add_argument("--backbone", metavar="NAME", help=text)


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "score with the finished baselines of a manifest, or with these cells or folders of exported adapters, "
    text += "with commas between"
    parser.add_argument("--cells", type=listed, required=True, metavar="CELLS", help=text)
    selection_arguments(parser)
    parser.add_argument(
        "input", metavar="INPUT", help="read a txt, csv, tsv, jsonl or parquet file, a folder of them, or stdin (-)"
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="write this .jsonl, .csv or .parquet file (default: JSONL on stdout)",
    )
    parser.add_argument("--text", default="text", metavar="COLUMN", help="score this column (default text)")
    help_text = "read earlier turns from these columns, oldest first, with commas between"
    parser.add_argument("--context", type=listed, default=[], metavar="COLUMN,...", help=help_text)
    help_text = "copy these columns, such as an id, to the output; put commas between"
    parser.add_argument("--keep", type=listed, default=[], metavar="COLUMN,...", help=help_text)
    parser.add_argument("--format", choices=FORMATS, help="read the input in this format (default: by its ending)")
    help_text = "compute in fp32 (default); fp32_medium and bf16 are faster where the processor has them, but bf16 "
    help_text += "gives about two digits"
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help=help_text)


def choose(words: Sequence[str], options: argparse.Namespace) -> Chosen:
    """What the words mean: folders of exported adapters, else one manifest, else cell ids. Raises UsageError."""
    from empslurm.scoring import selection

    root, tasks, backbone = RunsRoot(options.runs), options.tasks, options.backbone
    paths = [Path(word) for word in words]
    if all(path.is_dir() for path in paths):
        return selection.of_folders(paths, tasks, backbone)
    if len(words) == 1 and common.is_manifest(words[0]):
        options.manifest = words[0]
        plan, root = common.load_plan(options)
        return selection.of_plan(plan, root, tasks, backbone)
    return selection.of_cells([cell_of(root, word) for word in words], root, tasks, backbone)


@contextmanager
def progress_bar(out: Output, total: int | None) -> Iterator[Progress]:
    """Show rows, rate and remaining time on a terminal's stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = out.console(error=True)
    shown = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(TextColumn("scoring"), *shown, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=total, rate="")
        began: list[float] = []

        def progress(n_rows: int) -> None:
            began.extend([time.monotonic(), n_rows] if not began else [])
            passed = time.monotonic() - began[0]
            rate = f"{(n_rows - began[1]) / passed:,.0f} texts/s" if passed > 0.1 else ""
            bars.update(bar, completed=n_rows, rate=rate)

        yield progress


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.scoring import inputs, outputs, records

    if out.json and options.out is None:
        raise UsageError("--json must have stdout for its one document, but the records go there; name a file with -o")
    if options.out is not None:
        outputs.format_of(options.out)
    path = None if options.input == "-" else Path(options.input)
    columns = inputs.Columns(text=options.text, context=tuple(options.context), keep=tuple(dict.fromkeys(options.keep)))
    chosen = choose(options.cells, options)
    records.check_kept(columns.keep, chosen.groups)
    total, rows = _rows(path, columns, options.format)
    from empslurm.scoring import run as runs
    from empslurm.scoring.scorer import Scorer

    scorer = Scorer(chosen, precision=options.precision)
    started = time.monotonic()
    with progress_bar(out, total) as progress:
        if options.out is None:
            with stdout_errors():
                tally = runs.to_stream(scorer, rows, sys.stdout, progress)
        else:
            tally = runs.to_file(scorer, rows, options.out, columns, progress)
    _report(scorer, tally, time.monotonic() - started, options, out)
    return 1 if scorer.problems else 0


def _rows(path: Path | None, columns: Columns, format: Format | None) -> tuple[int | None, Iterator[Row]]:
    """The number of rows, and the rows. Problems of a file are raised here, before a model is loaded.

    A stream (standard input, a pipe) can be read only once: its rows are not counted, and only its header is checked.
    """
    from empslurm.scoring import inputs

    if path is None or not (path.is_file() or path.is_dir()):
        rows = inputs.read(path, columns, format)
        first = list(islice(rows, 1))
        return None, chain(first, rows)
    return sum(1 for _ in inputs.read(path, columns, format)), inputs.read(path, columns, format)


def _report(scorer: Any, tally: Any, wall_s: float, options: argparse.Namespace, out: Output) -> None:
    """Print what was done, and what a reader of the scores must know."""
    from empslurm.scoring import run as runs

    about = runs.about(scorer.chosen, scorer.evidence)
    out.document({"out": str(options.out), **vars(tally), "wall_s": wall_s, **about})
    if options.out is not None:
        rows = [
            (name, measure["n_seeds"], *_test(measure["test"]), measure["data_source"], measure["language_setting"])
            for name, measure in about["measures"].items()
        ]
        columns = ("measure", "seeds", "metric", "test", "95 %", "flags", "data source", "language")
        out.table("measures", columns, rows)
        out.line(f"{options.out}, and {runs.about_path(options.out)} which says what the measures are")
    taken = f", {tally.n_taken_up:,} of them by an earlier run" if tally.n_taken_up else ""
    out.say(
        f"{tally.n_rows:,} rows{taken}: {tally.n_errors:,} with an error, {tally.n_flagged:,} unlike training texts"
    )
    out.say(about["not_for"])
    for problem in scorer.problems:
        out.say(f"left out: {problem}")


def _test(evidence: dict[str, Any] | None) -> tuple[object, object, str, str]:
    if evidence is None:
        return None, None, "-", "-"
    low, high = evidence["low"], evidence["high"]
    interval = "-" if low is None else f"{low:.3f} to {high:.3f}"
    return evidence["metric"], evidence["score"], interval, " ".join(evidence["flags"]) or "-"
