"""result.json: sealed over all that it says and every file of its output, read and checked as such.

What a result says beyond its `Envelope` is the business of the kind of cell, so the file stays open: a new kind or a
newer version may say more, and its results are still whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from empslurm import files, ids
from empslurm.errors import DamagedError, StoreError
from empslurm.store.folders import checksum, walk
from empslurm.validation import decode
from empslurm.validation.constraints import Later, Pattern

OUTPUT = re.compile(r"output-[0-9]{4,9}")


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What the store itself needs of a result; the rest is the business of the kind of cell."""

    output: Annotated[str, Pattern(regex=OUTPUT.pattern, words="the name of an output folder")]
    files: Mapping[str, str]  # path below the output -> sha256
    flags: Annotated[tuple[str, ...], Later()] = ()


def envelope(result: Mapping[str, Any]) -> Envelope:
    """The envelope of a result. Raises decode.Unfit."""
    fields: Envelope = decode.reader(Envelope)(result)
    return fields


def seal(result: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """The result with its output's name, the sha256 of every file of it, and a seal over all. Raises StoreError."""
    sums = {path.relative_to(output).as_posix(): checksum(path) for path in walk(output)}
    if not sums:
        raise StoreError(f"{output} must hold what {result['id']} gave, but is empty; run the cell again")
    for name in sums:  # libraries wrote some of them, and do not flush
        files.sync_file(output / name)
    value = {**result, "output": output.name, "files": sums}
    return {**value, "seal": ids.digest(value)}


def read(path: Path, cell_id: str) -> dict[str, Any] | None:
    """The result, whose seal and id must match; None when there is none. Raises DamagedError."""
    try:
        value = files.read_object(path)
    except FileNotFoundError:
        return None
    if value.get("id") != cell_id or not _sealed(value):
        raise DamagedError(f"{path} must be the sealed result of {cell_id}, but does not match; move the folder away")
    try:
        envelope(value)
    except decode.Unfit as error:
        raise DamagedError(
            f"{path} must name its output and the checksums of its files, but of its fields {error}; move the "
            "folder away and run the cell again"
        ) from error
    return value


def verify(cell: Path, result: Mapping[str, Any]) -> Path:
    """Check every file of a result's output; return the output folder. Raises DamagedError naming the file."""
    folder = cell / str(result["output"])
    there = {path.relative_to(folder).as_posix() for path in walk(folder)}
    for name, expected in result["files"].items():
        if name not in there:
            raise DamagedError(
                f"{folder / name} must be part of the result of {cell.name}, but is missing; move the cell's folder "
                "away and run it again"
            )
        if checksum(folder / name) != expected:
            raise DamagedError(
                f"{folder / name} must match its checksum in result.json, but does not; move the folder away"
            )
    foreign = sorted(there - set(result["files"]))
    if foreign:
        raise DamagedError(
            f"{folder / foreign[0]} must be named in result.json to be there, but is not; move the file away"
        )
    return folder


def _sealed(value: Mapping[str, Any]) -> bool:
    """Whether the seal of a result fits all the rest of it."""
    unsealed = {key: item for key, item in value.items() if key != "seal"}
    try:
        return bool(value.get("seal") == ids.digest_json(unsealed))
    except ValueError:  # NaN, which is no JSON
        return False
