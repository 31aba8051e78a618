"""Find a dataset's files below the data root and say whether they are the pinned ones."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from empslurm import files, ids
from empslurm.errors import DataError, EmpslurmError
from empslurm.tasks.schema import Dataset, Form, RawFile
from empslurm.validation import decode

FileState = Literal["found", "altered", "sample", "missing"]
SAMPLE_NOTE = "sample.json"
MAX_NAMED = 10  # files of a folder, in an error
MAX_FOLDERS = 10_000  # that are searched: a data root should not be a whole disk


@dataclass(frozen=True, kw_only=True)
class SampleNote:
    """What `data sample` wrote to a data root."""

    seed: int
    what: str  # for people
    files: Mapping[str, str]  # relative path -> sha256


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a dataset is. `raw_digest`: of the files found, else the pinned one, else None (provisional ids).

    `pinned`: the digest is that of a release whose checksums are recorded. `found` without it: the files are there, but
    no checksums are recorded to compare them with.
    """

    state: FileState
    form: Form | None = None
    paths: Mapping[str, Path] = field(default_factory=dict)  # RawFile.name -> path
    raw_digest: str | None = None
    pinned: bool = False
    problem: str = ""


def forms_digest(form: Form, sums: Mapping[str, str]) -> str:
    """One digest over a form's files, by name and content."""
    return ids.digest([form.name, sorted([name, sums[name]] for name in sums)])


def is_pinned(form: Form) -> bool:
    """Whether the checksum of every file of a form is recorded."""
    return all(file.sha256 is not None for file in form.files)


def pinned_digest(dataset: Dataset) -> str | None:
    """The digest of the first form, if all of its files are pinned."""
    form = dataset.forms[0]
    sums = {file.name: file.sha256 for file in form.files if file.sha256 is not None}
    return forms_digest(form, sums) if is_pinned(form) else None


def locate(dataset: Dataset, data_root: Path, cache_root: Path) -> Located:
    """The first form whose files are all there. Never writes below `data_root`; checksums are kept below `cache_root`.

    Raises DataError where a file that is there cannot be read.
    """
    root = Path(os.path.realpath(data_root))
    own = data_root / dataset.id
    folders = _folders(own, data_root) if _is_folder(data_root) else []
    lacking = ""
    for form in dataset.forms:
        paths = _find_form(form, own, folders, root)
        if len(paths) == len(form.files):
            return _judge(dataset, form, paths, data_root, cache_root)
        if paths and not lacking:
            absent = [file.name for file in form.files if file.name not in paths]
            lacking = f"{len(paths)} of {len(form.files)} files are there, {absent[0]} is not; "
    problem = f"{dataset.id} must be below {data_root}, but {_absence(dataset, data_root, folders, root, lacking)}"
    digest = pinned_digest(dataset)
    return Located(state="missing", raw_digest=digest, pinned=digest is not None, problem=problem)


def _folders(own: Path, data_root: Path) -> list[Path]:
    """DATA/<dataset> first, then every folder below DATA, nearest first."""
    folders = [folder for folder in (own, data_root) if folder.is_dir()]
    for parent, children, _ in os.walk(data_root):  # does not descend into links
        children[:] = sorted(child for child in children if not child.startswith("."))
        folders += [Path(parent) / child for child in children]
        if len(folders) > MAX_FOLDERS:
            break
    return list(dict.fromkeys(folders))


def _find_form(form: Form, own: Path, folders: Iterable[Path], root: Path) -> dict[str, Path]:
    """The files of a form in the folder that holds most of them: a dataset's files are together.

    One file never counts for two names, neither by a link nor by an omitted folder.
    """
    best: dict[str, Path] = {}
    for folder in folders:
        paths: dict[str, Path] = {}
        taken = set[Path]()
        for file in form.files:
            path = _find(form, file, folder, own, root)
            if path is not None and path.resolve() not in taken:
                taken.add(path.resolve())
                paths[file.name] = path
        if len(paths) > len(best):
            best = paths
        if len(best) == len(form.files):
            break
    return best


def _find(form: Form, file: RawFile, folder: Path, own: Path, root: Path) -> Path | None:
    """A file by its name, which may hold a folder (`annotated/proud.csv`); DATA/<dataset> may leave the folder out.

    A link that leaves the data root is not followed.
    """
    with contextlib.suppress(OSError):
        for path in _candidates(form, file, folder, own):
            if path.is_file() and path.resolve().is_relative_to(root):
                return path
    return None


def _candidates(form: Form, file: RawFile, folder: Path, own: Path) -> list[Path]:
    """Where a file may be in a folder. The folder in its name stays where another file has the same last name."""
    last = Path(file.name).name
    if folder != own or sum(Path(other.name).name == last for other in form.files) > 1:
        return [folder / file.name]
    return [folder / file.name, folder / last]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # below a folder that may not be entered
        return False


def _absence(dataset: Dataset, data_root: Path, folders: Sequence[Path], root: Path, lacking: str) -> str:
    """Why files that exist below the data root are not used, else how to obtain them."""
    own = data_root / dataset.id
    for folder in (data_root, own):
        reason = "" if _is_folder(folder) else _refused(folder, data_root, root, "folder")
        if reason:
            return reason
    at_home = _hindrance(dataset, [own], data_root, root)
    if at_home:
        return at_home
    elsewhere = _hindrance(dataset, folders, data_root, root)  # such as another project's file of that name
    return f"is missing: {lacking}{steps(dataset, data_root)}" + (f" (note: {elsewhere})" if elsewhere else "")


def steps(dataset: Dataset, data_root: Path) -> str:
    """How a person obtains a dataset, with the real folders, and which files are in its own folder already."""
    own, text = data_root / dataset.id, dataset.obtain.replace("DATA/", f"{data_root}/")
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(path.name for path in own.iterdir() if path.is_file() and not path.name.startswith("."))
    if not names:
        return text
    wanted = [Path(file.name).name for form in dataset.forms for file in form.files]
    absent = [name for name in wanted if name not in names]
    near = next((close[0] for name in absent if (close := difflib.get_close_matches(name, names, n=1))), "")
    listed = ", ".join([*names[:MAX_NAMED], *(["..."] if len(names) > MAX_NAMED else [])])
    return f"{text} ({own} has {listed}{f': did you mean {near}?' if near else ''})"


def _hindrance(dataset: Dataset, folders: Iterable[Path], data_root: Path, root: Path) -> str:
    """Why a file of the dataset that is in one of the folders is not used; empty where none is there."""
    own = data_root / dataset.id
    wanted = [(form, file) for form in dataset.forms for file in form.files]
    places = (path for folder in folders for form, file in wanted for path in _candidates(form, file, folder, own))
    reasons = (_refused(path, data_root, root, "file") for path in places)
    return next(filter(None, chain(reasons, (_twins(form, folders) for form in dataset.forms))), "")


def _twins(form: Form, folders: Iterable[Path]) -> str:
    """Which two names of a form lead to one file in one of the folders; empty where none do."""
    for folder in folders:
        path_of: dict[str, str] = {}
        for path in filter(os.path.isfile, (folder / file.name for file in form.files)):
            leads_to = os.path.realpath(path)
            if leads_to in path_of:
                return f"{path_of[leads_to]} and {path} are one file; put a separate file in each place"
            path_of[leads_to] = str(path)
    return ""


def _refused(path: Path, data_root: Path, root: Path, kind: str) -> str:
    """Why a path cannot be used as a file (or folder) of the data root; empty where nothing is there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} cannot be accessed: {error.strerror}; get access to its folder"
    link = next((part for part in (path, *path.parents) if part != data_root and _leaves(part, data_root)), None)
    leads_to = os.path.realpath(path)
    if not os.path.exists(leads_to):
        return f"{link or path} is a link to {leads_to}, which is not there; put the {kind} there, or change the link"
    if not Path(leads_to).is_relative_to(root):
        where = f"{link or path} is a link that leads out of the data folder, to {os.path.realpath(link or path)}"
        return f"{where}; replace the link by a copy, or name a folder that holds all data with --data"
    is_kind = os.path.isfile if kind == "file" else os.path.isdir
    return "" if is_kind(leads_to) else f"{path} must be a {kind}, but is not; move it away and put the {kind} there"


def _leaves(path: Path, data_root: Path) -> bool:
    """Whether a path below the data root is a link."""
    return path.is_relative_to(data_root) and path.is_symlink()


def _judge(dataset: Dataset, form: Form, paths: Mapping[str, Path], data_root: Path, cache_root: Path) -> Located:
    sums = _sums(paths, cache_root)
    digest = forms_digest(form, sums)
    if _is_sample(sums, data_root):
        problem = f"{dataset.id} is the invented sample, not real data"
        return Located(state="sample", form=form, paths=paths, raw_digest=digest, problem=problem)
    differing = [file.name for file in form.files if file.sha256 is not None and sums[file.name] != file.sha256]
    if not differing:
        pinned = is_pinned(form)
        return Located(state="found", form=form, paths=paths, raw_digest=digest, pinned=pinned, problem=form.note)
    problem = (
        f"{dataset.id}: {len(differing)} of {len(form.files)} files differ from the pinned release, such as "
        f"{differing[0]}; its cells get other ids"
    )
    return Located(state="altered", form=form, paths=paths, raw_digest=digest, problem=problem)


def _is_sample(sums: Mapping[str, str], data_root: Path) -> bool:
    """Whether all of these files are among those that `data sample` wrote here."""
    return set(sums.values()) <= set(sample_sums(data_root).values())


def sample_sums(data_root: Path) -> dict[str, str]:
    """Relative path -> sha256 of what `data sample` wrote to a data root; empty where it wrote nothing."""
    with contextlib.suppress(EmpslurmError, FileNotFoundError):
        note: SampleNote = decode.load(data_root / SAMPLE_NOTE, SampleNote)
        return dict(note.files)
    return {}


def _sums(paths: Mapping[str, Path], cache_root: Path) -> dict[str, str]:
    """sha256 by file name; cached by path, size and time, so that a plan hashes no file twice."""
    cache = cache_root / "checksums.json"
    known: dict[str, str] = {}
    with contextlib.suppress(EmpslurmError, FileNotFoundError):
        known = dict(decode.load(cache, Mapping[str, str]))
    sums, fresh = {}, {}
    for name, path in paths.items():
        try:
            status = path.stat()
            key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
            sums[name] = known.get(key) or files.sha256_file(path)
        except OSError as error:
            raise DataError(f"{path} must be readable, but is not: {error.strerror}; get read access to it") from error
        if key not in known:
            fresh[key] = sums[name]
    if fresh and cache_root.parent.is_dir():  # a plan makes no runs root
        with contextlib.suppress(EmpslurmError):  # a cache root that cannot be written costs time only
            files.write_json(cache, {**known, **fresh})
    return sums
