"""Jobs run the code that was submitted: a copy of the package and of jobs/, under the digest of its content."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import empslurm
from empslurm import files, ids, provenance
from empslurm.errors import StoreError, UsageError
from empslurm.store.runs import RunsRoot

PARTS = ("empslurm", "jobs")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def source() -> Path:
    """The folder that holds the running package and jobs/. Raises UsageError outside a checkout."""
    folder = Path(empslurm.__file__).resolve().parents[1]
    if not (folder / "jobs").is_dir():
        raise UsageError(
            f"jobs/ must lie beside the package to submit, but is not in {folder}; run empslurm from its checkout "
            "(pip install -e .)"
        )
    return folder


def refuse_dirty() -> None:
    """Raises UsageError unless the code is exactly a commit."""
    code = provenance.code()
    if code.commit is None:
        raise UsageError("--clean needs a git checkout to compare with, but there is none; leave it out")
    if code.dirty:
        raise UsageError("--clean needs all code committed, but empslurm/ or jobs/ has changes; commit them first")


def take(root: RunsRoot) -> Path:
    """The snapshot of the running code below the runs root, made unless an equal one is there.

    What lacks of an older one, or is altered there, is restored: some file systems remove what nobody reads for weeks.
    """
    folder = source()
    names = sorted(
        path
        for part in PARTS
        for path in (folder / part).rglob("*")
        if path.is_file() and not _ignored(path.relative_to(folder))
    )
    code = provenance.code()
    content = {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in names}
    target = root.code.resolve() / ids.digest({"files": content, "code": code}, 16)
    if target.is_dir():
        _mend(target, folder, content, code)
        return target
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        for part in PARTS:
            shutil.copytree(folder / part, beside / part, ignore=IGNORED)
        files.write_json(beside / provenance.CODE_FILE, asdict(code))
        beside.rename(target)
    except OSError as error:
        if not target.is_dir():  # else somebody else made the same one meanwhile
            raise StoreError(f"{target} must be written, but the file system says: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _mend(target: Path, folder: Path, content: Mapping[str, str], code: provenance.Code) -> None:
    """Restore files of a snapshot that jobs of other submissions may be reading: each is replaced as a whole."""
    for name, digest in content.items():
        path = target / name
        if not path.is_file() or files.sha256_file(path) != digest:
            files.write_bytes(path, (folder / name).read_bytes())
    if not (target / provenance.CODE_FILE).is_file():
        files.write_json(target / provenance.CODE_FILE, asdict(code))


def _ignored(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts) or path.suffix == ".pyc"
