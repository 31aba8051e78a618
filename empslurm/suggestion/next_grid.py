"""The manifest that tries the best sources of a suggestion: its text, and how many seeds it needs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from empslurm import files, ids
from empslurm.analysis.more_seeds import MOST_SEEDS, more_seeds
from empslurm.analysis.verdicts import Comparison
from empslurm.api import planned
from empslurm.cells import Transfer
from empslurm.config import DataUse, SourceUse, Training
from empslurm.errors import EmpslurmError, UsageError
from empslurm.launch.cost import Estimate, estimates, measured, together
from empslurm.plan import Plan
from empslurm.report.seeds import FIRST_SEEDS
from empslurm.suggestion.answer import Suggestion
from empslurm.suggestion.grids import Finished, cells_of
from empslurm.suggestion.inputs import cards_of
from empslurm.tasks.schema import Dataset

KEPT = ("adapter", "training", "source", "data", "margin")  # sections of a manifest that the next one takes over
LIMITS = {  # why no number of seeds is enough, by the limit that most targets meet
    "": "the noise of runs is not known where every target has one seed",
    "examples": "the test parts of finished targets are too small to detect {:g} with any number of seeds",
    "seeds": f"more than {MOST_SEEDS} would be needed to detect {{:g}}",
}


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """How many seeds the next grid has, and why."""

    n: int  # of each transfer
    n_baseline: int
    why: str  # a sentence


def seeds(suggestion: Suggestion, wanted: float | None) -> Seeds:
    """Enough to detect a difference of `wanted` in the target's metric with probability .8; None: as many as before.

    By the noise of the target's own runs, else the median over the other finished targets.
    """
    comparisons = [one.comparison for found in suggestion.finished for one in found.targets]
    own = [one for one in comparisons if one.target == suggestion.question.target]
    present = [max(one.n_runs[1:], default=0) for one in comparisons]
    usual = max([FIRST_SEEDS, *present])
    if wanted is None:
        why = f"{usual} seeds, " + ("as in the finished grid" if usual in present else "the fewest for useful verdicts")
        return Seeds(n=usual, n_baseline=usual, why=why)
    asked = [(more_seeds(one, wanted), one) for one in own or comparisons]
    enough = [
        (_total(one, asked.more_transfer), one.n_runs[0] + asked.more_baseline)
        for asked, one in asked
        if not asked.limit
    ]
    limits = [asked.limit for asked, _ in asked if asked.limit and asked.limit != "unknown"]
    if len(enough) <= len(limits):
        limit = max(set(limits), key=limits.count, default="")
        return Seeds(n=usual, n_baseline=usual, why=f"{usual} seeds, since {LIMITS[limit].format(wanted)}")
    transfer = max(FIRST_SEEDS, round(median(n for n, _ in enough)))
    baseline = max(transfer, round(median(n for _, n in enough)))
    whose = "its own runs" if own else f"the runs of {len(enough)} other targets"
    return Seeds(
        n=transfer,
        n_baseline=baseline,
        why=f"{transfer} seeds, and {baseline} of the baseline, which detect a difference of {wanted:g} with "
        f"probability .8 by the noise of {whose}",
    )


def _total(comparison: Comparison, more: int) -> int:
    return max(comparison.n_runs[1:], default=0) + more


def text(suggestion: Suggestion, plan: Plan | None, path: Path, cards: Sequence[Path], asked: Seeds) -> str:
    """The manifest's YAML. `plan`: of the manifest whose sections it takes over; None: they follow from the cells.

    `path`: where it will be written, since cards are named from there. Raises UsageError.
    """
    question, sources = suggestion.question, suggestion.sources
    ranked = suggestion.rankings[0]
    chosen = [one.source for one in ranked.candidates if one.source in sources.members][: question.k]
    if not chosen or suggestion.baseline is None:
        raise UsageError(
            f"a source needs a trained adapter to be tried for {question.target}, but none of them has one here; name "
            "cells or exported adapters with --cells"
        )
    tasks = [*chosen, question.target]
    backbone = suggestion.baseline.backbone
    folder = path.absolute().parent.resolve()
    named = [os.path.relpath(card.absolute(), folder) for card in dict.fromkeys(cards)]
    sections = _of_manifest(plan) if plan is not None else _of_cells(suggestion, chosen)
    known = _known_seeds(suggestion)
    content = {
        "name": path.stem,
        "kind": "grid",
        "tasks": tasks,
        "pairs": [f"{source} -> {question.target}" for source in chosen],
        "seeds": _numbers(known, asked.n),
        **({"baseline_seeds": _numbers(known, asked.n_baseline)} if asked.n_baseline > asked.n else {}),
        "backbone": backbone.name if backbone.revision is None else asdict(backbone),
        **sections,
        **({"cards": named} if named else {}),
    }
    head = f"# Made by `empslurm suggest {question.target}`: the {len(chosen)} sources that it puts first.\n"
    return f"{head}# {asked.why[:1].upper()}{asked.why[1:]}.\n" + yaml.safe_dump(
        content, sort_keys=False, default_flow_style=None, width=100
    )


@dataclass(frozen=True, kw_only=True)
class Written:
    """The manifest that was written, and what it costs."""

    path: Path
    plan: Plan
    why: str  # a clause about its seeds
    n_to_run: int  # cells without a result
    hours: Estimate | None  # of these, on one device; None where no finished cell says


def write(
    suggestion: Suggestion, path: Path, *, cards: Sequence[str | Path] = (), detect: float | None = None
) -> Written:
    """Write the grid manifest of a suggestion's best sources.

    `detect`: the difference in the target's metric that its seeds should detect. Raises UsageError where the file
    exists, or where no manifest can say it; ManifestError.
    """
    refuse_file(path)
    question = suggestion.question
    plans = [grid.plan for grid in question.grids if grid.plan is not None]
    asked = seeds(suggestion, detect)
    content = text(suggestion, next(iter(plans), None), path, cards_of(plans, cards), asked)
    with files.storage_errors(path.parent, "written"):
        files.make_folder(path.parent)
        if not files.create_exclusive(path, content.encode()):
            refuse_file(path)
    try:
        plan = planned(path, runs=question.root.path, data=question.data)
    except EmpslurmError:
        path.unlink(missing_ok=True)
        raise
    todo = [cell for cell in plan.cells if not question.root.cell(cell.id).result_file.exists()]
    there = [cell for one in suggestion.finished for cell in cells_of(one)]
    hours = together(estimates(todo, measured(question.root, there)).values())
    return Written(path=path, plan=plan, why=asked.why, n_to_run=len(todo), hours=hours)


def refuse_file(path: Path) -> None:
    """Raise UsageError where a manifest cannot be written to a path."""
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path} must end with .yaml to be a manifest, but does not; give another name")
    if path.exists():
        raise UsageError(f"{path} must not exist yet, but does; give another name, or delete it")


def _numbers(known: Sequence[int], n: int) -> list[int]:
    """So many seeds: those that the sources have, then the next numbers."""
    others = (seed for seed in range(1, n + len(known) + 1) if seed not in known)
    return [*known[:n], *(next(others) for _ in range(n - len(known[:n])))]


def _known_seeds(suggestion: Suggestion) -> list[int]:
    seeds: dict[int, int] = {}
    for member in suggestion.question.members:
        seeds[member.measure.seed] = seeds.get(member.measure.seed, 0) + 1
    return sorted(seeds)


def _of_manifest(plan: Plan) -> dict[str, Any]:
    """The sections as its file has them."""
    written = yaml.safe_load(plan.manifest.path.read_text())
    return {name: written[name] for name in KEPT if name in written}


def _of_cells(suggestion: Suggestion, chosen: Iterable[str]) -> dict[str, Any]:
    """The sections that give the chosen sources the cells they have. Raises UsageError where no manifest can."""
    measures = {task: suggestion.sources.members[task].measure for task in chosen}
    baseline, registry = suggestion.baseline, suggestion.question.registry
    assert baseline is not None
    adapter = ids.plain(baseline.adapter.settings)
    other = [task for task, measure in measures.items() if measure.settings["adapter"] != adapter]
    if other:
        raise UsageError(
            f"the sources must have the same adapter as {suggestion.question.target} to be in one manifest, but "
            f"{', '.join(other)} have another; name the manifest that has them with --from"
        )
    usual, use = _changed(baseline.training, Training()), ids.plain(baseline.data.use)
    training = {task: measure.settings["training"] for task, measure in measures.items()}
    per_task = {task: own for task, own in training.items() if own != ids.plain(baseline.training)}
    datasets: dict[str, Dataset] = {task: registry.dataset_of(task) for task in measures}
    uses = {datasets[task].id: measure.settings["data"]["use"] for task, measure in measures.items()}
    per_dataset = {name: own for name, own in uses.items() if own != use}
    data = {**_changed(baseline.data.use, DataUse()), **({"per_dataset": per_dataset} if per_dataset else {})}
    source = _changed(_source_use(suggestion.finished), SourceUse())
    sections = {
        "adapter": adapter,
        "training": {**usual, **({"per_task": per_task} if per_task else {})},
        "source": source,
        "data": data,
    }
    return {name: section for name, section in sections.items() if section}


def _changed(section: Any, default: Any) -> dict[str, Any]:
    """The fields of a section that differ from its defaults."""
    plain: Mapping[str, Any] = ids.plain(section)
    usual = ids.plain(default)
    return {name: value for name, value in plain.items() if value != usual[name]}


def _source_use(finished: Sequence[Finished]) -> SourceUse:
    """How the first finished transfer uses its source."""
    for one in finished:
        for cell in cells_of(one):
            if isinstance(cell, Transfer):
                return cell.source_use
    return SourceUse()
