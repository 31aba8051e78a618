"""`profile`: ask the cluster and write slurm/NAME.yaml for it, with a reason for each choice."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from dataclasses import asdict
from pathlib import Path

from empslurm import files
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.errors import UsageError
from empslurm.launch.profile import NAME, load_profile
from empslurm.launch.site import facts
from empslurm.launch.site.proposal import Proposal, propose

COMMANDS = ("sbatch", "sinfo", "scontrol")


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="write slurm/NAME.yaml, which must not exist yet")
    parser.add_argument(
        "--partition", metavar="P", help="write it for this partition (default: the best one for training)"
    )


def _target(name: str) -> Path:
    """The file of the new profile. Raises UsageError where the name is not valid or is taken."""
    if not re.fullmatch(NAME, name, re.ASCII):
        raise UsageError(
            f"NAME must be 1 to 64 letters, digits and _ . -, starting with a letter or digit, but is {name[:80]!r}; "
            "choose another one"
        )
    if name.endswith(".yaml"):
        raise UsageError(
            f"NAME must be a name, but is the file name {name}; write {name.removesuffix('.yaml') or 'mine'}"
        )
    path = Path("slurm", f"{name}.yaml")
    if os.path.lexists(path):
        raise UsageError(f"{path} must not exist, but does; choose another name, or move that file away")
    if os.path.isfile(name):
        raise UsageError(f"no file may be named {name} here, since --profile {name} would read it; choose another name")
    return path


def _write(path: Path, text: str) -> None:
    """Create the file, after a test that it can be read. Raises UsageError where it exists meanwhile."""
    with tempfile.TemporaryDirectory(prefix="empslurm-") as folder:
        trial = Path(folder) / path.name
        trial.write_text(text)
        load_profile(trial)
    if not files.create_exclusive(path, text.encode()):
        raise UsageError(f"{path} must not exist, but was written meanwhile; choose another name, or use that file")
    load_profile(path)


def run(options: argparse.Namespace, out: Output) -> int:
    path = _target(options.name)
    common.require_slurm(*COMMANDS)
    proposal = propose(facts.read(), options.name, options.partition)
    _write(path, proposal.text)
    _tell(options.name, path, proposal, out)
    return 0


def _tell(name: str, path: Path, proposal: Proposal, out: Output) -> None:
    """Print the answer first, then every choice with its reason, then what to do next."""
    out.line(f"{path} is written: {proposal.summary}")
    for sentence in proposal.warnings:
        out.warn(sentence)
    out.document(
        {
            "profile": name,
            "file": str(path),
            "choices": [asdict(choice) for choice in proposal.choices],
            "alternatives": proposal.alternatives,
        }
    )
    rows = [(choice.field, _shown(choice.value), choice.why) for choice in proposal.choices]
    out.table("", ("field", "value", "why"), rows)
    others = [item["partition"] for item in proposal.alternatives["partitions"]]
    if others:
        more = ", ..." if len(others) > 5 else ""
        out.line(f"Other partitions fit too ({', '.join(others[:5])}{more}): the file has them in comments.")
    out.line(f"Next: `empslurm doctor --profile {name} --probe`, then `empslurm submit MANIFEST --profile {name}`")


def _shown(value: str | int | float | bool | None) -> str:
    """A value as it is in the file."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
