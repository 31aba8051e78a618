"""Write a bundle: a folder or a zip file, beside its place first, so that a failure leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from empslurm import files
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.share.bundle.contents import check
from empslurm.share.bundle.layout import CHECKSUMS, Entry, is_zip

EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip file: equal studies give equal bytes
CHUNK = 2**20


def refuse_used(path: Path) -> None:
    """Raise UsageError where something is at a bundle's place, unless it is an empty folder."""
    try:
        empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir()) and not is_zip(path)
        used = os.path.lexists(path) and not empty
    except OSError as error:
        raise UsageError(f"{path} must be accessible, but is not: {error.strerror}; choose another place") from error
    if used:
        what = "a new file" if is_zip(path) else "a new or an empty folder"
        raise UsageError(f"--to must be {what}, but {path} is there already; choose another name")


def write(entries: Sequence[Entry], path: Path, advance: Callable[[int], None] = lambda n: None) -> str:
    """Write a bundle and return the sha256 of its list of checksums. `advance(n)` is called for every n files.

    Raises UsageError where something is there, DamagedError where a file has changed since it was verified, StoreError
    where it cannot be written.
    """
    refuse_used(path)
    here = Path(os.path.abspath(path))
    beside = here.parent / f".{here.name}.{secrets.token_hex(4)}.tmp"
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
        _refuse_small(here.parent, sum(entry.n_bytes for entry in entries))
        sums = (_write_zip if is_zip(path) else _write_folder)(entries, beside, advance)
        if not is_zip(path) and here.is_dir():
            here.rmdir()
        _put(beside, here, path)
    except OSError as error:
        where = error.filename or here
        raise StoreError(
            f"{path} must be written, but {where} says: {error.strerror or error}; choose another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            if beside.is_dir():
                shutil.rmtree(beside, ignore_errors=True)
            else:
                beside.unlink(missing_ok=True)
    return files.sha256_bytes(sums)


def _put(beside: Path, here: Path, path: Path) -> None:
    """Move a finished bundle to its place; nothing that is there by now is replaced. Raises OSError, UsageError."""
    if is_zip(path):
        try:
            os.link(beside, here)
            return
        except OSError:  # something is there, or the file system has no links
            refuse_used(path)
    os.rename(beside, here)  # a folder that is not empty is refused


def _refuse_small(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise StoreError(
            f"{folder} must have room for {n_bytes / 2**20:,.1f} MiB, but has {free / 2**20:,.1f}; choose another place"
        )


def _lines(sums: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sums).encode()


def _write_folder(entries: Sequence[Entry], folder: Path, advance: Callable[[int], None]) -> bytes:
    sums = []
    for entry in entries:
        place = folder / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb") as out:
            sums.append((entry.path, _copy(entry, out.write)))
        advance(1)
    listed = _lines(sums)
    (folder / CHECKSUMS).write_bytes(listed)
    return listed


def _write_zip(entries: Sequence[Entry], path: Path, advance: Callable[[int], None]) -> bytes:
    sums = []
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for entry in entries:
            with archive.open(_info(entry.path), "w", force_zip64=True) as out:
                sums.append((entry.path, _copy(entry, out.write)))
            advance(1)
        listed = _lines(sums)
        archive.writestr(_info(CHECKSUMS), listed)
    return listed


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EARLIEST)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return info


def _copy(entry: Entry, write: Callable[[bytes], object]) -> str:
    """Copy a file; the sha256 of what was written. Raises DamagedError, OSError."""
    digest = hashlib.sha256(entry.data)
    if entry.source is None:
        write(entry.data)
        return digest.hexdigest()
    if entry.source.is_symlink():
        raise DamagedError(f"{entry.source} must be a regular file, but is a link; put the file there")
    with open(entry.source, "rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            write(chunk)
    check(entry, digest.hexdigest())
    return digest.hexdigest()
