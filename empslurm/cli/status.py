"""`status`: cells by state and target, running cells and failures, from files and squeue."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from empslurm import metrics
from empslurm.cli import common, legend
from empslurm.cli.output import Output
from empslurm.launch import cost, hold, policy
from empslurm.launch.endings import endings
from empslurm.launch.queue import Job, Queue
from empslurm.launch.states import jobs_of_cells, queue_of, unseen
from empslurm.launch.submission_dir import of_manifest
from empslurm.plan import Plan, decide, left_out
from empslurm.search.results import finished_trials
from empslurm.store.cell_folder import CellState
from empslurm.store.claims import Claim
from empslurm.store.runs import RunsRoot

STATES = ("done", "running", "queued", "pending", "lost", "failed")
MAX_LEFT_S = 1e9  # limit for a damaged progress note
REFRESH_S = 2.0  # between two looks at files,
ASK_EVERY_S = 15.0  # and at least between two questions to Slurm: many people watch one controller
SHOWN = 20  # rows of running cells and of queued jobs for people


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)
    parser.add_argument("--watch", action="store_true", help="refresh until nothing runs or is queued")


def summary(plan: Plan, root: RunsRoot, queue: Queue) -> dict[str, Any]:
    """Counts by state and target, running cells with their progress, failures, and what was spent, as JSON values."""
    states = common.states(plan, root, queue)
    by_target = {task: dict.fromkeys(STATES, 0) for task in plan.manifest.tasks}
    by_backbone = {label: dict.fromkeys(STATES, 0) for label in plan.labels.values()}
    running, failed, flagged, queued, idle = [], [], [], dict[str, str](), []
    for cell in plan.cells:
        state = states[cell.id]
        by_target.setdefault(cell.target, dict.fromkeys(STATES, 0))[state.state] += 1
        label = plan.label(cell)
        if label is not None:
            by_backbone[label][state.state] += 1
        if state.state == "running" and state.claim is not None:
            running.append(_running(cell.id, state.claim, root))
        elif state.state == "queued":
            queued[cell.id] = state.why
        elif state.state == "failed":
            kind, _, message = state.why.partition(": ")
            failed.append({"id": cell.id, "class": kind, "why": message or kind})
        elif state.state in ("pending", "lost"):
            idle.append(cell.id)
        if state.flags:
            flagged.append({"id": cell.id, "flags": list(state.flags)})
    ended = endings(idle, root, queue)
    left = left_out(plan, decide(plan, states)) if idle else {}
    jobs = jobs_of_cells(root, queue) if queued else {}
    searched = {"studies": studies(plan, states, root)} if plan.manifest.search is not None else {}
    totals = {name: sum(row[name] for row in by_target.values()) for name in STATES}
    return {
        "manifest": plan.manifest.name,
        "totals": totals,
        "targets": by_target,
        "backbones": by_backbone,
        **searched,
        "running": running,
        "queued": [{"why": why, "n_cells": n} for why, n in Counter(queued.values()).items()],
        "never": never([jobs[cell] for cell in queued if cell in jobs]),
        "failed": failed,
        "flagged": flagged,
        "left_out": [{"why": why, "n_cells": n} for why, n in left.items()],
        "died_early": [
            {"id": cell, "job": row[0].job_id, "log": str(row[0].log), "why": row[0].why}
            for cell, row in ended.early.items()
        ],
        "saved": sorted(ended.saved),
        "unseen": [{"why": why, "n_cells": n} for why, n in unseen(idle, root, queue).items()],
        "queue_answers": queue.jobs is not None if root.submissions.is_dir() else None,
        "held": held(root, plan.manifest.name),
        "spent": asdict(cost.spent_on(root, plan.manifest.name)),
    }


def never(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The jobs that can never start: the reason, what to do, and how many cells wait for them."""
    stuck = Counter((job.reason.strip("()"), job.fix) for job in jobs if job.fix is not None)
    return [{"reason": reason, "fix": fix, "n_cells": n} for (reason, fix), n in stuck.items()]


def studies(plan: Plan, states: Mapping[str, CellState], root: RunsRoot) -> dict[str, dict[str, int]]:
    """The trials of each task by outcome. `again`: running trials that an earlier process had begun."""
    finished = finished_trials(root, plan.cells)
    by_task = {}
    for task in plan.manifest.tasks:
        of_task = [states[cell.id] for cell in plan.cells if cell.kind == "trial" and cell.target == task]
        running = [state for state in of_task if state.state == "running"]
        outcomes = [trial.outcome for trial in finished.get(task, ())]
        by_task[task] = {
            "complete": outcomes.count("complete"),
            "pruned": outcomes.count("pruned"),
            "running": len(running),
            "again": sum(state.claim is not None and state.claim.number > 1 for state in running),
            "waiting": sum(state.state in ("queued", "pending") for state in of_task),
            "killed": sum(state.state == "lost" for state in of_task),
            "failed": sum(state.state == "failed" for state in of_task),
        }
    return by_task


def _running(cell_id: str, claim: Claim, root: RunsRoot) -> dict[str, Any]:
    """A running cell: who runs it, in which attempt, and its progress."""
    progress = root.cell(cell_id).progress()
    note = progress.known if progress and progress.time >= claim.started else {}  # else of an earlier attempt
    who = {"id": cell_id, "where": claim.host, "who": claim.who, "attempt": claim.number, **note}
    return {**who, "left_s": eta_s(note)}


def held(root: RunsRoot, manifest: str) -> str:
    """Why the rest of the newest submission of a manifest may not start; empty when it may."""
    ours = of_manifest(root, manifest)
    cause = hold.of(ours[-1]) if ours else None
    return str(cause) if cause is not None else ""


def eta_s(note: Mapping[str, Any]) -> float | None:
    """Seconds a running cell still needs at its present rate; None before the first progress note."""
    rate, done, all_steps = note.get("steps_per_s"), note.get("step"), note.get("n_steps")
    if not rate or done is None or all_steps is None:
        return None
    return min(max(0.0, float((all_steps - done) / rate)), MAX_LEFT_S)


def show(value: Mapping[str, Any], out: Output) -> None:
    """Print the summary for people."""
    rows = [(task, *(row[name] for name in STATES)) for task, row in value["targets"].items()]
    rows.append(("all", *(value["totals"][name] for name in STATES)))
    out.table(str(value["manifest"]), ("target", *STATES), rows)
    if len(value["backbones"]) > 1:
        rows = [(label, *(row[name] for name in STATES)) for label, row in value["backbones"].items()]
        out.table("", ("backbone", *STATES), rows)
    legend.explain(["lost"] if value["totals"]["lost"] else [], out)
    if value.get("studies"):
        columns = ("study", *next(iter(value["studies"].values())))
        out.table("", columns, [(task, *row.values()) for task, row in value["studies"].items()])
    if value["running"]:
        columns = ("running", "node", "by", "attempt", "epoch", "step", "tokens/s", "left")
        out.table("", columns, [_running_row(note) for note in value["running"][:SHOWN]])
        _and_more(value["running"], out)
    if value["queued"]:
        out.table("", ("queued", "cells"), [(item["why"], item["n_cells"]) for item in value["queued"][:SHOWN]])
        _and_more(value["queued"], out)
    for item in value["never"]:
        out.line(
            f"{item['n_cells']} cells wait for jobs that can never start, {item['reason']}: {item['fix']}", style="red"
        )
    if value["left_out"]:
        rows = [(item["why"], item["n_cells"]) for item in value["left_out"][:SHOWN]]
        out.table("", ("left out by `submit`", "cells"), rows)
        _and_more(value["left_out"], out)
    if value["died_early"]:
        died = Counter(item["why"] for item in value["died_early"])
        out.table("", ("died before they started", "cells"), died.most_common(SHOWN))
    if value["saved"]:
        out.line(f"{len(value['saved'])} cells were saved when their jobs ended: the next `submit` goes on from there")
    for item in value["unseen"]:
        out.line(
            f"{item['n_cells']} cells may be queued or running where this command cannot see them: {item['why']}",
            style="yellow",
        )
    if value["failed"]:
        rows = _failures(value["failed"])
        out.table("", ("failed", "cells", "such as", "last line"), rows)
        for name in dict.fromkeys(name for name, *_ in rows if name in policy.BY_NAME):
            out.line(f"{name}: {policy.BY_NAME[name].advice}")
    if value["flagged"]:
        alike = Counter(flag for item in value["flagged"] for flag in item["flags"])
        such = {flag: next(item["id"] for item in value["flagged"] if flag in item["flags"]) for flag in alike}
        rows = [(metrics.FLAGS.get(flag, flag), n, such[flag]) for flag, n in alike.most_common()]
        out.table("", ("done, but did not learn", "cells", "such as"), rows)
        out.line(
            "as each run noted at its end (older versions note less); `gather` judges all runs from their predictions"
        )
    if value["queue_answers"] is False and value["totals"]["done"] != sum(value["totals"].values()):
        out.line("squeue does not answer: queued cells are not seen, and may count as pending or lost", style="yellow")
    if value["held"]:
        out.line(f"the rest was held back: {value['held']}; solve this, then submit again", style="red")
    if value["spent"]["n_starts"]:
        out.line(f"spent: {cost.Spent(**value['spent'])}")


def _and_more(rows: Sequence[object], out: Output) -> None:
    if len(rows) > SHOWN:
        out.line(f"... and {len(rows) - SHOWN:,} more; --json has them all")


def _failures(failed: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, str, str]]:
    """Failures by class and last line, the most frequent first."""
    alike: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for item in failed:
        line = next((line for line in reversed(str(item["why"]).splitlines()) if line.strip()), "")
        key = (str(item["class"]), hold.signature(str(item["class"]), line))
        alike.setdefault(key, []).append((str(item["id"]), line))
    rows = [(kind, len(items), items[0][0], items[0][1]) for (kind, _), items in alike.items()]
    return sorted(rows, key=lambda row: -row[1])


def _running_row(note: Mapping[str, Any]) -> tuple[object, ...]:
    left = note["left_s"]
    return (
        note["id"],
        note["where"],
        note["who"],
        note["attempt"],
        f"{note['epoch']:g}/{note['epochs']:g}" if {"epoch", "epochs"} <= set(note) else "-",
        f"{note['step']:g}/{note['n_steps']:g}" if {"step", "n_steps"} <= set(note) else "-",
        f"{note['tokens_per_s']:.0f}" if "tokens_per_s" in note else "-",
        "-" if left is None else time.strftime("%H:%M:%S", time.gmtime(left)),
    )


def run(options: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(options)
    queue = queue_of(root, every_s=ASK_EVERY_S if options.watch else 0.0)
    value = summary(plan, root, queue)
    if options.watch:
        value = _watch(plan, root, queue, value, out)
    out.document(value)
    if not (options.watch and not out.json and out.console().is_terminal):
        show(value, out)
    return 1 if options.watch and value["never"] else 0


def _watch(plan: Plan, root: RunsRoot, queue: Queue, value: dict[str, Any], out: Output) -> dict[str, Any]:
    """Redraw until nothing runs and nothing that can start is queued. In a pipe: wait without drawing."""
    drawn = out.console().is_terminal and not out.json
    while True:
        if drawn:
            out.console().clear()
            show(value, out)
        stuck = sum(item["n_cells"] for item in value["never"])
        if not value["totals"]["running"] and value["totals"]["queued"] == stuck:
            return value
        time.sleep(REFRESH_S)
        value = summary(plan, root, queue)
