"""The only file-writing primitives: atomic replace, exclusive create, durable append, checked read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from empslurm.errors import DamagedError, StoreError

MAX_JSON_BYTES = 256 * 2**20  # a runs root may be hostile: nothing larger is parsed


@contextlib.contextmanager
def _storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn OSError into a sentence: disk full, quota, read-only and permission problems leave the old file intact."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{path} must be {doing}, but the file system says: {reason}; make room or get write access, then run the "
            "same command again (what was there before is intact)"
        ) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_beside(path: Path, data: bytes) -> Path:
    """Write and flush `data` to a new file in the folder of `path`; the name cannot collide between hosts."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    try:
        with open(beside, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` atomically: readers see the old bytes or all of the new ones."""
    with _storage_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _write_beside(path, data)
        try:
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


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
    with _storage_errors(path, "created"):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _write_beside(path, data)
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        except OSError:
            if beside.stat().st_nlink == 2:  # NFS: the link was made, its answer was lost
                return True
            raise
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
        return True


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, so that lines of two processes never mix; a torn last line is closed first."""
    with _storage_errors(path, "appended to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    line = "\n" + line
            stream.write((line + "\n").encode())


def read_bytes(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of a regular file of bounded size. Raises FileNotFoundError when absent, DamagedError if too large."""
    try:
        # Without waiting: a pipe in the place of a file must not hold anybody up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise DamagedError(f"{path} must be a regular file, but is not; move it away")
            if found.st_size > max_bytes:
                raise DamagedError(f"{path} must be smaller than {max_bytes:,} bytes, but is larger; move it away")
            parts = []
            while part := os.read(descriptor, max(found.st_size + 1, 4096)):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} must be readable, but the file system says: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises FileNotFoundError when absent, DamagedError when it is not JSON."""
    data = read_bytes(path)
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} must hold JSON, but does not ({type(error).__name__}); move it away") from error


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
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
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
