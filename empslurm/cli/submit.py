"""`submit` and `resume`: run what is missing, here or on the cluster."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.cli.prepare import prepare_all
from empslurm.errors import UsageError
from empslurm.launch import local, submission
from empslurm.launch.liveness import liveness
from empslurm.plan import Plan, counts, decide, packs
from empslurm.profile import Profile, load_profile, profiles
from empslurm.store import RunsRoot

POLL_S = 0.5
PROFILES = Path("slurm")


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)
    parser.add_argument("--profile", help="where to run: a file, or the name of one in slurm/")


def choose_profile(name: str | None) -> Profile:
    """The profile asked for; without one, `local` where there is no Slurm. Raises UsageError on a login node."""
    if name is not None:
        path = next((path for path in (Path(name), PROFILES / f"{name}.yaml") if path.is_file()), None)
        if path is None:
            known = ", ".join(profiles(PROFILES)) or "none here"
            raise UsageError(f"the profile must be a YAML file or one of: {known}; but {name!r} is neither")
        return load_profile(path)
    if shutil.which("sbatch") is not None:
        raise UsageError(
            "a profile must be named where sbatch is present, since a login node is not for training; "
            f"choose one with --profile: {', '.join(profiles(PROFILES))}"
        )
    return Profile(name="local", kind="local")


def run(given: argparse.Namespace, out: Output) -> int:
    profile = choose_profile(given.profile)
    plan, root = common.load_plan(given)
    decisions = decide(plan, common.states(plan, root), rerun_failed=given.verb == "resume")
    wanted = [decision.cell for decision in decisions if decision.action == "run"]
    provisional = [cell.id for cell in wanted if plan.is_provisional(cell)]
    if provisional:
        raise UsageError(
            f"every id must be final before anything runs, but {len(provisional)} are provisional (such as "
            f"{provisional[0]}); put the data in place, see `empslurm data status`"
        )
    tally = counts([decision.action for decision in decisions])
    out.say(f"{plan.manifest.name}: " + ", ".join(f"{count} {action}" for action, count in tally.items()))
    for reason, count in counts([item.why for item in decisions if item.action == "skip"]).items():
        out.say(f"  {count} skipped: {reason}")
    if not wanted:
        out.document({"manifest": plan.manifest.name, "submitted": 0, "decisions": tally})
        out.line("nothing to run")
        return 0 if "skip" not in tally else 1
    prepare_all(plan, root, given, out)
    if profile.kind == "slurm":
        from empslurm.launch.slurm import submit

        return submit(plan, wanted, profile, root, given.data, out)
    return _run_here(plan, wanted, profile, root, given.data, out)


def _run_here(plan: Plan, wanted: list, profile: Profile, root: RunsRoot, data_root: Path, out: Output) -> int:  # type: ignore[type-arg]
    """Train in a process of this machine and wait for it."""
    manifest = plan.manifest
    made = submission.create(root, manifest.name, data_root, manifest.cards, packs(wanted, profile.pack_size))
    status = local.run(
        root,
        made,
        n_processes=profile.num_processes,
        checkpoint_minutes=profile.checkpoint_minutes,
        watch=_watcher(root, made, out),
    )
    after = {cell.id: root.cell(cell.id).state(liveness()) for cell in made.cells}
    tally = counts([state.state for state in after.values()])
    failed = {cell: state.why for cell, state in after.items() if state.state == "failed"}
    out.document({"manifest": manifest.name, "submitted": len(made.cells), "states": tally, "failed": failed})
    for cell, why in failed.items():
        out.line(f"{cell} failed: {why}", style="red")
    out.line(f"{manifest.name}: " + ", ".join(f"{count} {state}" for state, count in tally.items()))
    if status == local.EXIT_INTERRUPTED:
        out.line("stopped; the same command goes on from the checkpoints")
    elif status and not failed:
        out.line(f"the train process ended early; its log: {made.path(root).parent}", style="red")
    return 0 if set(tally) == {"done"} else 1


def _watcher(
    root: RunsRoot, made: submission.Submission, out: Output
) -> Callable[[subprocess.Popen[bytes], Path], None]:
    """Show a bar of finished cells while the process runs."""

    def watch(process: subprocess.Popen[bytes], log: Path) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        open_cells = {cell.id for cell in made.cells}
        out.say(f"training {len(open_cells)} cells here; log: {log}")
        with Progress(*columns, console=out.console(error=True), transient=True) as progress:
            bar = progress.add_task("starting", total=len(open_cells))
            while True:
                ended = _ended(process)
                for cell in sorted(open_cells):
                    folder = root.cell(cell).path
                    if (folder / "result.json").exists() or (folder / "error.json").exists():
                        open_cells.discard(cell)
                current = next((cell for cell in open_cells if (root.cell(cell).path / "claims").exists()), None)
                progress.update(bar, completed=len(made.cells) - len(open_cells), description=current or "starting")
                if ended:
                    return

    return watch


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True
