"""From the results of a search's trials to its second stage and its winners: on validation scores only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from empslurm.analysis.search import best_types
from empslurm.cells import Cell
from empslurm.config import Adapter, AdapterKind, Training
from empslurm.errors import DamagedError, StoreError
from empslurm.plan import Plan, baseline_of
from empslurm.store import RunsRoot

Outcome = Literal["complete", "pruned"]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trial that came to its end."""

    cell: Cell  # with the adapter and training that it drew
    outcome: Outcome
    validation: float | None  # the task's own metric at the best epoch; None: undefined (a constant prediction)
    best_epoch: int
    epochs: tuple[float | None, ...]  # the same metric after each epoch
    started: float  # Unix time at which its parameters were drawn
    wall_s: float

    @property
    def adapter(self) -> Adapter:
        assert self.cell.adapter is not None
        return self.cell.adapter

    @property
    def training(self) -> Training:
        return self.cell.hyper_parameters


def finished_trial(cell: Cell, result: Mapping[str, Any]) -> Finished:
    """A trial from its result. Raises DamagedError."""
    try:
        drawn, metric = result["trial"], result["metric"]
        return Finished(
            cell=with_parameters(cell, drawn["parameters"]),
            outcome=drawn["outcome"],
            validation=result["validation"][metric],
            best_epoch=result["best_epoch"],
            epochs=tuple(entry[metric] for entry in result["history"]),
            started=drawn["started"],
            wall_s=drawn["wall_s"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the result of {cell.id} must be a trial's, but is not: {error}; move it away") from error


def with_parameters(cell: Cell, parameters: Mapping[str, Any]) -> Cell:
    """The trial as it is trained; its id stays. Raises KeyError where a parameter is missing or of no adapter of it."""
    if cell.trial is None:
        raise TypeError(f"a cell of kind {cell.kind} is no trial")
    search = cell.trial.search
    by_kind = {adapter.kind: adapter for adapter in search.adapters}
    training = replace(search.training, lr=parameters["lr"], batch_size=parameters["batch_size"])
    return replace(cell, adapter=by_kind[parameters["adapter"]], training=training)


def finished_trials(root: RunsRoot, cells: Iterable[Cell]) -> dict[str, list[Finished]]:
    """Trials with a sound result, by task and in the order of their numbers."""
    made: dict[str, list[Finished]] = {}
    for cell in cells:
        if cell.trial is None:
            continue
        try:
            result = root.cell(cell.id).result()
        except StoreError:
            continue  # its state says so
        if result is not None:
            made.setdefault(cell.target, []).append(finished_trial(cell, result))
    return made


def best_trial(trials: Iterable[Finished]) -> Finished | None:
    """The complete trial with the highest validation score, the earliest of equals."""
    scored = [trial for trial in trials if trial.outcome == "complete" and trial.validation is not None]
    return max(scored, key=lambda trial: trial.validation or 0.0, default=None)


def scores_by_type(trials: Iterable[Finished]) -> dict[str, float]:
    """Adapter kind -> its best validation score among complete trials."""
    best: dict[str, float] = {}
    for trial in trials:
        if trial.outcome == "complete" and trial.validation is not None:
            best[trial.adapter.kind] = max(trial.validation, best.get(trial.adapter.kind, trial.validation))
    return best


def second_stage(plan: Plan, finished: Mapping[str, list[Finished]]) -> tuple[Plan, str]:
    """The plan with its second stage once every trial is through, and why it is not there yet ("" when it is)."""
    use = plan.manifest.search
    if use is None or use.second_stage is None:
        return plan, ""
    n_missing = len(plan.cells) - sum(map(len, finished.values()))
    if n_missing:
        return plan, f"the second stage is planned when all trials are through; {n_missing} are not yet"
    best = {task: best_trial(finished[task]) for task in plan.manifest.tasks}
    undefined = [task for task, trial in best.items() if trial is None]
    if undefined:
        return (
            plan,
            f"the second stage needs a complete trial with a score in each study; {', '.join(undefined)} has none",
        )
    kinds = [adapter.kind for adapter in use.search.adapters]
    types: list[AdapterKind] = best_types({task: scores_by_type(trials) for task, trials in finished.items()}, kinds)
    by_kind = {adapter.kind: adapter for adapter in use.search.adapters}
    cells = {}
    for task, trial in best.items():
        for kind in types[: use.second_stage.n_types]:
            for seed in plan.manifest.seeds:
                like = baseline_of(plan.manifest, plan.inputs, task, seed, 1.0, "all")
                assert trial is not None
                cell = replace(like, adapter=by_kind[kind], training=trial.training)
                cells[cell.id] = cell
    return replace(plan, cells=(*plan.cells, *cells.values())), ""
