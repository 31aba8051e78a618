"""Download raw files: resumable after a cut connection, checked against the pinned checksum, never left incomplete."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from empslurm import files
from empslurm.errors import DataError
from empslurm.tasks.schema import Dataset, RawFile
from empslurm.validation.table_file import MAX_FILE_BYTES

if TYPE_CHECKING:
    import httpx

Progress = Callable[[int, int | None], None]  # bytes so far, of how many (None: the server does not say)
ATTEMPTS = 4
WAITS_S = (0.5, 2.0, 5.0)  # before the second, third and fourth attempt
TIMEOUT_S = 30.0  # without a byte
CHUNK_BYTES = 2**16


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is there and has the right content."""

    file: str
    path: Path
    n_bytes: int
    sha256: str
    checked: bool  # against a recorded checksum
    downloaded: bool  # False: it was there already


def source_url(dataset: Dataset, file: RawFile, mirror: str | None) -> str | None:
    """A file's address; None where there is none. A mirror serves a data root: MIRROR/<dataset>/<file>."""
    if mirror is None:
        return file.url
    return f"{mirror.rstrip('/')}/{quote(dataset.id)}/{quote(file.name)}"


def is_right(file: RawFile, path: Path) -> bool:
    """Whether a file's bytes have the recorded checksum; True where none is recorded."""
    if file.sha256 is not None:
        return files.sha256_file(path) == file.sha256
    return file.git_blob is None or _git_blob(path) == file.git_blob


def _git_blob(path: Path) -> str:
    """The id that git gives a file's bytes."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fetch_file(file: RawFile, url: str, path: Path, progress: Progress | None = None) -> Fetched:
    """The file at `path`, downloaded unless it is there; a wrong file that is there is not replaced.

    A hidden file beside it keeps the bytes so far, and a later call continues from them. Raises DataError.
    """
    checked = file.sha256 is not None or file.git_blob is not None
    downloaded = not path.exists()
    try:
        if downloaded:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _own(path.with_name(f".{path.name}.part")) as part:
                _download(file, url, part, progress or (lambda _done, _total: None))
                os.replace(part, path)
            files.sync_folder(path.parent)
        elif not is_right(file, path):
            raise DataError(
                f"{path} must be the file as distributed, but has other bytes; move it away and fetch again"
            )
        n_bytes, sha256 = path.stat().st_size, files.sha256_file(path)
    except OSError as error:
        must = f"{path} must be written, but cannot be: {error.strerror or error}"
        raise DataError(f"{must}; make room or get write access, then fetch again") from error
    return Fetched(file=file.name, path=path, n_bytes=n_bytes, sha256=sha256, checked=checked, downloaded=downloaded)


@contextlib.contextmanager
def _own(part: Path) -> Iterator[Path]:
    """Lock the file with the bytes so far: two downloads into one file would mix. Raises DataError."""
    lock = part.with_suffix(".lock")
    with open(lock, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"{part} must be written by one fetch at a time, but another is running; wait for it to end"
            ) from error
        try:
            yield part
        finally:
            lock.unlink(missing_ok=True)


def _download(file: RawFile, url: str, part: Path, progress: Progress) -> None:
    """Fill `part`, in several attempts, each from where the last one stopped; checked at the end. Raises DataError."""
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAITS_S[attempt - 1])
        resumed = part.exists() and part.stat().st_size > 0
        problem = _attempt(file, url, part, progress)
        if problem:
            continue
        if is_right(file, part):
            return
        n_bytes = part.stat().st_size
        part.unlink()
        # Bytes of an earlier call may be of another file: only a whole download shows that the server's file is wrong.
        problem = f"came with {n_bytes:,} wrong bytes (its checksum is not the recorded one)"
        if not resumed:
            raise DataError(f"{url} must be {file.name} as pinned, but {problem}; try another server with --mirror")
    kept = part.stat().st_size if part.exists() else 0
    must = f"{url} must be downloaded, but {problem}, {ATTEMPTS} times"
    raise DataError(f"{must}; {kept:,} bytes are kept: run the same command again")


def _attempt(file: RawFile, url: str, part: Path, progress: Progress) -> str:
    """One request that appends to `part`: empty when all came, else what went wrong.

    Raises DataError where another try cannot help.
    """
    import httpx

    there = part.stat().st_size if part.exists() else 0
    # Identity: ranges and checksums are of the file's own bytes, not of a compressed copy.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {})}
    try:
        with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True) as response:
            if response.status_code == 416:  # nothing after what is there: it is whole, or of another file
                return _settle_416(file, part)
            if response.status_code not in (200, 206):
                _refused(url, response.status_code)
                return f"the server answered {response.status_code}"
            appending = response.status_code == 206 and _starts_at(response, there)
            return _receive(response, part, there if appending else 0, progress)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            raise DataError(
                f"{url} must be an http or https address, but is not; write --mirror http://... or https://..."
            ) from error
        return f"the connection failed ({type(error).__name__})"


def _settle_416(file: RawFile, part: Path) -> str:
    if is_right(file, part):
        return ""
    part.unlink()
    return "the part downloaded before did not match the server's file and was deleted"


def _refused(url: str, status: int) -> None:
    """Raise DataError for an answer that asking again will not change."""
    if status in (408, 425, 429) or status >= 500:
        return
    what = {401: "asks for a login", 403: "refuses it", 404: "has no such file"}.get(status, f"answered {status}")
    fix = "follow the steps of `empslurm data status`, or try another server with --mirror"
    raise DataError(f"{url} must be downloaded, but the server {what}; {fix}")


def _starts_at(response: httpx.Response, there: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {there}-")


def _receive(response: httpx.Response, part: Path, start: int, progress: Progress) -> str:
    """Write the body behind the first `start` bytes. Empty when the announced length came."""
    announced = response.headers.get("Content-Length", "")
    total = start + int(announced) if announced.isdigit() else None
    done = start
    with open(part, "r+b" if start else "wb") as stream:
        stream.truncate(start)
        stream.seek(start)
        for chunk in response.iter_raw():
            done += len(chunk)
            if done > MAX_FILE_BYTES:
                raise DataError(
                    f"{response.url} must be smaller than {MAX_FILE_BYTES:,} bytes, but is larger; try another server "
                    "with --mirror"
                )
            stream.write(chunk)
            progress(done, total)
        _flush(stream)
    return "" if total is None or done == total else f"the connection was cut after {done:,} of {total:,} bytes"


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())
