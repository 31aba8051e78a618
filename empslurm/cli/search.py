"""`search report` and `search freeze`: what a search found, and its winners as a preset for grid manifests."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import files, resources
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.cli.parser import texts
from empslurm.errors import UsageError
from empslurm.manifest.presets import PRESETS, frozen_path
from empslurm.plan import Plan
from empslurm.search.results import finished_trials, preset_text, second_stage_scores, winners
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from empslurm.report.formats import Entry, Table
    from empslurm.report.search import SearchResults

ACTIONS = {
    "freeze": texts(
        "write the winners to a preset",
        "Write the settings that won on the validation part to presets/NAME.yaml beside the manifest. An existing "
        "preset is never changed.",
        ("empslurm search freeze search --name tuned", "empslurm search freeze search --name paper --adapter overall"),
    ),
    "report": texts(
        "write tables and a page of what the search found so far",
        "Write tables and one page of what the search found so far. It may run while trials are training.",
        ("empslurm search report search",),
    ),
}


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    freeze, report = (actions.add_parser(name, parents=[common_options], **text) for name, text in ACTIONS.items())
    common.manifest_argument(freeze)
    freeze.add_argument("--name", required=True, help="name the preset: grid manifests write training: {preset: NAME}")
    text = "freeze each task's own best adapter type (default), or for all tasks the type with the best mean rank"
    freeze.add_argument("--adapter", choices=("per_task", "overall"), default="per_task", help=text)
    common.manifest_argument(report)
    text = "write the files there (default: RUNS/gathered/MANIFEST)"
    report.add_argument("--out", type=Path, metavar="DIR", help=text)


def run(options: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(options)
    if plan.manifest.search is None:
        raise UsageError(f"{plan.manifest.name} must be of kind search, but is a grid; name a search manifest")
    return (_freeze if options.action == "freeze" else report)(plan, root, options, out)


def results(plan: Plan, root: RunsRoot) -> SearchResults:
    """The results of a search so far, as its report needs them."""
    from empslurm.report.search import SearchResults

    manifest, use = plan.manifest, plan.search
    return SearchResults(
        name=manifest.name,
        tasks=manifest.tasks,
        types=tuple(adapter.kind for adapter in use.search.adapters),
        sampler=use.search.sampler,
        pruner=use.search.pruner,
        n_trials=use.n_trials,
        seeds=manifest.seeds,
        trials=finished_trials(root, plan.cells),
        second=second_stage_scores(root, plan),
        n_second=sum(cell.kind == "baseline" for cell in plan.cells),
        waiting=plan.waiting,
        registry=manifest.registry,
    )


def report(plan: Plan, root: RunsRoot, options: argparse.Namespace, out: Output) -> int:
    """Write and print the results so far; the exit status."""
    from empslurm.report.search import caution, progress, tables, write

    outcome = results(plan, root)
    written = write(outcome, options.out or root.gathered / plan.manifest.name)
    shown = tables(outcome)
    out.document(
        {
            "name": outcome.name,
            "selected_on": "validation",
            "n_finished": {task: len(outcome.trials.get(task, ())) for task in outcome.tasks},
            "n_planned": outcome.n_trials,
            "second_stage": {
                "n_through": outcome.n_second_through,
                "n_planned": outcome.n_second,
                "waiting": outcome.waiting,
            },
            "caution": caution(outcome),
            "tables": {table.name: [_named(table, row) for row in table.rows] for table in shown},
            "files": [str(path) for path in written],
            "report": str(written[-1]),
        }
    )
    for table in shown:
        out.table(table.title, table.head[0], [[entry.text for entry in row] for row in table.rows])
        out.paragraph(f"{table.caption} {table.details}".strip())
    for sentence in progress(outcome):
        out.paragraph(sentence, style="yellow" if plan.waiting else "")
    out.line(f"written: {written[-1]}")
    return 0


def _named(table: Table, row: Sequence[Entry]) -> dict[str, object]:
    return {name: entry.plain for name, entry in zip(table.columns, row, strict=True)}


def _freeze(plan: Plan, root: RunsRoot, options: argparse.Namespace, out: Output) -> int:
    """Write the preset; an existing one is never changed."""
    if resources.package() in plan.manifest.path.resolve().parents:
        raise UsageError(
            f"the manifest must be a file of yours, since the preset is written beside it, but {plan.manifest.name} is "
            f"empslurm's own; copy {plan.manifest.path} into manifests/ and name the copy"
        )
    path = frozen_path(plan.manifest.path, options.name)
    if options.name in PRESETS or path.name != f"{options.name}.yaml":
        raise UsageError(
            f"--name must be a name without `/` that is not a built-in preset, but is {options.name!r}; choose another"
        )
    finished = finished_trials(root, plan.cells)
    chosen = winners(plan, finished, second_stage_scores(root, plan), overall=options.adapter == "overall")
    text = preset_text(plan.manifest.name, {task: chosen[task] for task in plan.manifest.tasks})
    if not files.create_exclusive(path, text.encode()) and files.read_bytes(path) != text.encode():
        raise UsageError(f"{path} must not exist yet, but holds other winners; choose another --name, or delete it")
    rows = [
        (
            task,
            winner.adapter.kind,
            winner.best_epoch,
            winner.training.batch_size,
            f"{winner.training.lr:.2g}",
            winner.validation,
        )
        for task, winner in chosen.items()
    ]
    columns = ("task", "adapter", "best epoch", "batch size", "lr", "validation")
    out.document(
        {
            "file": str(path),
            "selected_on": "validation",
            "tasks": [dict(zip(columns, row, strict=True)) for row in rows],
        }
    )
    out.table(f"{plan.manifest.name}: winners on the validation part", columns, rows)
    out.line(f"written: {path}; use it with training: {{preset: {options.name}}}")
    return 0
