"""`init`: a folder with a study that runs at once, to be replaced by your own tasks; or the study of a bundle."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import shutil
from pathlib import Path

from empslurm import files, resources
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.errors import StoreError, UsageError
from empslurm.launch.profile import NAME

STANDS_FOR_THE_NAME = "NAME"  # in the text files that are copied


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="write there; its last part becomes the name of the study"
    )
    text = "continue the study of this bundle, a folder or a zip file, under its own name"
    parser.add_argument("--from", dest="bundle", metavar="BUNDLE", type=Path, help=text)


def _name(folder: Path) -> str:
    """The study's name. Raises UsageError where the folder has no name that a study can have, or is in use."""
    try:
        name = Path(os.path.abspath(folder)).name
        used = os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UsageError(f"{folder} must be accessible, but is not: {error.strerror}; choose another folder") from error
    if not re.fullmatch(NAME, name, re.ASCII):
        raise UsageError(
            "the last part of FOLDER must be 1 to 64 letters, digits and _ . -, starting with a letter or digit, but "
            f"is {name[:80]!r}; try `empslurm init my-study`"
        )
    if name in {path.name for path in resources.starter().iterdir()}:  # it would be read as that file
        raise UsageError(
            f"FOLDER must not be named as a file of the study, but is {name}; try `empslurm init my-study`"
        )
    if used:
        raise UsageError(f"{folder} must be a new or an empty folder, but is not; choose another name")
    return name


def _texts(name: str) -> dict[Path, str]:
    """Path below the folder -> text, of every file of a new study."""
    starter, texts = resources.starter(), {}
    for path in sorted(path for path in starter.rglob("*") if path.is_file()):
        inner = path.relative_to(starter)
        if path.parent.name == "manifests":
            inner = inner.with_name(f"{name}.yaml")
        text = path.read_text(encoding="utf-8")
        texts[inner] = text if path.suffix == ".csv" else text.replace(STANDS_FOR_THE_NAME, name)
    return texts


def _write(folder: Path, name: str) -> list[Path]:
    """Write the study beside its folder, then move it there: a failure leaves nothing behind. Raises StoreError."""
    here = Path(os.path.abspath(folder))
    beside = here.parent / f".{name}-{secrets.token_hex(4)}.tmp"
    texts = _texts(name)
    try:
        for inner, text in texts.items():
            files.write_bytes(beside / inner, text.encode())
        here.mkdir(parents=True, exist_ok=True)
        for entry in sorted(beside.iterdir()):
            entry.rename(here / entry.name)
    except OSError as error:
        raise StoreError(f"{folder} must be writable, but is not: {error.strerror}; choose another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [folder / inner for inner in texts]


def _continue(options: argparse.Namespace, out: Output) -> int:
    """Write the study of a bundle, and say how to go on."""
    from empslurm import api
    from empslurm.share import bundle, handover
    from empslurm.share.bundle.opening import read_note

    handover.refuse_used(options.folder)
    with common.counting("checking the bundle", out) as advance, bundle.opened(options.bundle, advance) as study:
        unpacked = study.root.path.parent
        made = handover.hand_over(study, read_note(unpacked), unpacked, options.folder)
        plan = api.planned(made.manifest, runs=options.folder / "runs", data=options.folder / "data")
        moved = handover.moved(study, plan)
    if moved:
        out.warn(moved)
    inside = made.manifest.relative_to(Path(os.path.abspath(options.folder)))
    by_name = inside.parent == Path("manifests")
    manifest = plan.manifest.name if by_name and inside.stem == plan.manifest.name else inside.as_posix()
    out.document({"name": plan.manifest.name, "folder": str(options.folder), "files": [str(f) for f in made.files]})
    out.line(
        f"{options.folder} is the study {plan.manifest.name}: {made.n_done:,} of its {made.n_cells:,} cells are done"
    )
    if made.again:
        out.line(
            f"{len(made.again):,} sources will be trained again, because the bundle has no adapters and unfinished "
            "cells start from theirs"
        )
    lacking = plan.inputs.missing
    if lacking and made.n_done < made.n_cells:
        out.line(f"to run the rest, put the data of {', '.join(lacking)} below {options.folder / 'data'}:")
        for text in lacking.values():
            out.line(f"  {text}")
    out.line(f"  cd {shlex.quote(str(options.folder))}")
    out.line(f"  empslurm gather {manifest}  # its tables; needs no data")
    if made.n_done < made.n_cells:
        out.line(f"  empslurm submit {manifest} --profile laptop  # the rest")
    return 0


def run(options: argparse.Namespace, out: Output) -> int:
    if options.bundle is not None:
        return _continue(options, out)
    name = _name(options.folder)
    written = _write(options.folder, name)
    out.document({"name": name, "folder": str(options.folder), "files": [str(path) for path in written]})
    out.line(f"{options.folder} is a study of two invented tasks that runs at once:")
    out.line(f"  cd {shlex.quote(str(options.folder))}")
    commands = {
        f"plan {name}": "list every training run and what would happen with it",
        f"submit {name} --profile laptop": "train on this machine: about two minutes on two cores",
        f"gather {name}": "say which source helps which target, and write the report",
    }
    for command, what in commands.items():
        out.line(f"  empslurm {command:<{max(map(len, commands))}}  # {what}")
    out.line("Then put your own cards into cards/ and their tables into data/; README.md says what is where.")
    return 0
