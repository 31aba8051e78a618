"""Choose a search's second stage and its winners from its trials' results, by validation scores only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from empslurm.analysis.search import best_types
from empslurm.cells import Baseline, Cell, DrawnTrial, TrialCell
from empslurm.config import Adapter, AdapterKind, Search, Training
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.plan import Plan, baseline_of
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode

Outcome = Literal["complete", "pruned"]
# The second stage of one adapter kind, by seed: the cell, its validation score (None: undefined) and its best epoch.
Seeds = Mapping[int, tuple[Baseline, float | None, int]]
SecondScores = Mapping[str, Mapping[AdapterKind, Seeds]]  # by task and adapter kind


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a trial draws."""

    adapter: AdapterKind
    lr: float
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A trial's parameters, and how much the sampler knew when it drew them."""

    parameters: Parameters
    started: float  # Unix time
    n_known: int  # finished trials that the sampler could learn from


@dataclass(frozen=True, kw_only=True)
class TrialOutcome(Drawn):
    """The trial's fields of its result."""

    outcome: Outcome
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The fields of a result that a search reads."""

    metric: str  # the task's own
    validation: Mapping[str, float | None]  # by metric, at the best epoch; None: undefined (a constant prediction)
    best_epoch: int

    def __post_init__(self) -> None:
        if self.metric not in self.validation:
            raise ValueError(f"validation must have {self.metric}, but does not")

    @property
    def score(self) -> float | None:
        """The task's own metric on the validation part."""
        return self.validation[self.metric]


@dataclass(frozen=True, kw_only=True)
class TrialResult(Scored):
    """The fields of a trial's result that a search reads. `history`: one entry per epoch, with every metric."""

    history: tuple[Mapping[str, Any], ...]
    trial: TrialOutcome


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished trial."""

    cell: DrawnTrial
    outcome: Outcome
    validation: float | None  # the task's own metric at the best epoch; None: undefined (a constant prediction)
    best_epoch: int
    epochs: tuple[float | None, ...]  # the same metric after each epoch
    started: float  # Unix time at which its parameters were drawn
    wall_s: float

    @property
    def adapter(self) -> Adapter:
        return self.cell.adapter

    @property
    def training(self) -> Training:
        return self.cell.training


_read_score = decode.reader(float | None)


def finished_trial(cell: TrialCell, result: Mapping[str, Any]) -> Finished:
    """Read a finished trial from its result. Raises DamagedError."""
    try:
        read: TrialResult = decode.reader(TrialResult)(result)
        return Finished(
            cell=with_parameters(cell, read.trial.parameters),
            outcome=read.trial.outcome,
            validation=read.score,
            best_epoch=read.best_epoch,
            epochs=tuple(_read_score(entry[read.metric]) for entry in read.history),
            started=read.trial.started,
            wall_s=read.trial.wall_s,
        )
    except (decode.Unfit, KeyError, TypeError) as error:
        raise DamagedError(
            f"the result of {cell.id} must be a trial's, but is not: {error}; move the cell's folder away and submit "
            "again"
        ) from error


def with_parameters(cell: TrialCell, parameters: Parameters) -> DrawnTrial:
    """The trial with its parameters, under the same id. Raises KeyError if its search has no such adapter."""
    search = cell.trial.search
    by_kind = {adapter.kind: adapter for adapter in search.adapters}
    training = replace(search.training, lr=parameters.lr, batch_size=parameters.batch_size)
    return DrawnTrial.like(cell, adapter=by_kind[parameters.adapter], training=training)


def finished_trials(root: RunsRoot, cells: Iterable[Cell]) -> dict[str, list[Finished]]:
    """Trials with an intact result, by task and in the order of their numbers."""
    trials: dict[str, list[Finished]] = {}
    for cell in cells:
        if not isinstance(cell, TrialCell):
            continue
        try:
            result = root.cell(cell.id).result()
        except StoreError:
            continue  # the cell's state reports it
        if result is not None:
            trials.setdefault(cell.target, []).append(finished_trial(cell, result))
    return trials


def best_trial(trials: Iterable[Finished]) -> Finished | None:
    """The complete trial with the highest validation score, the earliest of equals."""
    scored = [trial for trial in trials if trial.outcome == "complete" and trial.validation is not None]
    return max(scored, key=lambda trial: trial.validation or 0.0, default=None)


def scores_by_type(trials: Iterable[Finished]) -> dict[AdapterKind, float]:
    """Adapter kind -> its best validation score among complete trials."""
    best: dict[AdapterKind, float] = {}
    for trial in trials:
        if trial.outcome == "complete" and trial.validation is not None:
            best[trial.adapter.kind] = max(trial.validation, best.get(trial.adapter.kind, trial.validation))
    return best


def with_second_stage(plan: Plan, finished: Mapping[str, list[Finished]]) -> Plan:
    """Add the second stage to the plan once every trial is finished; until then, `waiting` says what is missing."""
    use = plan.manifest.search
    if use is None or use.second_stage is None:
        return plan
    n_missing = len(plan.cells) - sum(map(len, finished.values()))
    if n_missing:
        return replace(plan, waiting=f"the second stage is planned when all trials are finished; {n_missing} are not")
    best = {task: best_trial(finished[task]) for task in plan.manifest.tasks}
    undefined = [task for task, trial in best.items() if trial is None]
    if undefined:
        why = f"the second stage needs a complete trial with a score for each task; {', '.join(undefined)} has none"
        return replace(plan, waiting=why)
    second = partial(_second, plan, use.search, use.second_stage.n_types, finished)
    cells = {cell.id: cell for task, trial in best.items() if trial for cell in second(task, trial)}
    return replace(plan, cells=(*plan.cells, *cells.values()))


def _second(
    plan: Plan, search: Search, n_types: int, finished: Mapping[str, list[Finished]], task: str, best: Finished
) -> Iterable[Cell]:
    """A task's cells of the second stage: the best types with the task's best batch size and learning rate."""
    by_kind = {adapter.kind: adapter for adapter in search.adapters}
    (backbone,) = plan.manifest.backbones
    scores = {name: scores_by_type(trials) for name, trials in finished.items()}
    types = best_types(scores, list(by_kind))
    for kind in types[:n_types]:
        for seed in plan.manifest.seeds:
            like = baseline_of(plan.manifest, plan.inputs, backbone, task, seed)
            yield replace(like, adapter=by_kind[kind], training=best.training)


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The settings that won for a task. `validation`: the trial's score, or the second stage's mean over seeds."""

    adapter: Adapter
    training: Training
    validation: float
    best_epoch: int
    cells: tuple[str, ...]


def second_stage_scores(root: RunsRoot, plan: Plan) -> SecondScores:
    """The scores of the second stage so far."""
    scores: dict[str, dict[AdapterKind, dict[int, tuple[Baseline, float | None, int]]]] = {}
    for cell in plan.cells:
        if not isinstance(cell, Baseline):
            continue
        try:
            result = root.cell(cell.id).result()
        except StoreError:
            continue
        if result is not None:
            row = scores.setdefault(cell.target, {}).setdefault(cell.adapter.kind, {})
            scored = _scored(cell, result)
            row[cell.seed] = (cell, scored.score, scored.best_epoch)
    return scores


def _scored(cell: Cell, result: Mapping[str, Any]) -> Scored:
    try:
        scored: Scored = decode.reader(Scored)(result)
    except decode.Unfit as error:
        raise DamagedError(
            f"the result of {cell.id} must have its validation score, but of its fields {error}; move the cell's "
            "folder away and submit again"
        ) from error
    return scored


def winners(
    plan: Plan, finished: Mapping[str, list[Finished]], second: SecondScores, *, overall: bool
) -> dict[str, Winner]:
    """By task: the type that won its second stage (with `overall`, the best mean rank); without one, its best trial.

    Raises UsageError while a needed result is missing.
    """
    missing = _undecided(plan, finished, second)
    if missing:
        raise UsageError(f"a search must be finished before its winners are frozen, but {missing}; submit it again")
    if not second:
        return {task: _trial_winner(task, best_trial(trials)) for task, trials in finished.items()}
    means = second_means(second)
    chosen: Mapping[str, AdapterKind | None]
    if overall:
        ranked = best_types(means, [adapter.kind for adapter in plan.search.search.adapters])
        everywhere = (kind for kind in ranked if all(kind in row for row in means.values()))
        chosen = dict.fromkeys(means, next(everywhere, None))
    else:
        chosen = {task: best_type(row) for task, row in means.items()}
    winner_of = {task: _second_winner(second[task][kind], means[task][kind]) for task, kind in chosen.items() if kind}
    lacking = [task for task in chosen if task not in winner_of]
    if lacking:
        raise UsageError(
            "an adapter type must have a score in every seed of the second stage to win, but none has one for "
            f"{', '.join(lacking)}; increase `n_trials`, or train longer"
        )
    return winner_of


def _undecided(plan: Plan, finished: Mapping[str, list[Finished]], second: SecondScores) -> str:
    """What is missing to choose the winners; empty if nothing is."""
    n_trials = sum(isinstance(cell, TrialCell) for cell in plan.cells) - sum(map(len, finished.values()))
    n_second = sum(isinstance(cell, Baseline) for cell in plan.cells)
    n_second -= sum(len(seeds) for row in second.values() for seeds in row.values())
    if plan.waiting:
        return plan.waiting
    if n_trials:
        return f"{n_trials} trials have no result"
    return f"{n_second} cells of the second stage have no result" if n_second else ""


def second_means(second: SecondScores) -> dict[str, dict[AdapterKind, float]]:
    """Mean score over seeds, by task and adapter kind; a kind with an undefined score is left out, and cannot win."""
    mean_of: dict[str, dict[AdapterKind, float]] = {}
    for task, row in second.items():
        for kind, seeds in row.items():
            scores = [score for _, score, _ in seeds.values() if score is not None]
            if len(scores) == len(seeds):
                mean_of.setdefault(task, {})[kind] = sum(scores) / len(scores)
        mean_of.setdefault(task, {})
    return mean_of


def best_type(means: Mapping[AdapterKind, float]) -> AdapterKind | None:
    """The kind with the highest mean, the first of equals; None where there is none."""
    if not means:
        return None
    kind: AdapterKind = max(means, key=means.__getitem__)
    return kind


def _trial_winner(task: str, best: Finished | None) -> Winner:
    if best is None or best.validation is None:
        raise UsageError(
            f"{task} must have a complete trial with a score to be frozen, but has none; increase `n_trials`"
        )
    return Winner(
        adapter=best.adapter,
        training=best.training,
        validation=best.validation,
        best_epoch=best.best_epoch,
        cells=(best.cell.id,),
    )


def _second_winner(seeds: Seeds, mean: float) -> Winner:
    first = next(iter(seeds.values()))[0]
    return Winner(
        adapter=first.adapter,
        training=first.training,
        validation=mean,
        best_epoch=round(sum(epoch for _, _, epoch in seeds.values()) / len(seeds)),
        cells=tuple(cell.id for cell, _, _ in seeds.values()),
    )


def preset_text(search: str, chosen: Mapping[str, Winner]) -> str:
    """The YAML of a frozen preset."""
    lines = [
        f"# Made by `empslurm search freeze {search}`; a grid manifest uses it as training: {{preset: THIS NAME}}",
        "# Winners were chosen by validation scores alone; no test score was looked at.",
        f"search: {search}",
        "selected_on: validation",
        "tasks:",
    ]
    for task, winner in chosen.items():
        fields = ", ".join(f"{name}: {value}" for name, value in winner.adapter.settings.items())
        lines += [
            f"  {task}:",
            f"    adapter: {{{fields}}}",
            f"    epochs: {winner.training.epochs}",
            f"    batch_size: {winner.training.batch_size}",
            f"    lr: {decimal(winner.training.lr)}",
            f"    best_epoch: {winner.best_epoch}",
            f"    validation: {decimal(winner.validation)}",
            f"    cells: [{', '.join(winner.cells)}]",
        ]
    return "\n".join(lines) + "\n"


def decimal(value: float) -> str:
    """The shortest text that a strict YAML reader reads as exactly this number."""
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    return text if "." in mantissa else f"{mantissa}.0{exponent}{power}"
