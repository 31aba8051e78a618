"""What several verbs need: the manifest by name, the plan with the world's facts, the cells' states."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from empslurm import api
from empslurm.cells import Cell
from empslurm.cli import advice
from empslurm.cli.output import Output
from empslurm.errors import UsageError
from empslurm.launch import states as launched
from empslurm.launch.profile import Profile, load_profile
from empslurm.launch.queue import Queue
from empslurm.plan import Plan
from empslurm.store.cell_folder import CellState
from empslurm.store.runs import RunsRoot

PROFILES = Path("slurm")


def manifest_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The MANIFEST argument."""
    text = "a file, or the name of one in manifests/"
    parser.add_argument("manifest", metavar="MANIFEST", nargs="?" if optional else None, help=text)


def choose_profile(name: str | None) -> Profile:
    """The profile asked for; without one, `local` where there is no Slurm. Raises UsageError on a login node."""
    if name is not None:
        places = (Path(name), *(place / f"{name}.yaml" for place in api.places(PROFILES, "slurm")))
        path = next((path for path in places if os.path.isfile(path)), None)
        if path is None:
            known = ", ".join(api.names(PROFILES, "slurm"))
            raise UsageError(f"the profile must be a YAML file or one of: {known}; but {name!r} is neither")
        return load_profile(path)
    if shutil.which("sbatch") is not None:
        raise UsageError(
            "a profile must be named where sbatch is present, since a login node is not for training; "
            f"choose one with --profile: {', '.join(api.names(PROFILES, 'slurm'))}"
        )
    return Profile(name="local", kind="local")


def load_plan(options: argparse.Namespace) -> tuple[Plan, RunsRoot]:
    """The plan of the manifest that was asked for."""
    plan = api.planned(options.manifest, runs=options.runs, data=options.data)
    return plan, RunsRoot(options.runs)


def states(plan: Plan, root: RunsRoot, queue: Queue | None = None) -> Mapping[str, CellState]:
    """The computed state of every planned cell."""
    return launched.states(plan.by_id, root, queue)


def warn(cells: Sequence[Cell], profile: Profile, out: Output) -> None:
    """Say before cells run what would waste hours; the JSON document has it too."""
    for text in advice.sentences(advice.WARNINGS, advice.situation(cells, profile)):
        out.warn(text)
