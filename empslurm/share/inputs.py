"""What `gather --results` reads: tables of results, runs roots and bundles, one or several labs' of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import api, gather, resources
from empslurm.errors import UsageError
from empslurm.gather import Gathered, Input
from empslurm.gather.labs import Kind
from empslurm.share.bundle import is_bundle, opened
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, registry

if TYPE_CHECKING:
    from empslurm.reference import Rating
    from empslurm.report.notebook import Study

Advance = Callable[[int], None]  # gets the number of cells that were verified


@dataclass(frozen=True, kw_only=True)
class Read:
    """Everything that was read. `margin`: of the one bundle's manifest; None: none, or several inputs."""

    name: str  # for the folder of its tables: of the file or folder that was read, or of all labs together
    gathered: Gathered
    margin: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Found:
    """One input as read."""

    kind: Kind
    gathered: Gathered
    margin: float | None = None


@dataclass(frozen=True, kw_only=True)
class _How:
    """What a reader needs beside the path."""

    known: Registry  # tasks, for titles
    data: Path
    predictions: Path | None
    stack: ExitStack  # keeps a bundle's unpacked files until the report is made
    advance: Advance


def pooled(
    inputs: Sequence[str | Path],
    *,
    predictions: Sequence[str | Path] = (),
    ratings: Sequence[Rating] | None = None,
    grouped: bool = True,
    margin: float | None = None,
) -> Study:
    """Analyse the results of several labs, and pool their changes: frames `pooled`, `pooled-labs` and `labs`.

    `inputs`: tables of results, runs roots and bundles, one per lab. `predictions`: none, or a folder with ID.csv or
    ID.parquet of each run for every table, in their order. The others as in `gathered`. Raises UsageError, DataError
    for a wrong table, StoreError for a runs root that cannot be read or a bundle that was changed.
    """
    from empslurm import report

    if not inputs:
        raise UsageError("inputs must have an input, but is empty; name tables of results, runs roots or bundles")
    paths, folders = [Path(path) for path in inputs], [Path(path) for path in predictions]
    with read(paths, folders, known=registry(), data=resources.data(None)) as found:
        chosen = found.margin if margin is None else margin
        return report.study(found.gathered, ratings=ratings, grouped=grouped, margin=chosen)


@contextmanager
def read(
    paths: Sequence[Path],
    predictions: Sequence[Path],
    *,
    known: Registry,
    data: Path,
    advance: Advance = lambda n: None,
) -> Iterator[Read]:
    """Read one input as it is, or several as labs. `predictions`: none, or one folder per table, in their order.

    `known`: the tasks that have titles. The paths of predictions are valid inside the `with` block. Raises UsageError
    for what is no input, DataError for a wrong table, StoreError for a runs root that cannot be read, DamagedError for
    a bundle that was changed.
    """
    kinds = {path: _kind(path) for path in paths}
    _refuse_twice(paths)
    folders = _predictions(kinds, predictions)
    with ExitStack() as stack:
        found = [
            _READERS[kinds[path]](
                path,
                _How(known=known, data=data, predictions=folders.get(path), stack=stack, advance=advance),
            )
            for path in paths
        ]
        if len(found) == 1:
            yield Read(name=_stem(paths[0]), gathered=found[0].gathered, margin=found[0].margin)
        else:
            names = _unique([_stem(path) for path in paths])
            joint = gather.together(
                [
                    Input(name=name, path=path.name or str(path), kind=one.kind, gathered=one.gathered)
                    for name, path, one in zip(names, paths, found, strict=True)
                ]
            )
            yield Read(name=joint.name, gathered=joint)


# ---- kinds -----------------------------------------------------------------------------------------------------------


def _table(path: Path, how: _How) -> _Found:
    return _Found(kind="table", gathered=gather.from_file(path, how.known, how.predictions))


def _runs_root(path: Path, how: _How) -> _Found:
    gathered = api.collect(None, RunsRoot(path), how.known, how.data, how.advance)
    return _Found(kind="runs root", gathered=replace(gathered, name=_stem(path)))


def _bundle(path: Path, how: _How) -> _Found:
    study = how.stack.enter_context(opened(path))
    gathered = study.gathered(how.advance)
    return _Found(kind="bundle", gathered=gathered, margin=study.plan.manifest.margin)


_READERS: dict[Kind, Callable[[Path, _How], _Found]] = {"table": _table, "runs root": _runs_root, "bundle": _bundle}


def is_runs_root(path: Path) -> bool:
    """Whether a path is a folder with cells. Raises UsageError where it cannot be looked at."""
    try:
        return (path / "cells").is_dir()
    except OSError as error:
        raise UsageError(f"{path} must be accessible, but is not: {error.strerror}; get read access to it") from error


def _kind(path: Path) -> Kind:
    """Raises UsageError for what is not there, and for a folder that is nothing that can be read."""
    if is_bundle(path):
        return "bundle"
    if is_runs_root(path):
        return "runs root"
    if path.is_dir():
        raise UsageError(
            f"{path} must be a table of results, a runs root or a bundle, but is a folder without cells/ and without "
            "ro-crate-metadata.json; name the folder that has cells/, or a file"
        )
    if not os.path.exists(path):
        raise UsageError(
            f"{path} must be a table of results, a runs root or a bundle, but is not there; check the path"
        )
    return "table"


def _refuse_twice(paths: Sequence[Path]) -> None:
    seen = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"--results must name different inputs, but names {path} twice; name each lab's once")
        seen.add(path.resolve())


def _predictions(kinds: dict[Path, Kind], folders: Sequence[Path]) -> dict[Path, Path]:
    """Table -> the folder of its predictions."""
    tables = [path for path, kind in kinds.items() if kind == "table"]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise UsageError(f"--predictions must be a folder, but {missing} is not; give the folder of ID.csv files")
    if folders and len(folders) != len(tables):
        raise UsageError(
            f"--predictions must name one folder per table, in the same order, but names {len(folders)} for "
            f"{len(tables)}; name a folder for each (an empty one where there are none)"
        )
    return dict(zip(tables, folders, strict=bool(folders))) if folders else {}


def _stem(path: Path) -> str:
    """A lab's name: its file's without the ending, or its folder's; of a folder `runs`, the one around it."""
    whole = path.resolve()
    if whole.name == "runs" and whole.parent.name:
        return whole.parent.name
    return (whole.name if whole.is_dir() else whole.stem) or "runs"


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with a number where one is there already."""
    taken: list[str] = []
    for name in names:
        n, other = 2, name
        while other in taken:
            other, n = f"{name}-{n}", n + 1
        taken.append(other)
    return taken
