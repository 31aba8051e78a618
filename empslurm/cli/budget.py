"""`--budget`: which of the cells to run a number of hours pays for, for `plan`, `submit` and `resume`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm import api
from empslurm.cells import SCORED, Cell
from empslurm.cli.output import Output
from empslurm.config import Backbone
from empslurm.errors import UsageError
from empslurm.launch import cost
from empslurm.launch.profile import Profile
from empslurm.plan import Decision, Plan, left_out
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from empslurm.analysis.chances import Standing
    from empslurm.gather import Gathered
    from empslurm.launch.budget import Chosen, Unit

HOURS = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)(h|m)", re.ASCII)
MOST_NAMED = 4


def hours(text: str) -> float:
    """Hours from a text such as 40h, 2.5h or 90m."""
    match = HOURS.fullmatch(text.strip())
    value = float(match[1]) / (60 if match[2] == "m" else 1) if match else 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(
            f"must be a time above 0 with its unit, h for hours or m for minutes, but is {text!r}; write for example "
            "40h, 2.5h or 90m (GPU-hours where the profile has GPUs, else hours of jobs)"
        )
    return value


def argument(parser: argparse.ArgumentParser, text: str) -> None:
    """The option --budget."""
    text += ": GPU-hours (without GPUs, hours of jobs) such as 40h or 90m, by what finished cells took"
    parser.add_argument("--budget", type=hours, metavar="TIME", help=text)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The cells that a budget pays for, or a pilot that measures what cells take."""

    cells: tuple[Cell, ...]  # the most informative first
    sentences: tuple[str, ...]
    document: Mapping[str, Any]

    def say(self, out: Output) -> None:
        for sentence in self.sentences:
            out.paragraph(sentence)


def select(
    plan: Plan,
    root: RunsRoot,
    decisions: Sequence[Decision],
    profile: Profile,
    budget_h: float,
    data: Path,
    out: Output,
) -> Selection:
    """Choose among the cells that would run. Raises UsageError for the manifest of a search."""
    if plan.manifest.search is not None:
        raise UsageError(
            f"--budget must come with the manifest of a grid, but {plan.manifest.name} describes a search; set "
            "`n_trials` in the manifest instead"
        )
    device = cost.device_of(profile)
    done = cost.on_device(cost.measured(root, plan.cells), device)
    todo = [item.cell for item in decisions if item.action == "run" and item.cell.kind in SCORED]
    start_s = cost.start_s(root, plan.manifest.name, done, device)
    costs: dict[str, cost.CellCost] = {}
    unknown: list[Backbone] = []
    for backbone in dict.fromkeys(cell.backbone for cell in todo):
        own = cost.per_cell(
            [cell for cell in todo if cell.backbone == backbone],
            [one for one in done if one.backbone == backbone],
            start_s,
        )
        costs |= own
        unknown += [] if own else [backbone]
    if unknown:
        return _pilot(plan, decisions, unknown, profile, budget_h)
    from empslurm.launch import budget

    standings = _standings(plan, root, data, out) if any(one.kind == "transfer" for one in done) else {}
    share = cost.gpus_per_pack(profile) or 1.0
    chosen = budget.choose(
        plan,
        decisions,
        costs,
        budget_h * 3600 / share,
        known=standings,
        n_measured=len(done),
        pack_size=profile.pack_size,
    )
    idle = next(iter(left_out(plan, decisions)), "all are done, running or queued, or wait for `resume`")
    return _of_budget(chosen, profile, budget_h, share, started=start_s > 0, n_todo=len(todo), idle=idle)


def _unit(profile: Profile) -> str:
    return "GPU-hours" if profile.gpus else "job-hours"


def _standings(plan: Plan, root: RunsRoot, data: Path, out: Output) -> dict[Unit, Standing]:
    """What finished results say of the plan's pairs."""
    from empslurm.analysis.chances import Standing
    from empslurm.launch.budget import Unit
    from empslurm.report.judged import judged

    found: dict[Unit, Standing] = {}
    gathered = verified(plan, root, data, out)
    with out.console(error=True).status("verdicts so far"):
        for cell_id, _, verdicts in judged(gathered, margin=plan.manifest.margin):
            backbone = plan.by_id[cell_id].backbone
            for one in verdicts:
                decided = {
                    (pair.verdict.source, pair.verdict.target)
                    for pair in one.pairs
                    if pair.verdict.verdict not in ("inconclusive", "undecided")
                }
                for result in one.results:
                    found[Unit(backbone, result.target, one.fraction)] = Standing(
                        comparison=result.comparison,
                        decided=frozenset(
                            source for source in result.comparison.sources if (source, result.target) in decided
                        ),
                    )
    return found


def verified(plan: Plan, root: RunsRoot, data: Path, out: Output) -> Gathered:
    """The verified results of a plan, with a bar on stderr."""
    from rich.progress import Progress

    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("verifying results", total=None)
        return api.collect(plan, root, plan.manifest.registry, data, lambda n: progress.update(bar, advance=n))


def _pilot(
    plan: Plan, decisions: Sequence[Decision], unknown: Sequence[Backbone], profile: Profile, budget_h: float
) -> Selection:
    """The cells that measure backbones whose speed is unknown: nothing else is sent, since nothing may be guessed."""
    from empslurm.launch import budget

    device = cost.device_of(profile)
    coming = [item.cell.backbone for item in decisions if item.coming and item.cell.kind in SCORED]
    waiting = [backbone for backbone in unknown if backbone in coming]
    cells = budget.pilot(plan, decisions, [backbone for backbone in unknown if backbone not in waiting])
    where = f" on a {device}" if device else ""
    named = "" if len(plan.labels) == 1 else f" with {' or with '.join(plan.labels[backbone] for backbone in unknown)}"
    why = f"what a cell takes is not known: no cell of {plan.manifest.name}{named} has finished{where} yet"
    sentences = [f"The budget of {budget_h:.3g} {_unit(profile)} cannot be divided yet, since {why}."]
    if cells:
        trains = " and ".join(sorted({f"a {cell.kind}" for cell in cells}))
        sentences.append(
            f"This pilot of {len(cells)} {'cell' if len(cells) == 1 else 'cells'} measures it ({trains}): "
            f"{', '.join(cell.id for cell in cells[:MOST_NAMED])}"
            f"{'' if len(cells) <= MOST_NAMED else ', ...'}. When it has finished, run the same command again."
        )
    if waiting:
        sentences.append("Cells that will measure it run or are queued: run the same command when one has finished.")
    n_scored = sum(item.action == "run" and item.cell.kind in SCORED for item in decisions)
    n_run = sum(item.action == "run" for item in decisions)
    return Selection(
        cells=cells,
        sentences=tuple(sentences),
        document={
            "asked_h": budget_h,
            "unit": _unit(profile),
            "pilot": True,
            "hours": None,
            "n_measured": 0,
            "n_unseen": 0,
            "n_verdicts": 0,
            "n_left": n_scored - len(cells),
            "n_unpriced": n_run - n_scored,
            "sentences": sentences,
            "cells": [cell.id for cell in cells],
        },
    )


def _of_budget(
    chosen: Chosen, profile: Profile, budget_h: float, share: float, *, started: bool, n_todo: int, idle: str
) -> Selection:
    """Say what a budget pays for.

    `share`: GPUs of a pack. `started`: whether the start of packs was measured. `n_todo`: training cells that can run
    now; `idle`: why there is none.
    """
    estimate, unit = chosen.estimate, _unit(profile)
    low, middle, high = (value * share for value in (estimate.low_job_h, estimate.job_h, estimate.high_job_h))
    n = len(chosen.cells)
    if n:
        besides = "waiting" if started else "start-up and waiting"
        of = "1 finished cell" if estimate.n_measured == 1 else f"{estimate.n_measured:,} finished cells"
        sentences = [
            f"A budget of {budget_h:.3g} {unit} pays for {n:,} of the {n_todo:,} training cells to run: "
            f"{_number(middle)} {unit}, between {_number(low)} and {_number(high)} (from {of}; plus {besides})."
        ]
        sentences.append(_verdicts(chosen.n_verdicts))
    elif n_todo:
        sentences = [f"A budget of {budget_h:.3g} {unit} is too small for any of the {n_todo:,} training cells to run."]
    else:
        sentences = [f"No training cell can run now: {idle}."]
    if estimate.n_unseen:
        them = (
            "1 of these cells is of a target"
            if estimate.n_unseen == 1
            else f"{estimate.n_unseen:,} of them have targets"
        )
        sentences.append(f"{them} without a finished cell, and counted as the mean of the others.")
    if n and chosen.n_left:
        sentences.append(
            f"{chosen.n_left:,} training cells are left. When these have finished, the same command chooses by their "
            "results."
        )
    if chosen.n_unpriced:
        sentences.append(
            f"{chosen.n_unpriced:,} embeddings are left, since their time is not estimated: run the same command "
            "without --budget."
        )
    return Selection(
        cells=chosen.cells,
        sentences=tuple(sentences),
        document={
            "asked_h": budget_h,
            "unit": unit,
            "pilot": False,
            "hours": [low, middle, high],
            "n_measured": estimate.n_measured,
            "n_unseen": estimate.n_unseen,
            "n_verdicts": chosen.n_verdicts,
            "n_left": chosen.n_left,
            "n_unpriced": chosen.n_unpriced,
            "sentences": sentences,
            "cells": [cell.id for cell in chosen.cells],
        },
    )


def _number(value: float) -> str:
    """Hours with digits enough for short ones."""
    return f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def _verdicts(n: int) -> str:
    if n == 0:
        return "They add runs to pairs that can have a verdict already, or prepare later ones."
    return f"With them, {'1 more pair' if n == 1 else f'{n:,} more pairs'} can have a verdict."
