"""`data fetch`: download what may be downloaded from its public source, and print the steps for the rest."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.cli.output import Output
from empslurm.errors import DataError
from empslurm.store.runs import RunsRoot
from empslurm.tasks.fetch import fetch_file, source_url
from empslurm.tasks.raw import locate, steps
from empslurm.tasks.schema import Dataset

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "fetch from URL/<dataset>/<file>: a data root served over http, for machines without internet"
    parser.add_argument("--mirror", metavar="URL", help=text)


def run(options: argparse.Namespace, out: Output, datasets: Sequence[Dataset]) -> int:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    outcomes: list[dict[str, Any]] = []
    with Progress(*columns, console=out.console(error=True), transient=True) as progress:
        for dataset in datasets:
            outcomes.append(_dataset(dataset, options, progress))
            _say(outcomes[-1], out)
    out.document({"data_root": str(options.data), "mirror": options.mirror, "datasets": outcomes})
    rows = [(item["dataset"], item["state"], len(item["files"]), item["licence"]) for item in outcomes]
    out.table(f"data in {options.data}", ("dataset", "state", "files", "licence"), rows)
    for item in outcomes:
        if item["state"] == "steps":
            out.line(f"{item['dataset']}: {item['steps']}")
    wanted = ("failed", "steps") if options.datasets else ("failed",)
    return 1 if any(item["state"] in wanted for item in outcomes) else 0


def _say(item: dict[str, Any], out: Output) -> None:
    if item["state"] == "fetched":
        out.say(f"{item['dataset']}: {len(item['files'])} files; licence: {item['licence']}; cite: {item['citation']}")
    if item["problem"]:
        out.say(f"empslurm: {item['problem']}", style="red")
    for file in item["files"]:
        if not file["checked"]:
            out.say(
                f"{file['file']}: its sha256 is {file['sha256']}; it was not checked, because no checksum is recorded",
                style="yellow",
            )


def _dataset(dataset: Dataset, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Fetch one dataset's first form. state: here, fetched, steps (a person must act) or failed."""
    outcome: dict[str, Any] = {
        "dataset": dataset.id,
        "state": "here",
        "files": [],
        "problem": "",
        "steps": "",
        "licence": dataset.licence,
        "citation": dataset.citation,
    }
    form = dataset.forms[0]
    located = locate(dataset, options.data, RunsRoot(options.runs).prepared)
    if located.state != "missing" and located.form is form:
        return outcome
    if dataset.obtain_by is not None and options.mirror is None:
        return {**outcome, **_obtained(dataset.id, partial(dataset.obtain_by, options.data), progress)}
    urls = {file.name: source_url(dataset, file, options.mirror) for file in form.files}
    outcome["state"] = "fetched"
    for file in form.files:
        url = urls[file.name]
        if url is None:  # the other files can still be fetched
            outcome["state"] = "steps"
            continue
        bar = progress.add_task(f"{dataset.id} {file.name}", total=None)
        try:
            path = options.data / dataset.id / file.name
            got = fetch_file(file, url, path, partial(_advance, progress, bar))
        except DataError as error:
            outcome |= {"state": "failed", "problem": str(error)}
            break
        finally:
            progress.remove_task(bar)
        outcome["files"].append({**vars(got), "path": str(got.path)})
    outcome["steps"] = steps(dataset, options.data) if outcome["state"] == "steps" else ""
    return outcome


def _advance(progress: Progress, bar: TaskID, done: int, total: int | None) -> None:
    progress.update(bar, completed=done, total=total)


def _obtained(name: str, obtain: Callable[[], Path], progress: Progress) -> dict[str, Any]:
    """Fetch a dataset that its card takes from a hub."""
    bar = progress.add_task(name, total=None)
    try:
        path = obtain()
    except DataError as error:
        return {"state": "failed", "problem": str(error)}
    finally:
        progress.remove_task(bar)
    return {"state": "fetched", "files": [{"file": path.name, "path": str(path), "checked": True}]}
