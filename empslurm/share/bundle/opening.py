"""Open a bundle: check every file, then make a study of it that needs neither its data nor its machine."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import empslurm
from empslurm import files
from empslurm.cells import Cell, from_identity
from empslurm.config import Backbone
from empslurm.errors import DamagedError, EmpslurmError, StoreError, UsageError
from empslurm.manifest.load import Manifest, load_manifest
from empslurm.plan import Inputs, Known, Plan
from empslurm.share.bundle.layout import (
    CHECKSUMS,
    CRATE,
    PLAN,
    PROJECT,
    RUNS,
    STUDY,
    TABLES,
    VERSION,
    Entry,
    StudyNote,
    is_foreign,
    is_zip,
)
from empslurm.share.study import Study
from empslurm.store import digests
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode

LINE = re.compile(r"([0-9a-f]{64})  ([^\0\r\n]{1,4096})")
MOST_BYTES = 2**31  # of a note
# What Python's readers of zip files raise for damaged ones.
UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
OF_MACS = "__MACOSX"  # a folder that a Mac adds to zip files
NO_DATA = "no-data"  # a name that no folder has: a bundle has no data


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle: a folder with a crate's metadata, or a zip file."""
    try:
        return (path / CRATE).is_file() or (is_zip(path) and path.is_file())
    except OSError:
        return False


@contextmanager
def opened(path: Path, advance: Callable[[int], None] = lambda n: None) -> Iterator[Study]:
    """The study of a bundle, once every file was checked; nothing in the bundle is changed.

    `advance(n)` is called for every n files. Raises UsageError where there is no bundle, DamagedError naming the file
    that is not as it was written.
    """
    with tempfile.TemporaryDirectory(prefix="empslurm-bundle-") as scratch:
        yield _checked(path, Path(scratch), advance)


def _checked(path: Path, scratch: Path, advance: Callable[[int], None]) -> Study:
    if not is_bundle(path):
        if not os.path.lexists(path):
            raise UsageError(f"{path} must be a bundle, but is not there; check the path")
        raise UsageError(
            f"{path} must be a bundle, a folder with {CRATE} or a zip file of one, but is not; `empslurm bundle` "
            "writes one"
        )
    try:
        folder = _unpacked(path, scratch / "unpacked") if is_zip(path) else path.absolute()
        check(folder, path, advance)
        return _study(folder, path, scratch / "gathered")
    except OSError as error:
        raise StoreError(f"{path} must be readable, but is not: {error.strerror or error}; copy it again") from error


def _unpacked(path: Path, folder: Path) -> Path:
    """The zip file's content in a new folder; its one top folder, where it has one."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _refuse_name(path, info.filename)
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise DamagedError(f"{path} must hold regular files, but {info.filename} is a link; get it again")
            needed, free = sum(info.file_size for info in archive.infolist()), shutil.disk_usage(folder.parent).free
            if needed > free:
                raise StoreError(
                    f"{folder.parent} must have room for {needed / 2**20:,.0f} MiB to unpack {path}, but has "
                    f"{free / 2**20:,.0f}; set TMPDIR to a larger disk"
                )
            archive.extractall(folder)
    except UNREADABLE as error:
        raise DamagedError(f"{path} must be a zip file, but cannot be read: {error}; get it again") from error
    shutil.rmtree(folder / OF_MACS, ignore_errors=True)
    inside = [entry for entry in folder.iterdir() if not is_foreign(entry.name)] if folder.is_dir() else []
    if not (folder / CRATE).is_file() and len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]  # as programs of desktops pack a folder
    if not (folder / CRATE).is_file():
        raise UsageError(f"{path} must be a bundle, but holds no {CRATE}; `empslurm bundle` writes one")
    return folder


def _refuse_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise DamagedError(f"{path} must name files below it, but names {name!r}; get it again")


def check(folder: Path, path: Path, advance: Callable[[int], None] = lambda n: None) -> None:
    """Check that exactly the listed files are there, each with its checksum. Raises DamagedError naming the file.

    `path`: the bundle as the user named it, for messages.
    """
    listed = _checksums(folder, path)
    there = {file.relative_to(folder).as_posix() for file in _files(folder)} - {CHECKSUMS}
    for name in sorted(there - set(listed)):
        raise DamagedError(f"{path} must hold only the files of {CHECKSUMS}, but {name} is none; move it away")
    for name, sha256 in listed.items():
        if name not in there:
            raise DamagedError(f"{path} must hold every file of {CHECKSUMS}, but {name} is missing; get it again")
        place = folder / name
        if place.is_symlink() or not place.is_file() or files.sha256_file(place) != sha256:
            raise DamagedError(
                f"{path} must be as it was written, but {name} does not match its checksum; get it again"
            )
        advance(1)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, and every link to a folder; but for files that desktops leave."""
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent) / name for name in folders if (Path(parent) / name).is_symlink())
        yield from (Path(parent) / name for name in names if not is_foreign(name) or (Path(parent) / name).is_symlink())


def _checksums(folder: Path, path: Path) -> dict[str, str]:
    try:
        text = files.read_bytes(folder / CHECKSUMS, max_bytes=MOST_BYTES).decode("utf-8")
    except FileNotFoundError as error:
        raise DamagedError(f"{path} must hold {CHECKSUMS}, but does not; get the bundle again") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path}: {CHECKSUMS} must be text, but is not; get the bundle again") from error
    listed: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        found = LINE.fullmatch(line)
        if found is None:
            raise DamagedError(
                f"{path}: line {number:,} of {CHECKSUMS} must be a checksum and a file, but is not; get it again"
            )
        _refuse_name(path, found[2])
        listed[found[2]] = found[1]
    return listed


# ---- the study -------------------------------------------------------------------------------------------------------


def rehearse(entries: Iterable[Entry]) -> None:
    """Make sure that a bundle of these files can be opened, before it is written. Raises StoreError."""
    with tempfile.TemporaryDirectory(prefix="empslurm-bundle-") as scratch:
        folder = Path(scratch)
        for entry in entries:
            if entry.path in (STUDY, PLAN) or entry.path.startswith(f"{PROJECT}/"):
                files.write_bytes(folder / entry.path, entry.data)
        try:
            _study(folder, folder, folder)
        except EmpslurmError as error:
            raise StoreError(
                f"others must be able to open the bundle, but could not: {str(error).replace(f'{folder}/', '')}"
            ) from error


def _study(folder: Path, path: Path, scratch: Path) -> Study:
    note = read_note(folder)
    _refuse_name(path, note.manifest)
    manifest = load_manifest(folder / note.manifest)
    plan = Plan(
        manifest=replace(manifest, backbones=note.backbones), inputs=_inputs(note, manifest), cells=_cells(folder)
    )
    if len(plan.by_id) != note.n_cells:
        raise DamagedError(
            f"{folder / PLAN} must hold {note.n_cells:,} cells, but holds {len(plan.by_id):,}; get the bundle again"
        )
    return Study(
        name=note.name,
        plan=plan,
        root=RunsRoot(folder / RUNS, gathered=scratch),
        data=scratch / NO_DATA,
        tables=folder / TABLES,
        samples=frozenset(note.samples),
        spent=note.spent,
    )


def read_note(folder: Path) -> StudyNote:
    """The note of an unpacked bundle. Raises DamagedError; UsageError for a bundle of a later version."""
    try:
        value = files.read_object(folder / STUDY)
        note: StudyNote = decode.reader(StudyNote)(value)
    except FileNotFoundError as error:
        raise DamagedError(f"{folder} must hold {STUDY}, but does not; get the bundle again") from error
    except decode.Unfit as error:
        raise DamagedError(f"{folder / STUDY} must be as it was written, but is not: {error}; get it again") from error
    if note.version > VERSION:
        raise UsageError(
            f"{folder / STUDY} must be of version {VERSION} or earlier, but is of {note.version}: empslurm "
            f"{note.empslurm} wrote it, and this is {empslurm.__version__}; install a later release"
        )
    return note


def _cells(folder: Path) -> tuple[Cell, ...]:
    return tuple(from_identity(value, folder / PLAN) for value in files.read_lines(folder / PLAN))


def _inputs(note: StudyNote, manifest: Manifest) -> Inputs:
    """What was known where the bundle was written; nothing is looked up on this machine."""

    def known(backbone: Backbone) -> Known:
        return Known(digest=note.models.get(digests.model_name(backbone)))

    raw: Mapping[str, str | None] = {name: note.raw.get(name) for name in manifest.data}
    encoder = known(manifest.embed.encoder) if manifest.embed is not None else None
    return Inputs(
        raw=raw,
        missing={},
        notes=note.notes,
        backbones={backbone: known(backbone) for backbone in note.backbones},
        encoder=encoder,
    )
