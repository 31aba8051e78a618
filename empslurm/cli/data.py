"""`data`: status, statistics, audit, fetch and prepare of the datasets, and an invented sample."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from empslurm.cli import data_audit, data_fetch, data_prepare, data_stats
from empslurm.cli.completion import completed
from empslurm.cli.output import Output
from empslurm.cli.parser import texts
from empslurm.errors import DataError, ManifestError
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, Survey, registry, survey
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Dataset
from empslurm.validation.reader import refusal

ACTIONS = {
    "status": texts(
        "show which datasets are here, and how to obtain the others",
        "Show which datasets are found, missing or altered, and how to obtain the missing ones.",
        ("empslurm data status", "empslurm data status epitome"),
    ),
    "stats": texts(
        "count examples and labels, beside the paper's numbers",
        "Count the examples, tokens and labels of each split, and compare them with the paper's numbers.",
        ("empslurm data stats", "empslurm data stats epitome --splits paper"),
    ),
    "audit": texts(
        "look for leakage between train and test",
        "Look for duplicates between train and test, within a task and across tasks, for texts with contradicting "
        "labels, and for labels that train lacks. `plan` and `gather` warn of what it finds.",
        ("empslurm data audit", "empslurm data audit --threshold 0.05"),
    ),
    "fetch": texts(
        "download what may be downloaded; print the steps for the rest",
        "Download the datasets that their publishers offer for download, and print the steps for those that need a "
        "request or a contract.",
        ("empslurm data fetch", "empslurm data fetch epitome --mirror http://login-node:8000"),
    ),
    "prepare": texts(
        "parse and tokenise everything that is here",
        "Parse and tokenise every dataset that is here, for a backbone and a length. `prepare MANIFEST` does it for "
        "what a manifest uses.",
        ("empslurm data prepare", "empslurm data prepare epitome --backbone none"),
    ),
    "sample": texts(
        "write a small invented corpus in the raw formats",
        "Write a small invented corpus in the raw formats of all datasets, to try everything without real data.",
        ("empslurm --data sample data sample",),
    ),
}


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    added = {name: actions.add_parser(name, parents=[common_options], **text) for name, text in ACTIONS.items()}
    text = "write the corpus with this random seed (default 1)"
    added.pop("sample").add_argument("--seed", type=int, default=1, metavar="N", help=text)
    for name, action in added.items():
        default = "all; with --cards, the cards' and those that are here" if name in OF_FILES else "all"
        text = f"name datasets (default: {default})"
        dataset = action.add_argument("datasets", metavar="DATASET", nargs="*", help=text)
        completed(dataset, lambda **_: registry().datasets)
        text = "add the datasets of this card, or of the cards in this folder; may be given several times"
        action.add_argument("--cards", type=Path, action="append", default=[], metavar="PATH", help=text)
    data_stats.arguments(added["stats"])
    data_audit.arguments(added["audit"])
    data_fetch.arguments(added["fetch"])
    data_prepare.arguments(added["prepare"])


OF_FILES = ("stats", "audit")  # actions that read what is here


def chosen(names: Iterable[str], known: Registry) -> list[Dataset]:
    """The named datasets, or all, in the registry's order. Raises UsageError."""
    names = set(names) or set(known.datasets)
    unknown = sorted(names - set(known.datasets))
    if unknown:
        raise refusal(unknown[0], known.datasets, "dataset")
    return [dataset for name, dataset in known.datasets.items() if name in names]


def _of_cards_or_here(datasets: Iterable[Dataset], options: argparse.Namespace) -> list[Dataset]:
    """The datasets of cards, and the built-in ones whose files are here: who names cards asks about these."""
    built_in, cache = {dataset.id for dataset in DATASETS}, RunsRoot(options.runs).prepared
    return [dataset for dataset in datasets if dataset.id not in built_in or _is_here(dataset, options.data, cache)]


def _is_here(dataset: Dataset, data_root: Path, cache: Path) -> bool:
    try:
        return locate(dataset, data_root, cache).state != "missing"
    except DataError:  # there, but unreadable: the action says so
        return True


def _status(options: argparse.Namespace, out: Output, datasets: Sequence[Dataset], surveyed: Survey) -> int:
    items = [_status_of(dataset, options) for dataset in datasets]
    out.document({"data_root": str(options.data), "datasets": items, "refused": surveyed.refused})
    rows = [(item["dataset"], item["state"], item["form"], item["licence"]) for item in items]
    rows += [(Path(card).name, "refused", None, None) for card in surveyed.refused]
    out.table(f"data in {options.data}", ("dataset", "state", "form", "licence"), rows)
    for item in items:
        if item["state"] == "missing":
            out.line(item["problem"])
        elif item["problem"]:
            out.line(f"! {item['problem']}", style="yellow")
    data_stats.tell_refused(surveyed.refused, out)
    return 1 if surveyed.refused or any(item["state"] == "unreadable" for item in items) else 0


def _status_of(dataset: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """What is known about a dataset on this machine, as JSON values."""
    try:
        located = locate(dataset, options.data, RunsRoot(options.runs).prepared)
    except DataError as error:  # the others can still be shown
        here: dict[str, Any] = {"state": "unreadable", "form": None, "files": {}, "digest": None, "problem": str(error)}
    else:
        here = {
            "state": located.state,
            "form": located.form.name if located.form else None,
            "files": {name: str(path) for name, path in located.paths.items()},
            "digest": located.raw_digest,
            "problem": located.problem,
        }
    return {
        "dataset": dataset.id,
        **here,
        "obtain": dataset.obtain,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "tasks": [task.id for task in dataset.tasks],
    }


def _sample(options: argparse.Namespace, out: Output) -> int:
    from empslurm.tasks.sample import write_sample

    written = write_sample(options.data, seed=options.seed)
    out.document({"data_root": str(options.data), "files": [str(path) for path in written]})
    out.line(f"an invented corpus of {len(written)} files is in {options.data}; it holds no real data")
    return 0


def run(options: argparse.Namespace, out: Output) -> int:
    if options.action == "sample":
        return _sample(options, out)
    surveyed = survey(options.cards)
    problems = [problem for problems in surveyed.refused.values() for problem in problems]
    listing = options.action in ("status", "stats")  # these show a wrong card beside the others
    if problems and (not listing or not set(options.datasets) <= set(surveyed.known.datasets)):
        raise ManifestError(problems)
    datasets = chosen(options.datasets, surveyed.known)
    if options.action in OF_FILES and options.cards and not options.datasets:
        datasets = _of_cards_or_here(datasets, options)
    if options.action == "status":
        return _status(options, out, datasets, surveyed)
    if options.action == "stats":
        return data_stats.run(options, out, datasets, surveyed)
    verb = {"audit": data_audit.run, "fetch": data_fetch.run, "prepare": data_prepare.run}[options.action]
    return verb(options, out, datasets)
