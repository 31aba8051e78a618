"""`data prepare`: parse and tokenise everything in the data root, for one backbone and length."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm import __version__, files, ids
from empslurm.backbones import fetch, resolve
from empslurm.cli import prepare
from empslurm.cli.output import Output
from empslurm.config import Backbone, DataUse, Training
from empslurm.errors import BackboneError, DataError, EmpslurmError
from empslurm.store.runs import RunsRoot
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import Dataset
from empslurm.validation import decode

if TYPE_CHECKING:
    from empslurm.tasks.prepare import Prepared


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "tokenise for this backbone: minilm (default), tiny or a folder; none: parse only"
    parser.add_argument("--backbone", default="minilm", help=text)
    parser.add_argument(
        "--max-length",
        type=int,
        default=Training().max_length,
        help="cut texts at this many tokens (default %(default)s)",
    )


def run(options: argparse.Namespace, out: Output, datasets: Sequence[Dataset]) -> int:
    from rich.progress import Progress

    from empslurm.tasks.stats import remarks

    root = RunsRoot(options.runs)
    with files.storage_errors(root.path, "written"):
        files.make_folder(root.path)  # checksums are kept there, too
    prepare.obtain(datasets, options, out)
    located = {dataset.id: locate(dataset, options.data, root.prepared) for dataset in datasets}
    missing = {name: item.problem for name, item in located.items() if item.state == "missing"}
    here = [dataset for dataset in datasets if dataset.id not in missing]
    if not here:
        raise DataError(f"{options.data} must hold data to be prepared, but holds none; run `empslurm data status`")
    with Progress(console=out.console(error=True), transient=True) as progress:
        prepared = prepare.parse_all(here, options.data, root, progress)
        counts = {} if options.backbone == "none" else _tokens(options, here, prepared, root, progress)
    out.document(
        {
            "backbone": options.backbone,
            "datasets": {
                name: {
                    "folder": str(item.folder),
                    **{key: getattr(item.meta, key) for key in ("n_examples", "n_rejects", "state")},
                    "split": asdict(item.meta.split),
                }
                for name, item in prepared.items()
            },
            "tasks": {name: asdict(count) for name, count in counts.items()},
            "missing": missing,
        }
    )
    rows = [(name, item.meta.n_examples, item.meta.n_rejects, item.folder) for name, item in prepared.items()]
    out.table("parsed", ("dataset", "examples", "rejected rows", "folder"), rows)
    prepare.show(counts, out)
    for text in (*prepare.too_small(counts, here), *(text for item in prepared.values() for text in remarks(item))):
        out.line(f"! {text}", style="yellow")
    for problem in missing.values():
        out.line(f"missing: {problem}")
    return 1 if options.datasets and missing else 0


@dataclass(frozen=True, kw_only=True)
class TokenNote:
    """The counts of tokens that were made before, which need not be opened again."""

    tasks: Mapping[str, prepare.TokenCounts]


def _tokens(
    options: argparse.Namespace,
    datasets: Sequence[Dataset],
    prepared: Mapping[str, Prepared],
    root: RunsRoot,
    progress: Any,
) -> Mapping[str, prepare.TokenCounts]:
    """Tokenise all tasks with the default data use; tokens that are noted as made are not opened again."""
    backbone = Backbone(name=options.backbone)
    fetch(backbone)
    digest = resolve(backbone).digest
    if digest is None:
        raise BackboneError(
            f"backbone {options.backbone} must have a digest, but has none; name minilm, tiny or a folder"
        )
    jobs = [
        prepare.TokenJob(task=task, dataset=dataset.id, use=DataUse(), labels="all", max_length=options.max_length)
        for dataset in datasets
        for task in dataset.tasks
        if _has_labels(prepared[dataset.id], task.id)
    ]
    key = ids.digest(
        [__version__, digest, [(job.task.id, prepared[job.dataset].folder.name, job.max_length) for job in jobs]], 12
    )
    note = root.prepared / f"tokens-{key}.json"
    with contextlib.suppress(EmpslurmError, OSError):
        noted: TokenNote = decode.load(note, TokenNote)
        if all((Path(counts.folder) / "done.json").is_file() for counts in noted.tasks.values()):
            return noted.tasks
    fresh = TokenNote(tasks=prepare.tokenise_all(jobs, prepared, backbone, digest, root, progress))
    files.write_json(note, asdict(fresh))
    return fresh.tasks


def _has_labels(prepared: Prepared, task: str) -> bool:
    column = prepared.table[task]
    return bool(column.null_count < len(column))
