"""From a manifest to cells, packs and waves, and from their states to decisions; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from empslurm import ids
from empslurm.backbones.families import FAMILIES
from empslurm.backbones.labels import labels_of
from empslurm.cells import (
    KINDS,
    SCORED,
    Baseline,
    Cell,
    DataIdentity,
    DatasetEmbedding,
    TaskEmbedding,
    Transfer,
    TrialCell,
)
from empslurm.config import BANKED, Backbone, Embed, LabelUse, Trial, library_problem
from empslurm.errors import UsageError
from empslurm.manifest.load import Manifest, SearchUse
from empslurm.store.cell_folder import CellState
from empslurm.tasks.splits import split_name

Action = Literal["run", "reuse", "skip"]
ACTIONS: tuple[Action, ...] = ("run", "reuse", "skip")
LEAST_TOKENS = 5  # of an example: RoBERTa has four special tokens around context and text
COMING = ("running", "queued")  # states of a cell whose result may still come


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known on this machine of a backbone or encoder."""

    digest: str | None  # of its files, or of a hub id's commit; None: unknown until it is here
    problem: str = ""  # why it cannot be used, and what to do; empty: it can
    family: str = ""  # an entry of FAMILIES; empty: it is not here
    hidden_size: int | None = None  # None: it is not here, or does not say
    max_tokens: int | None = None  # of the longest input that it reads; None: as above


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a plan needs besides the manifest: digests, and whether the files are on this machine."""

    raw: Mapping[str, str | None]  # dataset id -> digest of its raw files (pinned, or of those found)
    missing: Mapping[str, str]  # dataset id -> how to obtain it, for the ones that are not here
    notes: Mapping[str, str]  # dataset id -> what a reader of the plan must know (altered, sample)
    backbones: Mapping[Backbone, Known]  # those of the manifest
    encoder: Known | None = None  # of the dataset embeddings, where the manifest wants them
    library: bool = True  # whether the package `adapters` is installed here

    @property
    def problems(self) -> tuple[str, ...]:
        """Why backbones or the encoder cannot be used yet, one sentence each."""
        known = (*self.backbones.values(), *([self.encoder] if self.encoder else []))
        return tuple(dict.fromkeys(item.problem for item in known if item.problem))

    def model_of(self, cell: Cell) -> Known:
        """What is known of the backbone, or the encoder, that a cell of the plan reads."""
        if KINDS[cell.kind].reads == "encoder" and self.encoder is not None:
            return self.encoder
        return self.backbones[cell.backbone]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The cells that one process runs. Baselines and transfers of a pack share target, seed and data fraction.

    `wave` 0 waits for nothing; wave 1 starts from adapters of wave 0.
    """

    cells: tuple[Cell, ...]
    wave: int

    @cached_property
    def id(self) -> str:
        """A readable prefix and 12 hex digits over the cells' ids: equal cells give an equal id."""
        first = self.cells[0]
        part = "" if first.data.fraction == 1.0 else f"-f{first.data.fraction * 100:g}"
        kind = "pack" if len(self.cells) > 1 and first.kind in SCORED else first.kind
        target = first.target if len({cell.target for cell in self.cells}) == 1 else "all"
        return f"{kind}-{target}-s{first.seed}{part}-{ids.digest([cell.id for cell in self.cells], 12)}"

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the cells whose adapters this pack starts from."""
        return tuple(sorted({cell.starts_from for cell in self.cells if cell.starts_from is not None}))

    def without(self, cell_ids: Collection[str]) -> Pack:
        """The pack with some of its cells left out."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.id not in cell_ids))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every cell of a manifest, parents before children."""

    manifest: Manifest
    inputs: Inputs
    cells: tuple[Cell, ...]
    waiting: str = ""  # why more cells will follow that cannot be planned yet

    @cached_property
    def by_id(self) -> Mapping[str, Cell]:
        """Cells by id."""
        return {cell.id: cell for cell in self.cells}

    @cached_property
    def labels(self) -> Mapping[Backbone, str]:
        """Backbones of the manifest, each with its short name for people, in the manifest's order."""
        return labels_of(self.manifest.backbones)

    def label(self, cell: Cell) -> str | None:
        """The label of a cell's backbone; None of a dataset embedding, which depends on none."""
        return None if KINDS[cell.kind].reads == "encoder" else self.labels[cell.backbone]

    @property
    def search(self) -> SearchUse:
        """The search that the manifest describes. Raises UsageError where it describes a grid."""
        if self.manifest.search is None:
            raise UsageError(f"{self.manifest.path} must be of kind search, but is a grid; name a search manifest")
        return self.manifest.search

    def is_provisional(self, cell: Cell) -> bool:
        """True when a cell's id will move once missing data or backbone is there, its own or its parent's."""
        return cell.provisional or (cell.starts_from is not None and self.by_id[cell.starts_from].provisional)


def expand(manifest: Manifest, inputs: Inputs) -> Plan:
    """All cells of a manifest: baselines of every task, sources that are not among them, transfers of every pair.

    Each backbone has a grid of its own; dataset embeddings, which depend on none, are planned once. For a search: its
    trials. `search.results` adds the cells of the second stage once the trials are finished.
    """
    if manifest.search is not None:
        return Plan(manifest=manifest, inputs=inputs, cells=_trials(manifest, manifest.search, inputs))
    grids = [Grid(manifest=manifest, inputs=inputs, backbone=backbone) for backbone in manifest.backbones]
    cells: dict[str, Cell] = {}
    for planner in PLANNERS:
        for grid in grids:
            for cell in planner(grid):
                cells.setdefault(cell.id, cell)
    return Plan(manifest=manifest, inputs=inputs, cells=tuple(cells.values()))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the planners share: the manifest, the inputs, one backbone, and the baselines made on it so far."""

    manifest: Manifest
    inputs: Inputs
    backbone: Backbone
    _baselines: dict[tuple[object, ...], Baseline] = field(default_factory=dict)

    def baseline(self, task: str, seed: int, fraction: float = 1.0, labels: LabelUse = "all") -> Baseline:
        """The baseline of a task, seed and fraction, made once, since computing its id takes time."""
        key = (task, seed, fraction, labels)
        if key not in self._baselines:
            self._baselines[key] = baseline_of(self.manifest, self.inputs, self.backbone, *key)
        return self._baselines[key]

    def source(self, task: str, seed: int) -> Baseline:
        """The cell whose adapter the transfers from a task start from.

        `manual` labels only where a dataset has automatic ones to leave out; elsewhere a source is the baseline.
        """
        apart = self.manifest.registry.dataset_of(task).automatic_labels
        return self.baseline(task, seed, labels=self.manifest.source.labels if apart else "all")


def _baselines(grid: Grid) -> Iterator[Cell]:
    manifest = grid.manifest
    seeds = tuple(dict.fromkeys((*manifest.seeds, *manifest.baseline_seeds)))
    for fraction in manifest.fractions:
        for task in manifest.tasks:
            for seed in seeds:
                yield grid.baseline(task, seed, fraction)


def _sources(grid: Grid) -> Iterator[Cell]:
    for source in dict.fromkeys(source for source, _ in grid.manifest.pairs):
        for seed in grid.manifest.seeds:
            yield grid.source(source, seed)


def _transfers(grid: Grid) -> Iterator[Cell]:
    manifest = grid.manifest
    for fraction in manifest.fractions:
        for seed in manifest.seeds:
            for source, target in manifest.pairs:
                alone, parent = grid.baseline(target, seed, fraction), grid.source(source, seed)
                yield Transfer.like(alone, source=source, source_use=manifest.source, parent=parent.id)


def _embeddings(grid: Grid) -> Iterator[Cell]:
    manifest = grid.manifest
    for task in manifest.tasks:
        baselines = [grid.baseline(task, seed) for seed in manifest.seeds]
        if manifest.fisher:
            for alone in baselines:
                yield alone
                yield TaskEmbedding.like(alone, fisher=manifest.fisher, parent=alone.id)
        if manifest.embed:
            digest = grid.inputs.encoder.digest if grid.inputs.encoder else None
            yield _embed(manifest.embed, digest, baselines[0])


# Every planner adds cells of some kind, parents before children; a cell that two of them plan is one cell.
PLANNERS: tuple[Callable[[Grid], Iterator[Cell]], ...] = (_baselines, _sources, _transfers, _embeddings)


def _embed(embed: Embed, digest: str | None, baseline: Baseline) -> DatasetEmbedding:
    """The dataset embedding of a baseline's examples: neither seed, backbone, adapter nor training matters to it."""
    return DatasetEmbedding.like(baseline, seed=0, backbone=embed.encoder, backbone_digest=digest, embed=embed)


def baseline_of(
    manifest: Manifest,
    inputs: Inputs,
    backbone: Backbone,
    task: str,
    seed: int,
    fraction: float = 1.0,
    labels: LabelUse = "all",
) -> Baseline:
    """The cell that trains an adapter on a task and a backbone, with the manifest's settings."""
    dataset = manifest.registry.dataset_of(task)
    use = manifest.data[dataset.id]
    return Baseline(
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
        backbone=backbone,
        backbone_digest=inputs.backbones[backbone].digest,
        adapter=manifest.adapter[task],
        training=manifest.training[task],
    )


def _trials(manifest: Manifest, use: SearchUse, inputs: Inputs) -> tuple[Cell, ...]:
    """The trials of every task, with the first seed, on the one backbone of a search."""
    (backbone,) = manifest.backbones
    return tuple(
        TrialCell.like(alone, trial=Trial(number=number, search=use.search))
        for task in manifest.tasks
        for alone in [baseline_of(manifest, inputs, backbone, task, manifest.seeds[0])]
        for number in range(use.n_trials)
    )


def packs(cells: Iterable[Cell], pack_size: int | None = None) -> tuple[Pack, ...]:
    """Group cells that may share a process into packs of at most `pack_size`, wave 0 first."""
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.pack_key, []).append(cell)
    parts = []
    for members in groups.values():
        size, kind = pack_size or len(members), KINDS[members[0].kind]
        n_parts = -(-len(members) // size)
        for index in range(n_parts):
            dealt = members[index::n_parts] if kind.dealt else members[index * size :][:size]
            parts.append(Pack(cells=tuple(dealt), wave=kind.wave))
    return tuple(sorted(parts, key=lambda pack: pack.wave))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What submitting would do with one cell, and why."""

    cell: Cell
    action: Action
    why: str
    coming: bool = False  # whether it runs or is queued, so that its result may still come
    failed: bool = False  # whether its last run failed


def decide(plan: Plan, states: Mapping[str, CellState], *, rerun_failed: bool = False) -> tuple[Decision, ...]:
    """One decision per cell, in the plan's order; a cell whose parent will have no result is skipped."""
    decided: dict[str, Decision] = {}
    for cell in plan.cells:
        decided[cell.id] = _decide_one(plan, cell, states, decided, rerun_failed)
    return tuple(decided.values())


def _decide_one(
    plan: Plan, cell: Cell, states: Mapping[str, CellState], decided: Mapping[str, Decision], rerun_failed: bool
) -> Decision:
    state = states[cell.id]

    def decision(action: Action, why: str) -> Decision:
        coming, failed = state.state in COMING, state.state == "failed"
        return Decision(cell=cell, action=action, why=why, coming=coming, failed=failed)

    if state.state == "done":
        return decision("reuse", "a verified result is there")
    if state.state in COMING:
        return decision("skip", f"is {state.state}: {state.why}")
    if state.state == "failed" and not rerun_failed:
        return decision("skip", f"failed, and waits for `resume`: {state.why}")
    lacking = obstacle(plan, cell)
    if lacking:
        return decision("skip", lacking)
    parent = decided.get(cell.starts_from) if cell.starts_from is not None else None
    if parent is not None and parent.action == "skip" and not parent.coming:
        return decision("skip", f"its source {parent.cell.id} will not be there: {parent.why}")
    if parent is not None and states[parent.cell.id].bare:
        return decision(
            "skip", f"the adapter of {parent.cell.id} was left out of a bundle: move its folder away to train it again"
        )
    if state.state == "pending":
        return decision("run", "never started")
    return decision("run", f"{state.state}: {state.why}")


def left_out(plan: Plan, decisions: Iterable[Decision]) -> dict[str, int]:
    """Why `submit` leaves cells out -> how many cells, the most frequent cause first; without those that failed."""
    skipped = [each for each in decisions if each.action == "skip" and not (each.coming or each.failed)]
    return counts([obstacle(plan, each.cell) or "their sources will have no result" for each in skipped])


def obstacle(plan: Plan, cell: Cell) -> str:
    """Why a cell cannot run on this machine: data or backbone missing, an adapter that does not fit. Else empty."""
    known = plan.inputs.model_of(cell)
    if known.problem:
        return known.problem
    facts, width = FAMILIES.get(known.family), known.hidden_size
    kinds = [facts.kind_problem(known.family, adapter.kind) for adapter in cell.adapters] if facts else []
    sizes = [adapter.size_problem(width) for adapter in cell.adapters] if width else []
    unfit = next(filter(None, (*kinds, *sizes)), "")
    if unfit:
        return unfit if len(plan.labels) == 1 else f"on {plan.label(cell)}, {unfit}"
    return plan.inputs.missing.get(cell.data.dataset, "")


def refuse_kinds(plan: Plan, decisions: Iterable[Decision]) -> None:
    """Raise UsageError where the library `adapters` must train or read a cell without a result, but is not here."""
    if plan.inputs.library:
        return
    for decision in decisions:
        needs = "" if decision.action == "reuse" or decision.coming else _needs_library(plan, decision.cell)
        if needs:
            raise UsageError(f"{library_problem(needs)}, or choose {' or '.join(BANKED)} in {plan.manifest.path}")


def _needs_library(plan: Plan, cell: Cell) -> str:
    """What of a cell needs the library `adapters`; empty where nothing does."""
    for adapter in cell.adapters:
        if adapter.kind not in BANKED:
            return f"an adapter of kind {adapter.kind}"
    source = plan.by_id.get(cell.starts_from) if cell.starts_from is not None else None
    if source is not None and source.adapters != cell.adapters:
        return f"a {cell.adapters[0].kind} adapter on one with other settings ({source.target} -> {cell.target})"
    return ""


def refuse_lengths(plan: Plan, decisions: Iterable[Decision]) -> None:
    """Raise UsageError where a cell without a result would read texts of a length that its backbone cannot."""
    wanted: dict[Backbone, dict[str, int]] = {}
    for cell in (decision.cell for decision in decisions if decision.action != "reuse"):
        training, longest = cell.settled_training, plan.inputs.model_of(cell).max_tokens or math.inf
        if training is not None and not LEAST_TOKENS <= training.max_length <= longest:
            wanted.setdefault(cell.backbone, {}).setdefault(cell.target, training.max_length)
    for backbone, lengths in wanted.items():
        _refuse_lengths(plan, backbone, lengths)


def _refuse_lengths(plan: Plan, backbone: Backbone, wanted: Mapping[str, int]) -> None:
    """Raise UsageError: the lengths wanted, by task, are not those that a backbone reads."""
    limit = plan.inputs.backbones[backbone].max_tokens
    task, length = next(iter(wanted.items()))
    more = f" (and {len(wanted) - 1} more task{'s' * (len(wanted) > 2)})" if len(wanted) > 1 else ""
    must = f"at most {limit}, the most tokens that the backbone {backbone.name} reads"
    fix = f"write `max_length: {limit}` or less"
    if length < LEAST_TOKENS:
        must = f"at least {LEAST_TOKENS}, because the model's special tokens alone take up to {LEAST_TOKENS - 1}"
        fix = f"write `max_length: {LEAST_TOKENS}` or more"
    raise UsageError(
        f"training.max_length must be {must}, but is {length} for {task}{more}; {fix} in {plan.manifest.path}"
    )


def counts(values: Sequence[str]) -> dict[str, int]:
    """How often each value occurs, most frequent first."""
    tally: dict[str, int] = {}
    for value in values:
        tally[value] = tally.get(value, 0) + 1
    return dict(sorted(tally.items(), key=lambda item: -item[1]))
