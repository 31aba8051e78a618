"""The only file-writing primitives: atomic replace, exclusive create, durable append, checked read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from empslurm.errors import DamagedError, StoreError

MAX_JSON_BYTES = 256 * 2**20  # a runs root may be hostile: nothing larger is parsed
MAX_DEPTH = 50  # nothing that is written here nests deeper
MAX_DIGITS = 30  # of an integer: a longer one may overflow when it becomes a float
TEMPORARY = ".*.tmp"  # names of files that are being written, or were when their process was killed
READ_TRIES = 3  # of a file that another host replaces while it is read (NFS: stale file handle)
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn OSError into a sentence: disk full, quota, read-only and permission problems leave the old file intact."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{path} must be {doing}, but the file system says: {reason}; make room or get write access, then run the "
            "same command again (what was there before is intact)"
        ) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents. New folders are flushed, so that a power cut cannot lose them."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Flush a file that a library wrote, and its folder's entry. Raises StoreError."""
    with storage_errors(path, "flushed"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_beside(path: Path, data: bytes) -> tuple[Path, os.stat_result]:
    """Write and flush `data` to a new file in the folder of `path`; the name cannot collide between hosts."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    try:
        with open(beside, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            return beside, os.fstat(stream.fileno())
    except BaseException:
        _drop(beside)
        raise


def _drop(beside: Path) -> None:
    """Remove a temporary file; where that fails, `sweep` removes it later."""
    with contextlib.suppress(OSError):
        beside.unlink()


def sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes. Only for the one process that may write here."""
    with contextlib.suppress(OSError):
        for beside in folder.glob(TEMPORARY):
            _drop(beside)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` atomically: readers see the old bytes or all of the new ones."""
    with storage_errors(path, "written"):
        make_folder(path.parent)
        beside, written = _write_beside(path, data)
        try:
            os.replace(beside, path)
        except OSError:
            if not _is_file(path, written):  # NFS: it was renamed, the answer was lost
                _drop(beside)
                raise
        sync_folder(path.parent)


def _is_file(path: Path, status: os.stat_result) -> bool:
    """Whether `path` is the very file of `status`."""
    try:
        return os.path.samestat(os.lstat(path), status)
    except OSError:
        return False


def write_text(path: Path, text: str) -> None:
    """Replace `path` atomically by UTF-8 text."""
    write_bytes(path, text.encode())


def to_json(value: Any) -> bytes:
    """Readable JSON with a final newline; NaN is refused because JSON has none."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_line(value: Any) -> str:
    """Compact JSON for one line of a JSONL file."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` atomically by JSON."""
    write_bytes(path, to_json(value))


def create_exclusive(path: Path, data: bytes) -> bool:
    """Create `path` with its whole content, or return False when it exists: a hard link is exclusive on NFS too."""
    with storage_errors(path, "created"):
        if os.path.lexists(path):
            return False
        make_folder(path.parent)
        beside, written = _write_beside(path, data)
        try:
            os.link(beside, path)
        except OSError as error:
            # NFS: the link was made and its answer lost, or the request was sent twice and the second was refused.
            if not _is_file(path, written):
                if os.path.lexists(path):
                    return False
                if error.errno in NO_LINKS:
                    raise StoreError(
                        f"{path.parent} must be on a file system with hard links, which claims and results need, but "
                        f"a hard link was refused ({error.strerror}); choose a runs root on another file system"
                    ) from error
                raise
        finally:
            _drop(beside)
        sync_folder(path.parent)
        return True


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, so that lines of two processes never mix; a torn last line is closed first."""
    with storage_errors(path, "appended to"):
        make_folder(path.parent)
        with open(path, "ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    line = "\n" + line
            stream.write((line + "\n").encode())


def read_bytes(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of a regular file of bounded size.

    Raises FileNotFoundError when absent, DamagedError where it is too large or not a regular file, StoreError where it
    cannot be read.
    """
    for last in range(READ_TRIES):
        try:
            return _read_once(path, max_bytes)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno != errno.ESTALE or last == READ_TRIES - 1:
                raise StoreError(
                    f"{path} must be readable, but the file system says: {error.strerror or error}; get read access"
                ) from error
    raise AssertionError("unreachable")


def _read_once(path: Path, max_bytes: int) -> bytes:
    # Non-blocking: opening a FIFO must not hang.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{path} must be a regular file, but is not; move it away")
        if status.st_size > max_bytes:
            raise DamagedError(f"{path} must be smaller than {max_bytes:,} bytes, but is larger; move it away")
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises FileNotFoundError when absent, DamagedError when it is not JSON as written here."""
    data = read_bytes(path)
    try:
        return parse_json(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} must hold JSON, but does not ({type(error).__name__}); move it away") from error


def parse_json(data: bytes) -> Any:
    """JSON in UTF-8, strictly: no NaN or infinity, no half of a surrogate pair, bounded nesting and numbers.

    Raises ValueError or RecursionError.
    """
    value = _DECODER.decode(data.decode())
    if b"\\ud" in data or b"\\uD" in data:
        json.dumps(value, ensure_ascii=False).encode()  # raises for a lone surrogate
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return value
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return value
    raise ValueError(f"nests deeper than {MAX_DEPTH} levels")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(text)


# One decoder: building one per call costs a tenth of reading a result.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError when absent, DamagedError when it is anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DamagedError(f"{path} must hold a JSON object, but holds {type(value).__name__}; move it away")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a torn line (a kill during a write) is left out. Absent file: empty list."""
    try:
        text = read_bytes(path).decode(errors="replace")
    except FileNotFoundError:
        return []
    rows = []
    for line in text.split("\n"):  # and not at U+2028, which JSON strings may hold
        with contextlib.suppress(ValueError, RecursionError):
            row = parse_json(line.encode())
            if isinstance(row, dict):
                rows.append(row)
    return rows


def sha256_bytes(data: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in chunks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
