"""List folders that others may have changed: no link is followed, and a folder that cannot be listed is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from empslurm import files
from empslurm.errors import DamagedError, StoreError


def names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Names in a folder that fully match; none if it is absent. Raises StoreError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if pattern.fullmatch(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"{folder} must be a folder that can be listed, but is not: {error.strerror or error}; get read access to "
            "it, or move it away if it is no folder"
        ) from error


def walk(folder: Path) -> Iterator[Path]:
    """All entries below a folder that are not folders, sorted; links are not followed."""
    return iter(sorted(Path(parent) / name for parent, _, names in os.walk(folder) for name in names))


def checksum(path: Path) -> str:
    """sha256 of a regular file. Raises DamagedError for anything else, StoreError where it cannot be read."""
    try:
        if path.is_symlink() or not path.is_file():
            raise DamagedError(f"{path} must be a regular file, but is not; move it away")
        return files.sha256_file(path)
    except OSError as error:
        raise StoreError(f"{path} must be readable, but is not: {error.strerror or error}; get read access") from error
