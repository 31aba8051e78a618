"""`cancel`: end the queued and running jobs of a manifest; what they saved stays."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict

from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.errors import SchedulerError, StoreError
from empslurm.launch import local, markers, scontrol, states
from empslurm.launch import queue as queues
from empslurm.launch import submission as submissions


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm.launch.slurm import is_here, look_for

    plan, root = common.load_plan(options)
    # First, because a `submit` that waits for room would fill the places that become free.
    closed = submissions.cancel(root, plan.manifest.name)
    if closed:
        out.warn(
            f"a `submit` is still sending {closed[-1].name} and goes on, since its folder is not writable; stop it too"
        )
    _, unresolved = markers.scan(root)
    for marker in unresolved:  # a submission that was interrupted, or is still being sent
        with contextlib.suppress(StoreError, SchedulerError, FileNotFoundError):
            array = markers.load_array(marker)
            job_id = look_for(array) if is_here(array) else None
            if job_id:
                array.resolve(job_id)
    queue = states.queue_of(root)
    here = local.end_runs(root, plan.manifest.name, states.states(plan.by_id, root, queue), out.say)
    _say_local(plan.manifest.name, here, out)  # before asking Slurm, which may not answer
    common.require_answer(queue, "cancel jobs")
    jobs = states.jobs_of_cells(root, queue)
    ours = {jobs[cell].id: jobs[cell].runs for cell in plan.by_id if cell in jobs}
    ends = submissions.end_jobs(root, plan.manifest.name)
    telling = queues.ask(ends) or {} if ends else {}
    scontrol.cancel([*sorted(ours), *(job.id for job in telling.values() if job.name in ends and not job.ended)])
    n_running = sum(ours.values())
    hidden = states.unseen([cell for cell in plan.by_id if cell not in jobs], root, queue)
    value = {
        "manifest": plan.manifest.name,
        "jobs": sorted(ours),
        "n_running": n_running,
        "unseen": list(hidden),
        "local": asdict(here),
    }
    out.document(value)
    if ours or not here.n_ended:
        out.line(f"{plan.manifest.name}: {len(ours)} jobs are cancelled, {n_running} of them were running")
    for why, n_cells in hidden.items():
        out.line(f"{n_cells} cells may be queued or running where this command cannot see them: {why}", style="yellow")
    if ours or here.n_ended:
        out.line("run the same `submit` to go on from their checkpoints")
    return 0


def _say_local(manifest: str, here: local.Ended, out: Output) -> None:
    """Report the runs that Slurm does not know."""
    if here.n_ended:
        out.line(f"{manifest}: {here.n_ended} runs on this machine are ended; what they saved stays")
    if here.n_saving:
        out.warn(
            f"{here.n_saving} runs on this machine were asked to end and are still saving; run `empslurm status "
            f"{manifest}` in a minute"
        )
    for host, n_cells in here.elsewhere.items():
        out.warn(
            f"{n_cells} cells run on {host}, where no process can be ended from here; its `submit` ends when it sees "
            f"this; if `status` still shows them after a minute, run `cancel {manifest}` on {host}"
        )
    for who, n_cells in here.others.items():
        out.warn(f"{n_cells} cells are run by {who}, which `submit {manifest}` did not start; it goes on")
