"""Load the manifest, the profile, the plan and the cells' states (shared by several verbs)."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from empslurm.backbones import hidden_size, max_tokens, resolve
from empslurm.cells import Cell
from empslurm.cli import advice
from empslurm.cli.completion import completed, manifest_names, profile_names
from empslurm.cli.names import MANIFESTS, PROFILES, manifests, refusal
from empslurm.cli.output import Output
from empslurm.errors import SchedulerError, UsageError
from empslurm.launch import states as launched
from empslurm.launch.profile import Profile, load_profile, profiles
from empslurm.launch.queue import Queue
from empslurm.manifest.load import Manifest, load_manifest
from empslurm.plan import Inputs, Plan, expand
from empslurm.search.results import finished_trials, with_second_stage
from empslurm.store.cell_folder import CellState
from empslurm.store.runs import RunsRoot
from empslurm.tasks.raw import locate


def manifest_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The MANIFEST argument."""
    text = "read this manifest: a YAML file, or the name of one in manifests/"
    added = parser.add_argument("manifest", metavar="MANIFEST", nargs="?" if optional else None, help=text)
    completed(added, manifest_names)


def profile_argument(parser: argparse.ArgumentParser, text: str) -> None:
    """The option --profile."""
    completed(parser.add_argument("--profile", help=text), profile_names)


def find_manifest(name: str) -> Path:
    """A path as it is, or manifests/NAME.yaml. Raises UsageError with the nearest name and all others."""
    for path in (Path(name), MANIFESTS / f"{name}.yaml"):
        if os.path.isfile(path):  # False too where the name cannot be one
            return path
    raise refusal(name, manifests(), "manifest or a YAML file")


def is_manifest(name: str) -> bool:
    """Whether a name is that of a manifest, or the path of a file."""
    try:
        find_manifest(name)
    except UsageError:
        return False
    return True


def choose_profile(name: str | None) -> Profile:
    """The profile asked for; without one, `local` where there is no Slurm. Raises UsageError on a login node."""
    if name is not None:
        path = next((path for path in (Path(name), PROFILES / f"{name}.yaml") if os.path.isfile(path)), None)
        if path is None:
            raise refusal(name, profiles(PROFILES), "profile or a YAML file")
        return load_profile(path)
    if shutil.which("sbatch") is not None:
        raise UsageError(
            "a profile must be named where sbatch is present, since a login node is not for training; "
            f"choose one with --profile: {', '.join(profiles(PROFILES))}"
        )
    return Profile(name="local", kind="local")


def inputs(manifest: Manifest, data_root: Path, root: RunsRoot) -> Inputs:
    """Digests of the data and the backbone on this machine, and the pinned digests of what is not here."""
    raw: dict[str, str | None] = {}
    missing: dict[str, str] = {}
    notes: dict[str, str] = {}
    for dataset_id in manifest.data:
        located = locate(manifest.registry.datasets[dataset_id], data_root, root.prepared)
        raw[dataset_id] = located.raw_digest
        if located.state == "missing":
            missing[dataset_id] = located.problem
        elif located.state != "found" or located.problem:
            notes[dataset_id] = located.problem or f"{dataset_id} is {located.state} data"
    backbone = resolve(manifest.backbone)
    encoder = resolve(manifest.embed.encoder) if manifest.embed else None
    return Inputs(
        raw=raw,
        missing=missing,
        notes=notes,
        backbone_digest=backbone.digest,
        backbone_problem=backbone.problem,
        hidden_size=hidden_size(backbone),
        max_tokens=max_tokens(backbone),
        encoder_digest=encoder.digest if encoder else None,
        encoder_problem=encoder.problem if encoder else "",
    )


def load_plan(options: argparse.Namespace) -> tuple[Plan, RunsRoot]:
    """The plan of the manifest that the command line names, and the runs root."""
    root = RunsRoot(options.runs)
    manifest = load_manifest(find_manifest(options.manifest))
    plan = expand(manifest, inputs(manifest, options.data, root))
    if manifest.search is not None:
        plan = with_second_stage(plan, finished_trials(root, plan.cells))
    return plan, root


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
        raise SchedulerError(f"squeue must answer to {to}, but does not; is the controller up? try `sinfo`")


def warn(cells: Sequence[Cell], profile: Profile, out: Output) -> None:
    """Warn, before cells run, of what would waste hours; the JSON document has the warnings too."""
    for text in advice.sentences(advice.WARNINGS, advice.situation(cells, profile)):
        out.warn(text)
