"""`data`: what is here, an invented sample, statistics, the audit."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from empslurm.cli import data_audit, data_fetch, data_prepare, data_stats
from empslurm.cli.output import Output
from empslurm.errors import UsageError
from empslurm.store import RunsRoot
from empslurm.tasks import Registry, registry
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Dataset


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status", help="found, missing or altered, and how to obtain it", parents=[common_options]
    )
    stats = actions.add_parser("stats", help="sizes and label shares, per split", parents=[common_options])
    audit = actions.add_parser(
        "audit", help="duplicates between train and test, within and across tasks", parents=[common_options]
    )
    fetch = actions.add_parser(
        "fetch", help="download what may be downloaded, and print the steps for the rest", parents=[common_options]
    )
    prepare = actions.add_parser("prepare", help="parse and tokenise everything that is here", parents=[common_options])
    for parser_ in (status, stats, audit, fetch, prepare):
        parser_.add_argument("datasets", metavar="DATASET", nargs="*", help="default: all")
        parser_.add_argument(
            "--cards", type=Path, nargs="+", default=(), metavar="PATH", help="cards of your own, or folders of them"
        )
    data_stats.arguments(stats)
    data_audit.arguments(audit)
    data_fetch.arguments(fetch)
    data_prepare.arguments(prepare)
    sample = actions.add_parser(
        "sample", help="write a small invented corpus in the raw formats", parents=[common_options]
    )
    sample.add_argument("--seed", type=int, default=1, help="another seed, another corpus (default 1)")


def chosen(names: Iterable[str], known: Registry) -> list[Dataset]:
    """The datasets named, or all of them, in the registry's order. Raises UsageError."""
    names = set(names) or set(known.datasets)
    unknown = sorted(names - set(known.datasets))
    if unknown:
        raise UsageError(f"a dataset must be one of {', '.join(known.datasets)}; but {unknown[0]!r} is not")
    return [dataset for name, dataset in known.datasets.items() if name in names]


def _status(given: argparse.Namespace, out: Output, datasets: Sequence[Dataset]) -> int:
    root = RunsRoot(given.runs)
    found: list[dict[str, Any]] = []
    for dataset in datasets:
        located = locate(dataset, given.data, root.prepared)
        found.append(
            {
                "dataset": dataset.id,
                "state": located.state,
                "form": located.form.name if located.form else None,
                "files": {name: str(path) for name, path in located.paths.items()},
                "digest": located.raw_digest,
                "problem": located.problem,
                "obtain": dataset.obtain,
                "licence": dataset.licence,
                "citation": dataset.citation,
                "tasks": [task.id for task in dataset.tasks],
            }
        )
    out.document({"data_root": str(given.data), "datasets": found})
    rows = [(item["dataset"], item["state"], item["form"], item["licence"]) for item in found]
    out.table(f"data in {given.data}", ("dataset", "state", "form", "licence"), rows)
    for item in found:
        if item["state"] == "missing":
            out.line(f"{item['dataset']}: {item['obtain']}")
        elif item["problem"]:
            out.line(f"! {item['problem']}", style="yellow")
    return 0


def _sample(given: argparse.Namespace, out: Output) -> int:
    from empslurm.tasks.sample import write_sample

    written = write_sample(given.data, seed=given.seed)
    out.document({"data_root": str(given.data), "files": [str(path) for path in written]})
    out.line(f"an invented corpus of {len(written)} files is in {given.data}; it is no data of anyone's")
    return 0


def run(given: argparse.Namespace, out: Output) -> int:
    if given.action == "sample":
        return _sample(given, out)
    known = registry(given.cards)
    datasets = chosen(given.datasets, known)
    if given.action == "status":
        return _status(given, out, datasets)
    if given.action == "stats":
        return data_stats.run(given, out, datasets, known)
    verb = {"audit": data_audit.run, "fetch": data_fetch.run, "prepare": data_prepare.run}[given.action]
    return verb(given, out, datasets)
