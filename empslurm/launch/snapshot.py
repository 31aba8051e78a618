"""Jobs run the code that was submitted: a copy of the package and of jobs/, under the digest of its content."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from empslurm import files, ids, provenance, resources
from empslurm.errors import StoreError, UsageError
from empslurm.store.runs import RunsRoot

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", resources.PACKAGED)


def sources() -> dict[str, Path]:
    """Name in the snapshot -> folder that is copied. Raises UsageError where the installation is incomplete."""
    jobs = resources.folder("jobs")
    if not (jobs / "train.py").is_file():
        raise UsageError(
            f"the installation of empslurm must have {jobs}/train.py, but does not; install the wheel again, or use a "
            "checkout (`make install`)"
        )
    return {"empslurm": resources.package(), "jobs": jobs}


def refuse_dirty() -> None:
    """Raises UsageError unless the code is exactly a commit."""
    code = provenance.code()
    if code.commit is None:
        raise UsageError("--clean needs a git checkout to compare with, but there is none; leave it out")
    if code.dirty:
        raise UsageError("--clean needs all code committed, but empslurm/ or jobs/ has changes; commit them first")


def take(root: RunsRoot) -> Path:
    """The snapshot of the running code below the runs root, made unless an equal one is there.

    Files of an older one that are missing or altered are restored: some file systems remove what nobody reads.
    """
    original, content, code = _now()
    target = root.code.resolve() / _name(content, code)
    if target.is_dir():
        _restore(target, original, content, code)
        with contextlib.suppress(OSError):  # of another user: `clean` then goes by its age
            os.utime(target)
        return target
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        for part, folder in sources().items():
            shutil.copytree(folder, beside / part, ignore=IGNORED)
        files.write_json(beside / provenance.CODE_FILE, asdict(code))
        beside.rename(target)
    except OSError as error:
        if not target.is_dir():  # else somebody else made the same one meanwhile
            raise StoreError(
                f"{target} must be written, but the file system says: {error}; free space or get write access there, "
                "then submit again"
            ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def name() -> str:
    """The name of the running code's snapshot. Raises UsageError where the installation is incomplete."""
    _, content, code = _now()
    return _name(content, code)


def _name(content: Mapping[str, str], code: provenance.Code) -> str:
    return ids.digest({"files": content, "code": code}, 16)


def _now() -> tuple[dict[str, Path], dict[str, str], provenance.Code]:
    """The running code: name in the snapshot -> file, and -> its checksum; and the commit."""
    folders = sources()
    original = dict(
        sorted(
            (f"{part}/{path.relative_to(folder).as_posix()}", path)
            for part, folder in folders.items()
            for path in folder.rglob("*")
            if path.is_file() and not _ignored(path.relative_to(folder))
        )
    )
    return original, {name: files.sha256_file(path) for name, path in original.items()}, provenance.code()


def _restore(target: Path, original: Mapping[str, Path], content: Mapping[str, str], code: provenance.Code) -> None:
    """Restore files of a snapshot that jobs of other submissions may be reading: each is replaced as a whole."""
    for name, digest in content.items():
        path = target / name
        if not path.is_file() or files.sha256_file(path) != digest:
            files.write_bytes(path, original[name].read_bytes())
    if not (target / provenance.CODE_FILE).is_file():
        files.write_json(target / provenance.CODE_FILE, asdict(code))


def _ignored(path: Path) -> bool:
    """Whether the snapshot leaves this file out; `path` is relative to the package or to jobs/."""
    hidden = any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    return hidden or path.suffix == ".pyc" or path.parts[0] == resources.PACKAGED
