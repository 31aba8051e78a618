"""Continue a study from its bundle: a new folder with its manifest, cards and finished cells.

Cells that failed or never ended are not taken: they start anew. Where the bundle has no adapters, sources that
unfinished cells start from are not taken either, so that they are trained again.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from empslurm import files, resources
from empslurm.errors import StoreError, UsageError
from empslurm.plan import Plan
from empslurm.share.bundle.layout import PROJECT, StudyNote
from empslurm.share.study import Study
from empslurm.store import digests, results
from empslurm.store.runs import RunsRoot


@dataclass(frozen=True, kw_only=True)
class HandedOver:
    """The study that was written."""

    manifest: Path  # its file
    files: tuple[Path, ...]  # that people read and change
    n_cells: int  # planned
    n_done: int  # with a result in the new runs root
    again: tuple[str, ...]  # ids of finished sources that are trained again, because their adapters are not there


def refuse_used(folder: Path) -> None:
    """Raise UsageError where the folder of a new study is in use."""
    try:
        used = os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UsageError(f"{folder} must be accessible, but is not: {error.strerror}; choose another folder") from error
    if used:
        raise UsageError(f"{folder} must be a new or an empty folder, but is not; choose another name")


def hand_over(study: Study, note: StudyNote, bundle: Path, folder: Path) -> HandedOver:
    """Write the study of an unpacked bundle to a new folder. `bundle`: where it is unpacked.

    Raises UsageError where the folder is in use, StoreError where it cannot be written.
    """
    refuse_used(folder)
    here = Path(os.path.abspath(folder))
    beside = here.parent / f".{here.name}.{secrets.token_hex(4)}.tmp"
    done = [cell.id for cell in study.plan.cells if (study.root.cell(cell.id).result()) is not None]
    again = _again(study, frozenset(done))
    try:
        shutil.copytree(bundle / PROJECT, beside)
        _add_starter(beside)
        root = RunsRoot(beside / "runs")
        digests.write(root, digests.Digests(raw=note.raw, samples=note.samples, backbones=note.models))
        for name in (study.root.prepared.name, study.root.suitability.name):
            if (study.root.path / name).is_dir():
                shutil.copytree(study.root.path / name, root.path / name)
        for cell in done:
            if cell not in again:
                _copy_cell(study.root.cell(cell).path, root.cell(cell).path)
        here.mkdir(parents=True, exist_ok=True)
        for entry in sorted(beside.iterdir()):
            entry.rename(here / entry.name)
    except OSError as error:
        raise StoreError(f"{folder} must be writable, but is not: {error.strerror}; choose another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    manifest = here / Path(note.manifest).relative_to(PROJECT)
    people = sorted(path for path in here.rglob("*") if path.is_file() and not path.is_relative_to(here / "runs"))
    return HandedOver(
        manifest=manifest,
        files=tuple(folder / path.relative_to(here) for path in people),
        n_cells=len(study.plan.cells),
        n_done=len(done) - len(again),
        again=tuple(again),
    )


def _again(study: Study, done: frozenset[str]) -> list[str]:
    """Finished cells without adapters that a cell without a result starts from, in the plan's order."""
    wanted = {cell.starts_from for cell in study.plan.cells if cell.id not in done}
    sources = [cell for cell in study.plan.cells if cell.id in wanted and cell.id in done]
    return [cell.id for cell in sources if results.left_out(study.root.cell(cell.id).path)]


def _add_starter(project: Path) -> None:
    """Add the starter's profiles, and an empty folder for the data."""
    for path in sorted((resources.starter() / "slurm").glob("*.yaml")):
        files.write_bytes(project / "slurm" / path.name, path.read_bytes())
    (project / "data").mkdir(exist_ok=True)


def _copy_cell(source: Path, place: Path) -> None:
    """A cell's files; its result last, so that an interrupted copy is no finished cell."""
    names = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in sorted(names, key=lambda path: path.name == "result.json"):
        files.make_folder((place / path.relative_to(source)).parent)
        shutil.copyfile(path, place / path.relative_to(source))


def moved(study: Study, plan: Plan) -> str:
    """Why cells of the new study have other ids than those of the bundle; empty where all have the same."""
    lost = [cell for cell in study.plan.cells if cell.id not in plan.by_id]
    if not lost:
        return ""
    local = [backbone.name for backbone in study.plan.manifest.backbones if backbone.name.startswith("/")]
    cause = f"its backbone is the folder {local[0]} of another machine" if local else "another release wrote the bundle"
    return (
        f"{len(lost):,} of {len(study.plan.cells):,} cells have other ids here, such as {lost[0].id}, because {cause}: "
        "their results are in the bundle, but do not count in the new study; `empslurm gather --results BUNDLE` reads "
        "them"
    )
