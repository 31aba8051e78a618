"""`status`: cells by state and target, running ones, failures; from files and squeue."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.plan import Plan
from empslurm.store import CellState, RunsRoot

STATES = ("done", "running", "pending", "lost", "failed")
REFRESH_S = 2.0


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)
    parser.add_argument("--watch", action="store_true", help="refresh until nothing runs any more")


def summary(plan: Plan, states: Mapping[str, CellState], root: RunsRoot) -> dict[str, Any]:
    """Counts by state and target, running cells with their progress, failures with their last line."""
    by_target = {task: dict.fromkeys(STATES, 0) for task in plan.manifest.tasks}
    running, failed = [], []
    for cell in plan.cells:
        state = states[cell.id]
        by_target[cell.target][state.state] += 1
        if state.state == "running":
            claim = state.claim
            note = root.cell(cell.id).progress()
            running.append({"id": cell.id, "where": claim.host if claim else None, "who": state.why, **note})
        elif state.state == "failed":
            failed.append({"id": cell.id, "why": state.why})
    totals = {name: sum(row[name] for row in by_target.values()) for name in STATES}
    return {
        "manifest": plan.manifest.name,
        "totals": totals,
        "targets": by_target,
        "running": running,
        "failed": failed,
    }


def eta_s(note: Mapping[str, Any]) -> float | None:
    """Seconds a running cell still needs at its present rate; None before the first progress note."""
    rate, done = note.get("steps_per_s"), note.get("step")
    if not rate or done is None:
        return None
    return float((note["n_steps"] - done) / rate)


def show(value: Mapping[str, Any], out: Output) -> None:
    """The summary for people."""
    rows = [(task, *(row[name] for name in STATES)) for task, row in value["targets"].items()]
    rows.append(("all", *(value["totals"][name] for name in STATES)))
    out.table(str(value["manifest"]), ("target", *STATES), rows)
    if value["running"]:
        columns = ("running", "node", "by", "epoch", "step", "tokens/s", "left")
        out.table("", columns, [_running_row(note) for note in value["running"]])
    if value["failed"]:
        out.table("", ("failed", "why"), [(item["id"], str(item["why"]).splitlines()[-1]) for item in value["failed"]])


def _running_row(note: Mapping[str, Any]) -> tuple[object, ...]:
    left = eta_s(note)
    return (
        note["id"],
        note["where"],
        note["who"],
        f"{note['epoch']}/{note['epochs']}" if "epoch" in note else "-",
        f"{note['step']}/{note['n_steps']}" if "step" in note else "-",
        f"{note['tokens_per_s']:.0f}" if "tokens_per_s" in note else "-",
        "-" if left is None else time.strftime("%H:%M:%S", time.gmtime(left)),
    )


def run(given: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(given)
    value = summary(plan, common.states(plan, root), root)
    if given.watch and not out.json:
        value = _watch(plan, root, value, out)
    out.document(value)
    if not (given.watch and out.console().is_terminal):
        show(value, out)
    return 0


def _watch(plan: Plan, root: RunsRoot, value: dict[str, Any], out: Output) -> dict[str, Any]:
    """Redraw until nothing runs. In a pipe: wait without drawing."""
    while value["totals"]["running"]:
        if out.console().is_terminal:
            out.console().clear()
            show(value, out)
        time.sleep(REFRESH_S)
        value = summary(plan, common.states(plan, root), root)
    if out.console().is_terminal:
        out.console().clear()
        show(value, out)
    return value
