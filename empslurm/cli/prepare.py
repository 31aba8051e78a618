"""`prepare`: everything that needs network or is shared, once; then every job runs offline."""

from __future__ import annotations

import argparse

from empslurm.backbones import fetch
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.plan import Plan
from empslurm.store import RunsRoot


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)


def prepare_all(plan: Plan, root: RunsRoot, given: argparse.Namespace, out: Output) -> dict[str, object]:
    """Backbone, parsed data and tokens of everything in the plan whose data is here."""
    from rich.progress import Progress

    manifest = plan.manifest
    backbone = fetch(manifest.backbone)
    datasets = [name for name in manifest.data if name not in plan.inputs.missing]
    tasks = [task for task in manifest.tasks if manifest.registry.dataset_of(task).id in datasets]
    made: dict[str, object] = {"backbone": str(backbone), "datasets": {}, "tasks": {}}
    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("parsing", total=len(datasets) + len(tasks))
        from empslurm.tasks.prepare import load_task, prepare

        prepared = {}
        for name in datasets:
            progress.update(bar, description=f"parsing {name}")
            prepared[name] = prepare(manifest.registry.datasets[name], given.data, root.prepared)
            progress.advance(bar)
        made["datasets"] = {name: str(item.folder) for name, item in prepared.items()}
        progress.update(bar, description="loading the tokenizer")
        from empslurm.train.backbone import load_tokenizer
        from empslurm.train.tokens import tokenise

        tokenizer = load_tokenizer(manifest.backbone)
        counts = {}
        for task in tasks:
            progress.update(bar, description=f"tokenising {task}")
            dataset = manifest.registry.dataset_of(task)
            for labels in dict.fromkeys(cell.data.labels for cell in plan.cells if cell.target == task):
                table = load_task(
                    prepared[dataset.id], manifest.registry.tasks[task], manifest.data[dataset.id], labels
                )
                length = manifest.training[task].max_length
                tokens = tokenise(table, tokenizer, str(plan.inputs.backbone_digest), length, root.prepared)
                counts[task] = {"n_examples": len(table.ids), "n_tokens": int(tokens.starts[-1])}
            progress.advance(bar)
        made["tasks"] = counts
    made["missing"] = dict(plan.inputs.missing)
    return made


def run(given: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(given)
    made = prepare_all(plan, root, given, out)
    out.document(made)
    counts = made["tasks"]
    assert isinstance(counts, dict)
    rows = [(task, item["n_examples"], item["n_tokens"]) for task, item in counts.items()]
    out.table("prepared", ("task", "examples", "tokens"), rows)
    for problem in plan.inputs.missing.values():
        out.line(f"! {problem}", style="yellow")
    return 1 if plan.inputs.missing else 0
