"""The manifest that tries the best sources of a suggestion: its text, and how many seeds it needs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
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
from empslurm.errors import UsageError
from empslurm.launch.cost import Estimate, estimates, measured, together
from empslurm.plan import Plan
from empslurm.report.seeds import FIRST_SEEDS
from empslurm.suggestion.answer import Suggestion
from empslurm.suggestion.grids import Finished
from empslurm.tasks.schema import Dataset

KEPT = ("adapter", "training", "source", "data", "margin")  # sections of a manifest that the next one takes over
LIMITS = {  # why no number of seeds is enough, by the limit that most targets meet
    "unknown": "the noise of a run is not known where finished targets have one seed",
    "metric": "no finished target has the same metric, so the noise of a run is not known",
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

    By the noise of the target's own runs where it is known, else the median over finished targets of the same metric. A
    seed of the baseline costs one run for every task of the next grid.
    """
    question, finished = suggestion.question, suggestion.finished
    targets = [] if finished is None else finished.targets
    own = [one.comparison for one in targets if one.target == question.target and not all(one.comparison.reasons)]
    alike = own or [one.comparison for one in targets if one.table.metric == suggestion.metric]
    present = [max(one.comparison.n_runs[1:], default=0) for one in targets]
    usual = max([FIRST_SEEDS, *present])
    if wanted is None:
        why = f"{usual} seeds, " + ("as in the finished grid" if usual in present else "the fewest for useful verdicts")
        return Seeds(n=usual, n_baseline=usual, why=why)
    asked = [(more_seeds(one, wanted, cost_of_baseline=_cost(one, question.k)), one) for one in alike]
    enough = [
        (max(one.n_runs[1:], default=0) + more.more_transfer, one.n_runs[0] + more.more_baseline)
        for more, one in asked
        if not more.limit
    ]
    limits = [more.limit for more, _ in asked if more.limit and more.limit != "unknown"]
    if len(enough) <= len(limits):
        limit: str = "unknown" if alike else "metric"
        if limits:
            limit = Counter(limits).most_common(1)[0][0]
        return Seeds(n=usual, n_baseline=usual, why=f"{usual} seeds, since {LIMITS[limit].format(wanted)}")
    transfer = max(FIRST_SEEDS, round(median(n for n, _ in enough)))
    baseline = max(transfer, round(median(n for _, n in enough)))
    whose = "its own runs" if own else f"the runs of {len(enough)} other target{'s' if len(enough) > 1 else ''}"
    arms = f"{transfer} seeds" if baseline == transfer else f"{transfer} seeds, {baseline} of the baselines"
    return Seeds(
        n=transfer,
        n_baseline=baseline,
        why=f"{arms}, which detect a difference of {wanted:g} with probability .8 by the noise of {whose}",
    )


def _cost(comparison: Comparison, k: int) -> float:
    """Of one seed of all baselines of a grid with k sources, where one of its transfers costs one per source."""
    return (k + 1) / k * len(comparison.sources)


def text(suggestion: Suggestion, plan: Plan | None, path: Path, asked: Seeds) -> str:
    """The manifest's YAML. `plan`: of the manifest whose sections it takes over; None: they follow from the cells.

    `path`: where it will be written, since cards are named from there. Raises UsageError.
    """
    question, sources = suggestion.question, suggestion.sources
    ranked = suggestion.rankings[0]
    there = [one.source for one in ranked.candidates if one.source in sources.members]
    chosen = there[: question.k]
    if not chosen or suggestion.baseline is None:
        raise UsageError(
            f"--write needs a source with a trained adapter for {question.target}, but no ranked source has one here; "
            "name cells or exported adapters with --cells"
        )
    tasks = [*chosen, question.target]
    backbone = suggestion.baseline.backbone
    folder = path.absolute().parent.resolve()
    named = [os.path.relpath(card.absolute(), folder) for card in question.cards]
    sections = _of_manifest(plan, tasks) if plan is not None else _of_cells(suggestion, chosen)
    known = sorted({member.measure.seed for member in question.members})
    content = {
        "name": path.stem,
        "kind": "grid",
        "tasks": tasks,
        "pairs": [f"{source} -> {question.target}" for source in chosen],
        "seeds": _numbers(known, asked.n),
        **({"baseline_seeds": _numbers(known, asked.n_baseline)} if asked.n_baseline > asked.n else {}),
        **({"fractions": [ranked.fraction]} if ranked.fraction != 1.0 else {}),
        "backbone": backbone.name if backbone.revision is None else asdict(backbone),
        **sections,
        **({"cards": named} if named else {}),
    }
    first = "that it puts first" if len(there) == len(ranked.candidates) else "with an adapter here that it puts first"
    head = f"# Made by `empslurm suggest {question.target}`: the {len(chosen)} sources {first}.\n"
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


def write(suggestion: Suggestion, path: Path, *, detect: float | None = None) -> Written:
    """Write the grid manifest of a suggestion's best sources.

    `detect`: the difference in the target's metric that its seeds should detect. Raises UsageError where the file
    exists, or where no manifest can say it; ManifestError.
    """
    refuse_file(path)
    question = suggestion.question
    plans = [grid.plan for grid in question.grids if grid.plan is not None]
    asked = seeds(suggestion, detect)
    content = text(suggestion, _plan_of(suggestion, plans), path, asked)
    with files.storage_errors(path.parent, "written"):
        files.make_folder(path.parent)
        if not files.create_exclusive(path, content.encode()):
            refuse_file(path)
    try:
        plan = planned(path, runs=question.root.path, data=question.data)
    except BaseException:  # also an interrupt: what was not checked must not stay
        path.unlink(missing_ok=True)
        raise
    todo = [cell for cell in plan.cells if not question.root.cell(cell.id).result_file.exists()]
    there = [] if suggestion.finished is None else suggestion.finished.cells()
    hours = together(estimates(todo, measured(question.root, there)).values())
    return Written(path=path, plan=plan, why=asked.why, n_to_run=len(todo), hours=hours)


def refuse_file(path: Path, cards: Sequence[Path] = ()) -> None:
    """Raise UsageError where a manifest cannot be written to a path, or cannot name a card from there."""
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path} must end with .yaml to be a manifest, but does not; give another name")
    if path.exists():
        raise UsageError(f"{path} must not exist yet, but does; give another name, or delete it")
    project = path.absolute().parent.resolve().parent
    for card in cards:
        if not card.resolve().is_relative_to(project):
            raise UsageError(
                f"{card} must be in the project {project} (the parent of the manifest's folder) to be named in {path}, "
                "but is not; move it there, or write the manifest beside it"
            )


def _numbers(known: Sequence[int], n: int) -> list[int]:
    """So many seeds: those that the sources have, then the next numbers."""
    others = (seed for seed in range(1, n + len(known) + 1) if seed not in known)
    return [*known[:n], *(next(others) for _ in range(n - len(known[:n])))]


def _plan_of(suggestion: Suggestion, plans: Sequence[Plan]) -> Plan | None:
    """The plan that has most of the sources' cells, so that these are used again; None where none has any."""
    cells = {member.measure.cell for member in suggestion.sources.members.values()}
    n_own = [len(cells & plan.by_id.keys()) for plan in plans]
    return plans[n_own.index(max(n_own))] if any(n_own) else None


def _of_manifest(plan: Plan, tasks: Sequence[str]) -> dict[str, Any]:
    """The sections as its file has them, without what is said of other tasks and datasets."""
    written = yaml.safe_load(plan.manifest.path.read_text())
    registry = plan.manifest.registry
    datasets = [registry.tasks[task].dataset for task in tasks if task in registry.tasks]
    sections = {name: written[name] for name in KEPT if written.get(name) is not None}
    for section, key, names in (("training", "per_task", tasks), ("data", "per_dataset", datasets)):
        said = sections.get(section, {}).get(key)
        if said is not None:
            own = {name: value for name, value in said.items() if any(fnmatchcase(one, name) for one in names)}
            sections[section] = {**sections[section], key: own}
    return sections


def _of_cells(suggestion: Suggestion, chosen: Iterable[str]) -> dict[str, Any]:
    """The sections that give the chosen sources the cells they have. Raises UsageError where no manifest can."""
    measures = {task: suggestion.sources.members[task].measure for task in chosen}
    baseline, registry = suggestion.baseline, suggestion.question.registry
    assert baseline is not None
    adapter = ids.plain(baseline.adapter)
    other = [task for task, measure in measures.items() if measure.settings["adapter"] != adapter]
    if other:
        raise UsageError(
            f"all sources must have the adapter settings of {suggestion.question.target} to be in one manifest, but "
            f"these differ: {', '.join(other)}; add the manifest that trained them to --from"
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
        "adapter": ids.plain(baseline.adapter.settings),
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


def _source_use(finished: Finished | None) -> SourceUse:
    """How the first finished transfer uses its source."""
    found = () if finished is None else finished.cells()
    return next((cell.source_use for cell in found if isinstance(cell, Transfer)), SourceUse())
