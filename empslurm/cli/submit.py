"""`submit` and `resume`: run what is missing, here or on the cluster."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from empslurm.cells import Cell
from empslurm.cli import advice, budget, common
from empslurm.cli.output import Output
from empslurm.cli.prepare import prepare_all
from empslurm.errors import SchedulerError, UsageError
from empslurm.launch import local, snapshot, submission
from empslurm.launch.endings import endings, repeated
from empslurm.launch.liveness import liveness
from empslurm.launch.lock import submitting
from empslurm.launch.permissions import share
from empslurm.launch.profile import Profile
from empslurm.launch.queue import Queue
from empslurm.launch.states import jobs_of_cells, queue_of, unseen
from empslurm.plan import Pack, Plan, counts, decide, packs, refuse_kinds, refuse_lengths
from empslurm.store.runs import RunsRoot

LOOK_EVERY_S = 0.5
# Within a second or two Slurm says why a new job waits.
LOOKS, LOOK_AFTER_S = 3, 1.0


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)
    common.profile_argument(
        parser, "run there: a YAML file, or the name of one in slurm/ (default: local without Slurm)"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait at a queue limit; submit the rest next time"
    )
    budget.argument(parser, "run only the most informative of the missing cells, as many as this time pays for")
    parser.add_argument("--clean", action="store_true", help="refuse code that is not committed to git")


def run(options: argparse.Namespace, out: Output) -> int:
    profile = common.choose_profile(options.profile)
    if options.clean:
        snapshot.refuse_dirty()
    if profile.kind == "local":
        local.slots(profile, 1)  # refuses, before the work begins, a profile that asks for more than this machine has
        return _decide_and_run(options, profile, out)
    common.require_slurm("sbatch", "squeue", "scontrol")
    from empslurm.launch.script import refuse_percent
    from empslurm.launch.slurm import reconcile

    root = RunsRoot(options.runs)
    refuse_percent(root)
    share(root, profile)  # before anything is written there
    with submitting(root, out.say, wait=not options.no_wait):
        reconcile(root, out.say)
        return _decide_and_run(options, profile, out)


def _decide_and_run(options: argparse.Namespace, profile: Profile, out: Output) -> int:
    """Print what is missing, and run or send it; the exit status."""
    plan, root = common.load_plan(options)
    queue = queue_of(root)
    if profile.kind == "slurm":
        common.require_answer(queue, "submit")
    decisions = decide(plan, common.states(plan, root, queue), rerun_failed=options.verb == "resume")
    refuse_lengths(plan, decisions)
    if not profile.python:  # that Python has packages of its own
        refuse_kinds(plan, decisions)
    for text in advice.of_manifest(plan.manifest):
        out.warn(text)
    wanted = [decision.cell for decision in decisions if decision.action == "run"]
    provisional = [cell for cell in wanted if plan.is_provisional(cell)]
    if provisional:
        first = provisional[0]
        unknown = f"the data of {first.data.dataset}" if first.data.raw is None else f"backbone {first.backbone.name}"
        raise UsageError(
            f"every id must be final before anything runs, but {len(provisional)} are provisional (such as "
            f"{first.id}) until {unknown} is here; run `empslurm prepare {options.manifest}`"
        )
    tally = counts([decision.action for decision in decisions])
    out.say(f"{plan.manifest.name}: " + ", ".join(f"{count} {action}" for action, count in tally.items()))
    skipped = [item for item in decisions if item.action == "skip"]
    for reason, count in counts([item.why.partition(":")[0] if item.coming else item.why for item in skipped]).items():
        out.say(f"  {count} skipped: {reason}")
    selection = None
    if options.budget is not None and wanted:
        selection = budget.select(plan, root, decisions, profile, options.budget, options.data, out)
        selection.say(out)
        wanted = list(selection.cells)
    said = {} if selection is None else {"budget": selection.document}
    if selection is not None and not wanted:
        out.document({"manifest": plan.manifest.name, "submitted": 0, "decisions": tally, **said})
        return 0 if selection.document["pilot"] or not selection.document["n_left"] else 1
    if not wanted:
        out.document({"manifest": plan.manifest.name, "submitted": 0, "decisions": tally})
        out.line("nothing to run" if not skipped else "nothing more to run")
        return 0 if all(item.coming for item in skipped) else 1
    if profile.kind == "slurm":
        _look_back(wanted, profile, root, queue, options.verb, out)
    common.warn(wanted, profile, out)
    used = {plan.label(cell) for cell in wanted}
    backbones = {item: label for item, label in plan.labels.items() if label in used}
    unusable = prepare_all(plan, backbones, root, options, out).not_here
    for label, why in unusable.items():
        out.warn(f"{sum(plan.label(cell) == label for cell in wanted)} cells on {label} are left out: {why}")
    wanted = [cell for cell in wanted if plan.label(cell) not in unusable]
    if profile.kind == "slurm":
        status = _send(plan, wanted, profile, root, options, queue, out, said)
    else:
        status = _run_here(plan, wanted, profile, root, options.data, out, said)
    return status or (1 if unusable else 0)


def _look_back(wanted: Sequence[Cell], profile: Profile, root: RunsRoot, queue: Queue, verb: str, out: Output) -> None:
    """Warn of how earlier jobs of these cells ended. Raises SchedulerError where the next would fail the same way."""
    from empslurm.launch.script import digest_of

    names = [cell.id for cell in wanted]
    for why, n_cells in unseen(names, root, queue).items():
        out.warn(
            f"{n_cells} of these cells may be queued or running where this command cannot see them, and would be sent "
            f"again: {why}"
        )
    early = endings(names, root, queue).early
    twice = repeated(early, digest_of(profile))
    if twice and verb != "resume":
        last, before = twice
        raise SchedulerError(
            f"jobs must start on their nodes, but {before.job_id} and {last.job_id} ended before they started, both "
            f"saying: {last.line or 'nothing'}; read {last.log}, change `setup`, `python` or `partition` in "
            f"{profile.name}.yaml, then run `empslurm resume`"
        )
    for row in list(early.values())[:1]:
        count = "1 cell has a job" if len(early) == 1 else f"{len(early)} cells have jobs"
        out.warn(f"{row[0].why}; in all, {count} that ended before starting; `submit` sends such cells again")


def _send(
    plan: Plan,
    wanted: Sequence[Cell],
    profile: Profile,
    root: RunsRoot,
    options: argparse.Namespace,
    queue: Queue,
    out: Output,
    said: Mapping[str, Any],
) -> int:
    """Queue the cells as Slurm arrays and return without waiting for results."""
    from empslurm.launch.slurm import Sender

    code = snapshot.take(root)
    manifest = plan.manifest
    grouped = packs(wanted, profile.pack_size)
    created = submission.create(
        root, manifest.name, options.data, manifest.cards, grouped, submission.node_settings(profile)
    )
    waiting_for = {cell: job.id for cell, job in jobs_of_cells(root, queue).items()}
    sender = Sender(root, created, profile, code, waiting_for=waiting_for, wait=not options.no_wait, say=out.say)
    sent = sender.send()
    n_sent = len(grouped) - sent.n_left
    stuck = _stuck(root, sent.jobs)
    value = {
        "manifest": manifest.name,
        "submission": created.id,
        "submitted": len(wanted),
        "packs": n_sent,
        "packs_left": sent.n_left,
        "jobs": list(sent.jobs),
        "cancelled": sent.cancelled,
        "never": stuck,
        **said,
    }
    out.document(value)
    if sent.cancelled:
        out.line(f"{manifest.name}: cancelled while it was being sent; its jobs are cancelled too", style="yellow")
        return 1
    out.line(f"{manifest.name}: {n_sent} packs of {len(wanted)} cells are queued as {len(sent.jobs)} arrays")
    for reason, fix in stuck.items():
        out.line(f"some jobs can never start, {reason}: {fix}", style="red")
    if sent.n_left:
        out.line(f"{sent.n_left} packs wait for room in the queue: run the same command again later", style="yellow")
    out.line(f"see `empslurm status {options.manifest} --watch`")
    return 1 if stuck else 0


def _stuck(root: RunsRoot, sent: Sequence[str]) -> dict[str, str]:
    """Why some of the arrays just sent can never start, and what to do."""
    for _ in range(LOOKS):
        time.sleep(LOOK_AFTER_S)
        jobs = queue_of(root).jobs or {}
        mine = [job for job in jobs.values() if job.id.partition("_")[0] in sent]
        if not any(job.is_new for job in mine):
            break
    return {job.reason.strip("()"): job.fix for job in mine if job.fix is not None}


def _run_here(
    plan: Plan,
    wanted: Sequence[Cell],
    profile: Profile,
    root: RunsRoot,
    data_root: Path,
    out: Output,
    said: Mapping[str, Any],
) -> int:
    """Train in processes on this machine and wait for them."""
    manifest = plan.manifest
    grouped = packs(wanted, profile.pack_size)
    slots = local.slots(profile, len(grouped))
    created = submission.create(root, manifest.name, data_root, manifest.cards, grouped)
    with _bar(root, created, len(slots), out) as look:
        status = local.run(root, created, profile, slots, look=look, say=out.say)
    after = {cell.id: root.cell(cell.id).state(liveness(queue_of(root))) for cell in created.cells}
    tally = counts([state.state for state in after.values()])
    failed = {cell: state.why for cell, state in after.items() if state.state == "failed"}
    out.document(
        {"manifest": manifest.name, "submitted": len(created.cells), "states": tally, "failed": failed, **said}
    )
    for cell, why in failed.items():
        out.line(f"{cell} failed: {why}", style="red")
    out.line(f"{manifest.name}: " + ", ".join(f"{count} {state}" for state, count in tally.items()))
    if status == local.EXIT_INTERRUPTED:
        out.line("stopped; run the same command to go on from the checkpoints")
    elif status and not failed:
        out.line(f"a train process ended early; its log: {created.folder(root).path}", style="red")
    return 0 if set(tally) == {"done"} else 1


@contextmanager
def _bar(root: RunsRoot, created: submission.Submission, n_slots: int, out: Output) -> Iterator[local.Look]:
    """Show how many cells have ended; what it yields is called again and again."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    open_cells = {cell.id for cell in created.cells}
    logs = ", ".join(str(created.folder(root).log(slot)) for slot in range(n_slots))
    at_once = f", {n_slots} packs at once" if n_slots > 1 else ""
    out.say(f"training {len(open_cells)} cells here{at_once}; log: {logs}")
    with Progress(*columns, console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task("starting", total=len(open_cells))
        looked = 0.0

        def look(places: Sequence[int]) -> None:
            nonlocal looked
            if time.monotonic() - looked < LOOK_EVERY_S:
                return
            looked = time.monotonic()
            for cell in sorted(open_cells):
                folder = root.cell(cell).path
                if (folder / "result.json").exists() or (folder / "error.json").exists():
                    open_cells.discard(cell)
            running = [_current(root, created.packs[index], open_cells) for index in places]
            known = [cell for cell in running if cell is not None]
            more = f" and {len(known) - 1} more packs" if n_slots > 1 and len(known) > 1 else ""
            description = f"{known[0]}{more}" if known else "starting"
            progress.update(bar, completed=len(created.cells) - len(open_cells), description=description)

        yield look


def _current(root: RunsRoot, pack: Pack, open_cells: Collection[str]) -> str | None:
    """A cell of a pack that has started and has not ended."""
    begun = (cell.id for cell in pack.cells if cell.id in open_cells and root.cell(cell.id).claims_folder.exists())
    return next(begun, None)
