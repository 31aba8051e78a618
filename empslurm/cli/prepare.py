"""`prepare`: do once what needs network access or is shared, so that every job runs offline."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from empslurm.backbones import fetch, resolve_encoder
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.config import Backbone, DataUse, LabelUse
from empslurm.errors import BackboneError, DataError
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
class ReadyBackbone:
    """A backbone that is here, and the tokens that were made for it."""

    folder: str
    tasks: Mapping[str, TokenCounts]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What the cells of a plan need to be trained, and where it is."""

    backbones: Mapping[str, ReadyBackbone]  # by label
    not_here: Mapping[str, str]  # label of a backbone, or `encoder`, that is not here or cannot be used -> why
    datasets: Mapping[str, str]  # id -> folder
    notes: tuple[str, ...]  # what a reader of the numbers should know of the data
    missing: Mapping[str, str]  # dataset id -> how to get it

    @property
    def problems(self) -> tuple[str, ...]:
        """What cells still wait for, one sentence each."""
        return tuple(dict.fromkeys((*self.not_here.values(), *self.missing.values())))


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


def fetch_all(backbones: Mapping[Backbone, str]) -> tuple[dict[Backbone, Path], dict[str, str]]:
    """The folders of backbones (given with their labels), and label -> why one cannot be obtained.

    Raises BackboneError where none can.
    """
    folders: dict[Backbone, Path] = {}
    problems: dict[str, str] = {}
    for backbone, label in backbones.items():
        try:
            folders[backbone] = fetch(backbone)
        except BackboneError as error:
            problems[label] = str(error)
    if problems and not folders:
        raise BackboneError("; ".join(problems.values()))
    return folders, problems


def fetch_encoder(encoder: Backbone) -> str:
    """Make sure the encoder of dataset embeddings is on this machine; why it cannot be used, else empty."""
    found = resolve_encoder(encoder)
    if found.path is None and not found.refused:
        try:
            fetch(encoder)
        except BackboneError as error:
            return resolve_encoder(encoder).problem and str(error)
        found = resolve_encoder(encoder)
    return found.problem


def prepare_all(
    plan: Plan, backbones: Mapping[Backbone, str], root: RunsRoot, options: argparse.Namespace, out: Output
) -> Ready:
    """Make backbones (given with their labels), parsed data and tokens of all data of the plan that is here.

    Raises DataError; BackboneError where no backbone can be obtained and tokenise.
    """
    from rich.progress import Progress

    from empslurm.tasks.prepare import empty_part
    from empslurm.tasks.stats import remarks

    manifest = plan.manifest
    folders, not_here = fetch_all(backbones)
    datasets = [manifest.registry.datasets[name] for name in manifest.data if name not in plan.inputs.missing]
    with Progress(console=out.console(error=True), transient=True) as progress:
        prepared = parse_all(datasets, options.data, root, progress)
        jobs = token_jobs(plan, prepared)
        ready: dict[str, ReadyBackbone] = {}
        for backbone, folder in folders.items():
            digest = str(plan.inputs.backbones[backbone].digest)
            try:
                tasks = tokenise_all(jobs, prepared, backbone, digest, root, progress)
            except BackboneError as error:  # its tokenizer; that of another backbone may work
                not_here[backbones[backbone]] = str(error)
            else:
                ready[backbones[backbone]] = ReadyBackbone(folder=str(folder), tasks=tasks)
    if not_here and not ready:
        raise BackboneError("; ".join(not_here.values()))
    counts = next(iter(ready.values())).tasks if ready else {}
    untrainable = {task: item for task, item in counts.items() if empty_part(item.n)}
    if untrainable:
        raise DataError("; ".join(too_small(untrainable, datasets)))
    return Ready(
        backbones=ready,
        not_here=not_here,
        datasets={name: str(item.folder) for name, item in prepared.items()},
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


def show(counts: Mapping[str, TokenCounts], out: Output, title: str = "prepared") -> None:
    """Print the examples and tokens of each task for people."""
    rows = [
        (task, item.n_examples, item.n_tokens, item.n_truncated, *(item.n.get(part, "-") for part in PARTS))
        for task, item in counts.items()
    ]
    out.table(title, ("task", "examples", "tokens", "truncated", *PARTS), rows)


def run(options: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(options)
    if obtain((plan.manifest.registry.datasets[name] for name in plan.inputs.missing), options, out):
        plan, root = common.load_plan(options)  # the ids are no longer provisional
    ready = prepare_all(plan, plan.labels, root, options, out)
    problem = fetch_encoder(plan.manifest.embed.encoder) if plan.manifest.embed else ""
    if problem:
        ready = replace(ready, not_here={**ready.not_here, "encoder": problem})
    first = next(iter(ready.backbones.values()))
    small = too_small(first.tasks, plan.manifest.registry.datasets.values())
    value = asdict(ready)
    of_first = {"backbone": first.folder, "tasks": value["backbones"][next(iter(ready.backbones))]["tasks"]}
    out.document({**value, **of_first, "notes": [*ready.notes, *small]})
    for label, item in ready.backbones.items():
        show(item.tasks, out, "prepared" if len(plan.labels) == 1 else f"prepared for {label}")
    for problem in (*small, *ready.notes, *ready.problems):
        out.line(f"! {problem}", style="yellow")
    return 1 if ready.problems else 0
