"""`data audit`: duplicates between train and test within and across tasks, contradicting labels, imbalance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm import reference
from empslurm.backbones import fetch
from empslurm.cli.output import Output
from empslurm.config import Backbone, Training
from empslurm.errors import DataError
from empslurm.store.runs import RunsRoot
from empslurm.tasks.overlap import FLAG_SHARE, flag
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Dataset

if TYPE_CHECKING:
    from empslurm.tasks.leakage import Audit, TokenCounter
    from empslurm.tasks.prepare import Prepared

SHOWN = 25  # pairs printed for people
LEGEND = (
    "share: of test examples in shared groups, or near with their context (the larger one); equal: the same text; "
    "+context: the turn before it too; by chance: equal, but in different groups; near: equal or nearly equal texts"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "count truncated texts with this tokenizer: minilm (default), or the folder of a backbone"
    parser.add_argument("--backbone", default="minilm", help=text)
    parser.add_argument(
        "--max-length",
        type=int,
        default=Training().max_length,
        help="cut texts at this many tokens (default %(default)s)",
    )
    text = "flag a pair from this share of its test examples (default %(default)s)"
    parser.add_argument("--threshold", type=float, default=FLAG_SHARE, help=text)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the tables there (default: RUNS/gathered/data)")


def _tokenizer(name: str, max_length: int) -> tuple[TokenCounter, dict[str, Any]]:
    """A function that counts tokens, and the maximal length with its special tokens. Raises BackboneError."""
    from empslurm.train.data.tokenizer import load_tokenizer

    fetch(Backbone(name=name))
    tokenizer = load_tokenizer(Backbone(name=name))
    specials = {"specials_pair": tokenizer.n_pair, "specials": tokenizer.n_single}
    length = {"backbone": name, "max_length": max_length, **specials}
    return lambda texts: [len(pieces) for pieces in tokenizer.pieces(texts)], length


def _prepare(
    datasets: Sequence[Dataset], options: argparse.Namespace, out: Output
) -> tuple[list[Prepared], dict[str, str]]:
    """The datasets that are here, parsed, and how to obtain the others. Raises DataError."""
    from empslurm.tasks.prepare import prepare

    root = RunsRoot(options.runs)
    prepared: list[Prepared] = []
    missing: dict[str, str] = {}
    for dataset in datasets:
        located = locate(dataset, options.data, root.prepared)
        if located.state == "missing":
            missing[dataset.id] = located.problem
        else:
            prepared.append(prepare(dataset, options.data, root.prepared))
    if not prepared:
        raise DataError(f"{options.data} must hold data to be audited, but holds none; run `empslurm data status`")
    return prepared, missing


def run(options: argparse.Namespace, out: Output, datasets: Sequence[Dataset]) -> int:
    from rich.progress import Progress

    from empslurm.report.leakage import ranked, write
    from empslurm.tasks.leakage import audit

    root = RunsRoot(options.runs)
    prepared, missing = _prepare(datasets, options, out)
    count_tokens, length = _tokenizer(options.backbone, options.max_length)
    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("reading", total=None)
        findings, path = audit(
            prepared,
            root.prepared,
            count_tokens=count_tokens,
            length=length,
            progress=lambda what, done, total: progress.update(bar, description=what, completed=done, total=total),
        )
    written = write(findings, options.out or root.gathered / "data")
    rows = ranked(findings.overlaps)
    flags = {(row.splits, row.source, row.target): text for row in rows if (text := flag(row, options.threshold))}
    out.document(
        {
            **asdict(findings),
            "overlaps": [{**asdict(row), "share": row.share, "exact_by_chance": row.exact_by_chance} for row in rows],
            "threshold": options.threshold,
            "flagged": [[*pair, text] for pair, text in flags.items()],
            "missing": missing,
            "files": [str(path), *map(str, written)],
        }
    )
    if not out.json:
        _show(findings, options.threshold, out)
        out.line(f"the audit is saved in {path}; tables are in {written[0].parent}")
        for problem in missing.values():
            out.line(f"missing: {problem}")
    return 0


def _show(findings: Audit, threshold: float, out: Output) -> None:
    from empslurm.report.leakage import ranked
    from empslurm.tasks.leakage import RULES

    columns: tuple[str, ...] = (
        *("pair", "share", "test", "shared groups", "equal", "+context"),
        *("by chance", "near", "+context"),
    )
    of_paper = set(reference.task_ids())
    overlaps = [row for row in findings.overlaps if row.splits != "paper" or of_paper & {row.source, row.target}]
    for rule in RULES:
        own = [row for row in overlaps if row.splits == rule]
        rows = [
            (
                f"{row.source} -> {row.target}",
                f"{100 * row.share:.1f}%",
                row.n_test,
                row.in_shared_groups,
                row.exact,
                row.exact_context,
                row.exact_by_chance,
                row.near,
                row.near_context,
            )
            for row in ranked(own)[:SHOWN]
        ]
        if rows:
            out.table(f"{rule} splits: test examples of the target that the source trains on", columns, rows)
        if len(own) > SHOWN:
            out.line(f"... and {len(own) - SHOWN:,} more in overlap.csv")
    if overlaps:
        out.paragraph(LEGEND, style="dim")
        out.line()
    _show_official(findings, out)
    tasks = [
        (
            row.task,
            row.equal_texts,
            row.conflicting_texts,
            row.conflicting_with_context,
            ", ".join(sorted({label for labels in row.unseen_labels.values() for label in labels})) or "-",
            f"{100 * row.largest_share:.1f}%",
            row.smallest_count,
            "-" if row.truncated_share is None else f"{100 * row.truncated_share:.1f}%",
        )
        for row in findings.tasks
    ]
    names = (
        "repeated texts",
        "contradicting",
        "+context",
        "labels train lacks",
        "largest label",
        "rarest",
        "truncated",
    )
    out.table("tasks", ("task", *names), tasks)
    if overlaps:
        n_flagged = sum(bool(flag(row, threshold)) for row in overlaps)
        flagged = f"{n_flagged} of {len(overlaps)} pairs are flagged"
        out.line(f"{flagged} (more than {threshold:.0%} of the test examples)", style="yellow" if n_flagged else "")


def _show_official(findings: Audit, out: Output) -> None:
    """Show duplicates between the publisher's parts: such a split is kept as it is, so a reader must know of them."""
    if not findings.between:
        return
    columns = (
        "task",
        "part",
        "examples",
        "also in",
        "shared groups",
        "equal",
        "+context",
        "near",
        "+context",
    )
    rows = [
        (
            row.task,
            row.later,
            row.n_later,
            row.earlier,
            row.in_shared_groups,
            row.exact,
            row.exact_context,
            row.near,
            row.near_context,
        )
        for row in findings.between
    ]
    out.table("official parts: examples of one part that are also in another", columns, rows)
