"""Find a dataset's files below the data root and say whether they are the pinned ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from empslurm import files, ids
from empslurm.errors import EmpslurmError
from empslurm.tasks.schema import Dataset, Form, RawFile

FileState = Literal["found", "altered", "sample", "missing"]
SAMPLE_NOTE = "sample.json"
MAX_FOLDERS = 10_000  # a data root is no whole disk


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a dataset is. `raw_digest`: of the files found, else the pinned one, else None (provisional ids)."""

    state: FileState
    form: Form | None = None
    paths: Mapping[str, Path] = field(default_factory=dict)  # RawFile.name -> path
    raw_digest: str | None = None
    problem: str = ""


def forms_digest(form: Form, sums: Mapping[str, str]) -> str:
    """One digest over a form's files, by name and content."""
    return ids.digest([form.name, sorted([name, sums[name]] for name in sums)])


def pinned_digest(dataset: Dataset) -> str | None:
    """The digest of the first form, if all of its files are pinned."""
    form = dataset.forms[0]
    sums = {file.name: file.sha256 for file in form.files if file.sha256 is not None}
    return forms_digest(form, sums) if len(sums) == len(form.files) else None


def _folders(dataset: Dataset, data_root: Path) -> list[Path]:
    """DATA/<dataset> first, then every folder below DATA, nearest first; links that leave the root are not followed."""
    own = data_root / dataset.id
    found = [folder for folder in (own, data_root) if folder.is_dir()]
    for parent, children, _ in os.walk(data_root):
        children[:] = sorted(child for child in children if not child.startswith("."))
        found += [Path(parent) / child for child in children]
        if len(found) > MAX_FOLDERS:
            break
    return list(dict.fromkeys(found))


def _find(file: RawFile, folders: list[Path], root: Path) -> Path | None:
    """A file by its name, which may hold folders (`annotated/proud.csv`)."""
    for folder in folders:
        path = folder / file.name
        if path.is_file() and path.resolve().is_relative_to(root):
            return path
    return None


def locate(dataset: Dataset, data_root: Path, cache_root: Path) -> Located:
    """The first form whose files are all there. Never writes below `data_root`; checksums are kept below `cache_root`."""
    root = data_root.resolve()
    folders = _folders(dataset, data_root) if data_root.is_dir() else []
    lacking = ""
    for form in dataset.forms:
        near = _near(form, folders)
        paths = {file.name: path for file in form.files if (path := _find(file, near, root)) is not None}
        if len(paths) == len(form.files):
            return _judge(dataset, form, paths, data_root, cache_root)
        if paths and not lacking:
            absent = [file.name for file in form.files if file.name not in paths]
            lacking = f"{len(paths)} of {len(form.files)} files are there, {absent[0]} is not; "
    problem = f"{dataset.id} must be below {data_root}, but is missing: {lacking}{dataset.obtain}"
    return Located(state="missing", raw_digest=pinned_digest(dataset), problem=problem)


def _near(form: Form, folders: list[Path]) -> list[Path]:
    """Only folders that hold the form's first file: a dataset's files stand together."""
    first = form.files[0].name
    here = [folder for folder in folders if (folder / first).is_file()]
    return here[:1] or folders


def _judge(dataset: Dataset, form: Form, paths: Mapping[str, Path], data_root: Path, cache_root: Path) -> Located:
    sums = _sums(paths, cache_root)
    made = {"form": form, "paths": paths, "raw_digest": forms_digest(form, sums)}
    differing = [file.name for file in form.files if file.sha256 is not None and sums[file.name] != file.sha256]
    if not differing:
        return Located(state="found", **made)  # type: ignore[arg-type]
    if _is_sample(paths, sums, data_root):
        return Located(state="sample", problem=f"{dataset.id} is the invented sample, no data of anyone's", **made)  # type: ignore[arg-type]
    problem = (
        f"{dataset.id}: {len(differing)} of {len(form.files)} files differ from the pinned release, such as {differing[0]}; "
        "its cells get ids of their own"
    )
    return Located(state="altered", problem=problem, **made)  # type: ignore[arg-type]


def _is_sample(paths: Mapping[str, Path], sums: Mapping[str, str], data_root: Path) -> bool:
    with contextlib.suppress(EmpslurmError, FileNotFoundError, TypeError, KeyError):
        known = files.read_object(data_root / SAMPLE_NOTE)["files"]
        return all(sums[name] in known.values() for name in paths)
    return False


def _sums(paths: Mapping[str, Path], cache_root: Path) -> dict[str, str]:
    """sha256 by file name; remembered by path, size and time, so that a plan hashes nothing twice."""
    cache = cache_root / "checksums.json"
    known: dict[str, str] = {}
    with contextlib.suppress(EmpslurmError, FileNotFoundError):
        known = {key: value for key, value in files.read_object(cache).items() if isinstance(value, str)}
    sums, fresh = {}, {}
    for name, path in paths.items():
        status = path.stat()
        key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        sums[name] = known.get(key) or files.sha256_file(path)
        if key not in known:
            fresh[key] = sums[name]
    if fresh:
        with contextlib.suppress(EmpslurmError):
            files.write_json(cache, {**known, **fresh})
    return sums
