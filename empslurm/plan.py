"""From a manifest to cells, packs and waves, and from their states to decisions; pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Literal

from empslurm import ids
from empslurm.cells import TRAINED, Cell, DataIdentity
from empslurm.config import Embed, LabelUse, Trial
from empslurm.errors import UsageError
from empslurm.manifest.load import Manifest
from empslurm.store.cell_folder import CellState
from empslurm.tasks.splits import split_name

Action = Literal["run", "reuse", "skip"]
LEAST_TOKENS = 5  # of an example: RoBERTa has four special tokens around context and text
COMING = ("running", "queued")  # states in which something makes the cell


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a plan needs to know of the world: digests, and whether the files are here."""

    raw: Mapping[str, str | None]  # dataset id -> digest of its raw files (pinned, or of those found)
    missing: Mapping[str, str]  # dataset id -> how to obtain it, for the ones that are not here
    notes: Mapping[str, str]  # dataset id -> what a reader of the plan must know (altered, sample)
    backbone_digest: str | None
    backbone_problem: str = ""
    encoder_digest: str | None = None  # of the encoder of the dataset embeddings, where the manifest wants them
    encoder_problem: str = ""
    hidden_size: int | None = None  # of the backbone, where it is here
    max_tokens: int | None = None  # that the backbone reads, where it is here


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The cells that one process runs: of transfers and baselines one target, seed and data fraction.

    `wave` 0 waits for nothing; wave 1 starts from adapters of wave 0.
    """

    cells: tuple[Cell, ...]
    wave: int

    @cached_property
    def id(self) -> str:
        """A readable prefix and 12 hex digits over the cells' ids: the same cells are the same pack."""
        first = self.cells[0]
        part = "" if first.data.fraction == 1.0 else f"-f{first.data.fraction * 100:g}"
        kind = "pack" if len(self.cells) > 1 and first.kind in TRAINED else first.kind
        target = first.target if len({cell.target for cell in self.cells}) == 1 else "all"
        return f"{kind}-{target}-s{first.seed}{part}-{ids.digest([cell.id for cell in self.cells], 12)}"

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the cells whose adapters this pack starts from."""
        return tuple(sorted({cell.parent for cell in self.cells if cell.parent is not None}))

    def without(self, cell_ids: Collection[str]) -> Pack:
        """The pack with some of its cells left out."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.id not in cell_ids))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every cell of a manifest, parents before children."""

    manifest: Manifest
    inputs: Inputs
    cells: tuple[Cell, ...]
    waiting: str = ""  # why more cells are to come that cannot be planned yet

    @cached_property
    def by_id(self) -> Mapping[str, Cell]:
        """Cells by id."""
        return {cell.id: cell for cell in self.cells}

    def is_provisional(self, cell: Cell) -> bool:
        """True when a cell's id will move once missing data or backbone is there, its own or its parent's."""
        return cell.provisional or (cell.parent is not None and self.by_id[cell.parent].provisional)


def expand(manifest: Manifest, inputs: Inputs) -> Plan:
    """All cells of a manifest: baselines of every task, sources that are no baselines, transfers of every pair.

    Of a search: its trials. What its second stage trains, `searches.with_second_stage` adds once they are through.
    """
    if manifest.search is not None:
        return Plan(manifest=manifest, inputs=inputs, cells=_trials(manifest, inputs))
    cells: dict[str, Cell] = {}

    @cache
    def baseline(task: str, seed: int, fraction: float, labels: LabelUse) -> Cell:
        return baseline_of(manifest, inputs, task, seed, fraction, labels)

    def add(cell: Cell) -> Cell:
        return cells.setdefault(cell.id, cell)

    seeds = tuple(dict.fromkeys((*manifest.seeds, *manifest.baseline_seeds)))
    for fraction in manifest.fractions:
        for task in manifest.tasks:
            for seed in seeds:
                add(baseline(task, seed, fraction, "all"))
    sources: dict[tuple[str, int], Cell] = {}
    for source in dict.fromkeys(source for source, _ in manifest.pairs):
        for seed in manifest.seeds:
            labels = _source_labels(manifest, source)
            sources[source, seed] = add(baseline(source, seed, 1.0, labels))
    for fraction in manifest.fractions:
        for seed in manifest.seeds:
            for source, target in manifest.pairs:
                parent = sources[source, seed]
                alone = baseline(target, seed, fraction, "all")
                add(replace(alone, kind="transfer", source=source, source_use=manifest.source, parent=parent.id))
    for task in manifest.tasks:
        baselines = [baseline(task, seed, 1.0, "all") for seed in manifest.seeds]
        if manifest.fisher:
            for alone in baselines:
                add(replace(add(alone), kind="fisher", fisher=manifest.fisher, parent=alone.id))
        if manifest.embed:
            add(_embed(inputs, manifest.embed, baselines[0]))
    return Plan(manifest=manifest, inputs=inputs, cells=tuple(cells.values()))


def _embed(inputs: Inputs, embed: Embed, baseline: Cell) -> Cell:
    """The dataset embedding of a baseline's examples: neither seed, adapter nor training matters to it."""
    return replace(
        baseline,
        kind="embed",
        seed=0,
        backbone=embed.encoder,
        backbone_digest=inputs.encoder_digest,
        adapter=None,
        training=None,
        embed=embed,
    )


def _source_labels(manifest: Manifest, source: str) -> LabelUse:
    """`manual` only where a dataset has automatic labels to leave out; elsewhere a source is the baseline."""
    return manifest.source.labels if manifest.registry.dataset_of(source).automatic_labels else "all"


def baseline_of(manifest: Manifest, inputs: Inputs, task: str, seed: int, fraction: float, labels: LabelUse) -> Cell:
    """The cell that trains an adapter on a task, as the manifest wants it."""
    dataset = manifest.registry.dataset_of(task)
    use = manifest.data[dataset.id]
    return Cell(
        kind="baseline",
        target=task,
        seed=seed,
        data=DataIdentity(
            dataset=dataset.id,
            raw=inputs.raw[dataset.id],
            split=split_name(dataset, use.splits),
            use=use,
            labels=labels,
            fraction=fraction,
        ),
        backbone=manifest.backbone,
        backbone_digest=inputs.backbone_digest,
        adapter=manifest.adapter[task],
        training=manifest.training[task],
    )


def _trials(manifest: Manifest, inputs: Inputs) -> tuple[Cell, ...]:
    """Every study's trials, of the first seed."""
    assert manifest.search is not None
    search, made = manifest.search.search, []
    for task in manifest.tasks:
        like = baseline_of(manifest, inputs, task, manifest.seeds[0], 1.0, "all")
        like = replace(like, kind="trial", adapter=None, training=None)
        made += [replace(like, trial=Trial(number=number, search=search)) for number in range(manifest.search.n_trials)]
    return tuple(made)


def packs(cells: Iterable[Cell], pack_size: int | None = None) -> tuple[Pack, ...]:
    """Group cells by what a process of theirs shares, at most `pack_size` each; what waits for nothing comes first."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        shared: tuple[object, ...] = ()
        if cell.kind in TRAINED:
            shared = (cell.target, cell.data, cell.adapter, cell.training)
        elif cell.kind == "trial":
            shared = (cell.study,)
        key = (cell.kind, cell.seed, cell.backbone, *shared)
        groups.setdefault(key, []).append(cell)
    made = []
    for members in groups.values():
        size = pack_size or len(members)
        n_parts = -(-len(members) // size)
        for place in range(n_parts):
            # Trials are dealt in turn: the numbers of a study run in order, whatever process draws them.
            dealt = members[place::n_parts] if members[0].kind == "trial" else members[place * size :][:size]
            part = tuple(dealt)
            made.append(Pack(cells=part, wave=0 if part[0].parent is None else 1))
    return tuple(sorted(made, key=lambda pack: pack.wave))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What submitting would do with one cell, and why."""

    cell: Cell
    action: Action
    why: str
    coming: bool = False  # skipped because it runs or is queued already: it may come to be


def decide(plan: Plan, states: Mapping[str, CellState], *, rerun_failed: bool = False) -> tuple[Decision, ...]:
    """One decision per cell, in the plan's order; a cell whose parent cannot come to be is skipped."""
    made: dict[str, Decision] = {}
    for cell in plan.cells:
        made[cell.id] = _decide_one(plan, cell, states[cell.id], made, rerun_failed)
    return tuple(made.values())


def _decide_one(plan: Plan, cell: Cell, state: CellState, made: Mapping[str, Decision], rerun_failed: bool) -> Decision:
    def decision(action: Action, why: str) -> Decision:
        return Decision(cell=cell, action=action, why=why, coming=state.state in COMING)

    if state.state == "done":
        return decision("reuse", "a verified result is there")
    if state.state in COMING:
        return decision("skip", f"is {state.state}: {state.why}")
    if state.state == "failed" and not rerun_failed:
        return decision("skip", f"failed, and waits for `resume`: {state.why}")
    lacking = obstacle(plan, cell)
    if lacking:
        return decision("skip", lacking)
    parent = made.get(cell.parent) if cell.parent is not None else None
    if parent is not None and parent.action == "skip" and not parent.coming:
        return decision("skip", f"its source {parent.cell.id} will not be there: {parent.why}")
    if state.state == "pending":
        return decision("run", "never started")
    return decision("run", f"{state.state}: {state.why}")


def obstacle(plan: Plan, cell: Cell) -> str:
    """Why a cell cannot run on this machine yet: data or backbone missing. Empty when it can."""
    problem = plan.inputs.encoder_problem if cell.kind == "embed" else plan.inputs.backbone_problem
    if problem:
        return problem
    adapters = cell.trial.search.adapters if cell.trial is not None else (cell.adapter,)
    sizes = [
        adapter.size_problem(plan.inputs.hidden_size) for adapter in adapters if adapter and plan.inputs.hidden_size
    ]
    return next(filter(None, sizes), "") or plan.inputs.missing.get(cell.data.dataset, "")


def refuse_lengths(plan: Plan, decisions: Iterable[Decision]) -> None:
    """Raise UsageError where a cell without a result would read texts of a length that its backbone cannot."""
    limit = plan.inputs.max_tokens or math.inf
    wanted: dict[str, int] = {}
    for cell in (decision.cell for decision in decisions if decision.action != "reuse"):
        training = cell.training if cell.trial is None else cell.trial.search.training
        if training is not None and not LEAST_TOKENS <= training.max_length <= limit:
            wanted.setdefault(cell.target, training.max_length)
    if not wanted:
        return
    task, length = next(iter(wanted.items()))
    more = f" (and {len(wanted) - 1} more tasks)" if len(wanted) > 1 else ""
    must = f"at most {limit}, the tokens that the backbone {plan.manifest.backbone.name} can read"
    fix = f"write `max_length: {limit}` or less"
    if length < LEAST_TOKENS:
        must = f"at least {LEAST_TOKENS}, since up to {LEAST_TOKENS - 1} tokens only frame context and text"
        fix = "raise it"
    raise UsageError(
        f"training.max_length must be {must}, but is {length} for {task}{more}; {fix} in {plan.manifest.path}"
    )


def counts(values: Sequence[str]) -> dict[str, int]:
    """How often each value occurs, most frequent first."""
    tally: dict[str, int] = {}
    for value in values:
        tally[value] = tally.get(value, 0) + 1
    return dict(sorted(tally.items(), key=lambda item: -item[1]))
