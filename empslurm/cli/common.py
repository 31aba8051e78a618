"""Load the manifest, the profile, the plan and the cells' states (shared by several verbs)."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from empslurm import api, resources
from empslurm.cells import Cell
from empslurm.cli import advice
from empslurm.cli.completion import completed, manifest_names, profile_names
from empslurm.cli.output import Output
from empslurm.errors import SchedulerError, UsageError
from empslurm.launch import states as launched
from empslurm.launch.profile import Profile, load_profile
from empslurm.launch.queue import Queue
from empslurm.plan import Plan
from empslurm.store.cell_folder import CellState
from empslurm.store.runs import RunsRoot
from empslurm.validation.reader import refusal


def manifest_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The MANIFEST argument."""
    text = "read this manifest: a YAML file, or the name of one in manifests/"
    added = parser.add_argument("manifest", metavar="MANIFEST", nargs="?" if optional else None, help=text)
    completed(added, manifest_names)


def profile_argument(parser: argparse.ArgumentParser, text: str) -> None:
    """The option --profile."""
    completed(parser.add_argument("--profile", help=text), profile_names)


def is_manifest(name: str) -> bool:
    """Whether a name is that of a manifest, or the path of a file."""
    return resources.find("manifests", name) is not None


def choose_profile(name: str | None) -> Profile:
    """The profile asked for; without one, `local` where there is no Slurm. Raises UsageError on a login node."""
    if name is not None:
        path = resources.find("slurm", name)
        if path is None:
            raise refusal(name, resources.names("slurm"), "profile or a YAML file")
        return load_profile(path)
    if shutil.which("sbatch") is not None:
        own = ", ".join(sorted(path.stem for path in Path("slurm").glob("*.yaml")))
        raise UsageError(
            "a profile must be named where sbatch is present, since a login node is not for training; add --profile "
            f"NAME ({own or 'none is in slurm/ yet'}; `empslurm profile NAME` writes one for this cluster), or add "
            "--profile local to train on this machine"
        )
    return Profile(name="local", kind="local")


def load_plan(options: argparse.Namespace) -> tuple[Plan, RunsRoot]:
    """The plan of the manifest that the command line names, and the runs root."""
    plan = api.planned(options.manifest, runs=options.runs, data=options.data)
    return plan, RunsRoot(options.runs)


def states(plan: Plan, root: RunsRoot, queue: Queue | None = None) -> Mapping[str, CellState]:
    """The computed state of every planned cell."""
    return launched.states(plan.by_id, root, queue)


def require_slurm(*commands: str) -> None:
    """Raise UsageError where commands of Slurm are not on this machine."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        raise UsageError(
            f"the commands {', '.join(commands)} must be on PATH, but {', '.join(missing)} cannot be found; run this "
            "on the cluster's login node (perhaps after `module load slurm`), or work without Slurm by --profile local"
        )


def require_answer(queue: Queue, to: str) -> None:
    """Raise an error that names the true cause where Slurm's queue is not known."""
    if queue.jobs is None:
        require_slurm("squeue")
        raise SchedulerError(
            f"squeue must answer to {to}, but does not; wait until `sinfo` answers, then run the same command again"
        )


@contextmanager
def counting(what: str, out: Output, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar; what it yields is called with the number of things that are done."""
    from rich.progress import Progress

    with Progress(console=out.console(error=True), transient=True) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda n: progress.update(bar, advance=n)


def warn(cells: Sequence[Cell], profile: Profile, out: Output) -> None:
    """Warn, before cells run, of what would waste hours; the JSON document has the warnings too."""
    for text in advice.sentences(advice.WARNINGS, advice.situation(cells, profile)):
        out.warn(text)
