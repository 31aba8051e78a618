"""`prepare`: do once what needs network access or is shared, so that every job runs offline."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from empslurm.backbones import fetch
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.config import Backbone, DataUse, LabelUse
from empslurm.errors import DataError
from empslurm.plan import Plan
from empslurm.store.runs import RunsRoot
from empslurm.tasks.schema import PARTS, Dataset, Task
from empslurm.validation.constraints import Later

if TYPE_CHECKING:
    from rich.progress import Progress

    from empslurm.tasks.prepare import Prepared


@dataclass(frozen=True, kw_only=True)
class TokenJob:
    """One task's table with one data use, to be tokenised at one length."""

    task: Task
    dataset: str
    use: DataUse
    labels: LabelUse
    max_length: int


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)


def parse_all(datasets: Sequence[Dataset], data_root: Path, root: RunsRoot, progress: Progress) -> dict[str, Prepared]:
    """Parse every dataset that was not parsed before; all of them, by id."""
    from empslurm.tasks.prepare import prepare

    total = progress.add_task("parsing", total=len(datasets))
    rows = progress.add_task("", total=None, visible=False)
    prepared = {}
    for dataset in datasets:
        progress.update(total, description=f"parsing {dataset.id}")
        progress.reset(rows)

        def count(name: str, n_rows: int) -> None:
            progress.update(rows, description=f"{name}: {n_rows:,} rows", visible=True)

        prepared[dataset.id] = prepare(dataset, data_root, root.prepared, count)
        progress.advance(total)
    progress.remove_task(rows)
    return prepared


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """A task's tokens, and where they are."""

    n_examples: int
    n: Annotated[Mapping[str, int], Later()] = field(default_factory=dict)  # part -> examples
    n_tokens: int
    n_truncated: int  # examples of which something was cut
    folder: str


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What the cells of a plan need to be trained, and where it is."""

    backbone: str  # its folder
    datasets: Mapping[str, str]  # id -> folder
    tasks: Mapping[str, TokenCounts]
    notes: tuple[str, ...]  # what a reader of the numbers should know of the data
    missing: Mapping[str, str]  # dataset id -> how to get it


def tokenise_all(
    jobs: Iterable[TokenJob],
    prepared: Mapping[str, Prepared],
    backbone: Backbone,
    backbone_digest: str,
    root: RunsRoot,
    progress: Progress,
) -> dict[str, TokenCounts]:
    """Tokens of every job, made once per examples, backbone and length, by task id."""
    from empslurm.tasks.prepare import load_task
    from empslurm.train.data.tokens import tokenise

    @cache
    def tokenizer() -> Any:
        from empslurm.train.data.tokenizer import load_tokenizer

        return load_tokenizer(backbone)

    jobs = list(jobs)
    bar = progress.add_task("tokenising", total=len(jobs))
    counts: dict[str, TokenCounts] = {}
    for job in jobs:
        progress.update(bar, description=f"tokenising {job.task.id}")
        table = load_task(prepared[job.dataset], job.task, job.use, job.labels)
        tokens = tokenise(table, tokenizer, backbone_digest, job.max_length, root.prepared)
        counts[job.task.id] = TokenCounts(
            n_examples=len(table.ids),
            n={part: int((table.parts == part).sum()) for part in PARTS},
            n_tokens=int(tokens.starts[-1]),
            n_truncated=tokens.n_truncated,
            folder=str(Path(str(getattr(tokens.flat, "filename", ""))).parent),
        )
        progress.advance(bar)
    return counts


def token_jobs(plan: Plan, prepared: Mapping[str, Prepared]) -> list[TokenJob]:
    """The tables that the plan's cells read, of the datasets that are here."""
    manifest = plan.manifest
    wanted = dict.fromkeys((cell.target, cell.data.labels) for cell in plan.cells)
    return [
        TokenJob(
            task=manifest.registry.tasks[task],
            dataset=dataset.id,
            use=manifest.data[dataset.id],
            labels=labels,
            max_length=manifest.training[task].max_length,
        )
        for task, labels in wanted
        if (dataset := manifest.registry.dataset_of(task)).id in prepared
    ]


def prepare_all(plan: Plan, root: RunsRoot, options: argparse.Namespace, out: Output) -> Ready:
    """Make the backbone, parsed data and tokens of everything in the plan whose data is here. Raises DataError."""
    from rich.progress import Progress

    from empslurm.tasks.prepare import empty_part
    from empslurm.tasks.stats import remarks

    manifest = plan.manifest
    backbone = fetch(manifest.backbone)
    datasets = [manifest.registry.datasets[name] for name in manifest.data if name not in plan.inputs.missing]
    with Progress(console=out.console(error=True), transient=True) as progress:
        prepared = parse_all(datasets, options.data, root, progress)
        jobs = token_jobs(plan, prepared)
        counts = tokenise_all(jobs, prepared, manifest.backbone, str(plan.inputs.backbone_digest), root, progress)
    untrainable = {task: item for task, item in counts.items() if empty_part(item.n)}
    if untrainable:
        raise DataError("; ".join(too_small(untrainable, datasets)))
    return Ready(
        backbone=str(backbone),
        datasets={name: str(item.folder) for name, item in prepared.items()},
        tasks=counts,
        notes=tuple(text for item in prepared.values() for text in remarks(item)),
        missing=dict(plan.inputs.missing),
    )


def obtain(datasets: Iterable[Dataset], options: argparse.Namespace, out: Output) -> bool:
    """Download what cards take from a hub and is not here yet; whether anything was. Raises DataError."""
    from empslurm.tasks.raw import locate

    root, saved = RunsRoot(options.runs), False
    for dataset in datasets:
        if dataset.obtain_by and locate(dataset, options.data, root.prepared).state == "missing":
            out.say(f"{dataset.id}: saving {dataset.obtain_by(options.data)}")
            saved = True
    return saved


def too_small(counts: Mapping[str, TokenCounts], datasets: Iterable[Dataset]) -> list[str]:
    """Sentences on the tasks that have an empty part or few test examples."""
    from empslurm.tasks.stats import few_examples

    tasks = [(dataset, task) for dataset in datasets for task in dataset.tasks if task.id in counts]
    counted = [(dataset, task) for dataset, task in tasks if counts[task.id].n]
    return [text for dataset, task in counted for text in few_examples(dataset, task, counts[task.id].n)]


def show(counts: Mapping[str, TokenCounts], datasets: Iterable[Dataset], out: Output) -> None:
    """Print the examples and tokens of each task for people."""
    rows = [
        (task, item.n_examples, item.n_tokens, item.n_truncated, *(item.n.get(part, "-") for part in PARTS))
        for task, item in counts.items()
    ]
    out.table("prepared", ("task", "examples", "tokens", "truncated", *PARTS), rows)
    for text in too_small(counts, datasets):
        out.line(f"! {text}", style="yellow")


def run(options: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(options)
    if obtain((plan.manifest.registry.datasets[name] for name in plan.inputs.missing), options, out):
        plan, root = common.load_plan(options)  # the ids are no longer provisional
    ready = prepare_all(plan, root, options, out)
    datasets = list(plan.manifest.registry.datasets.values())
    out.document({**asdict(ready), "notes": [*ready.notes, *too_small(ready.tasks, datasets)]})
    show(ready.tasks, datasets, out)
    for problem in (*ready.notes, *plan.inputs.missing.values()):
        out.line(f"! {problem}", style="yellow")
    return 1 if plan.inputs.missing else 0
