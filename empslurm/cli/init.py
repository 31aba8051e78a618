"""`init`: a folder with a study that runs at once, to be replaced by your own tasks."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from empslurm import files, resources
from empslurm.cli.output import Output
from empslurm.errors import UsageError
from empslurm.launch.profile import NAME

STANDS_FOR_THE_NAME = "NAME"  # in the text files that are copied


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="write there; its last part becomes the name of the study"
    )


def _name(folder: Path) -> str:
    """The study's name. Raises UsageError where the folder has no name that a study can have, or is in use."""
    name = Path(os.path.abspath(folder)).name
    if not re.fullmatch(NAME, name, re.ASCII):
        raise UsageError(
            "the last part of FOLDER must be 1 to 64 letters, digits and _ . -, starting with a letter or digit, but "
            f"is {name[:80]!r}; try `empslurm init my-study`"
        )
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} must be a new or an empty folder, but is not; choose another name")
    return name


def run(options: argparse.Namespace, out: Output) -> int:
    name, starter = _name(options.folder), resources.starter()
    written: list[str] = []
    for path in sorted(path for path in starter.rglob("*") if path.is_file()):
        inner = path.relative_to(starter)
        if path.parent.name == "manifests":
            inner = inner.with_name(f"{name}.yaml")
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".csv":
            text = text.replace(STANDS_FOR_THE_NAME, name)
        files.write_bytes(options.folder / inner, text.encode())
        written.append(str(options.folder / inner))
    out.document({"name": name, "folder": str(options.folder), "files": written})
    out.line(f"{options.folder} is a study of two invented tasks that runs at once:")
    out.line(f"  cd {options.folder}")
    for verb, what in (
        ("plan", "list every training run and what would happen with it"),
        ("submit", "train: about two minutes on two cores"),
        ("gather", "say which source helps which target, and write the report"),
    ):
        out.line(f"  empslurm {verb} {name:<{max(1, 24 - len(verb))}} # {what}")
    out.line("Then put your own cards into cards/ and their tables into data/; README.md says what is where.")
    return 0
