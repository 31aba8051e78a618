"""result.json: sealed over all its fields and every file of its output, and checked when it is read.

The fields beyond `Envelope` depend on the kind of cell, so unknown ones are allowed: a new kind or a newer version may
add some.

A bundle leaves adapters out. `left-out.json` beside the result then names the files that are not there on purpose; no
score depends on them.
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
# Names in an output folder: adapters, and beside them what says what they are.
ADAPTER, LAST, SOURCE_ADAPTER = "adapter", "last", "source_adapter"
LEFT_OUT = "left-out.json"


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The fields of a result that the store itself needs; the kind of cell defines the others."""

    output: Annotated[str, Pattern(regex=OUTPUT.pattern, words="the name of an output folder")]
    files: Mapping[str, str]  # path below the output -> sha256
    flags: Annotated[tuple[str, ...], Later()] = ()


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What a bundle left out of a cell's output."""

    files: tuple[str, ...]  # paths below the output


def envelope(result: Mapping[str, Any]) -> Envelope:
    """The envelope of a result. Raises decode.Unfit."""
    fields: Envelope = decode.reader(Envelope)(result)
    return fields


def seal(result: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """The result with its output's name, the sha256 of every file of it, and a seal over all. Raises StoreError."""
    sums = {path.relative_to(output).as_posix(): checksum(path) for path in walk(output)}
    if not sums:
        raise StoreError(f"{output} must hold the files of {result['id']}, but is empty; run the cell again")
    for name in sums:  # libraries wrote some of them without flushing
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
        raise DamagedError(
            f"{path} must be the sealed result of {cell_id}, but its id or seal differs; move the cell's folder away "
            "and run it again"
        )
    try:
        envelope(value)
    except decode.Unfit as error:
        raise DamagedError(
            f"{path} must name its output and the checksums of its files, but of its fields {error}; move the "
            "cell's folder away and run it again"
        ) from error
    return value


def verify(cell: Path, result: Mapping[str, Any]) -> Path:
    """Check every file of a result's output; return the output folder. Raises DamagedError naming the file."""
    folder = cell / str(result["output"])
    there = {path.relative_to(folder).as_posix() for path in walk(folder)}
    absent = left_out(cell)
    for name, expected in result["files"].items():
        if name not in there and name in absent:
            continue
        if name not in there:
            raise DamagedError(
                f"{folder / name} must be part of the result of {cell.name}, but is missing; move the cell's folder "
                "away and run it again"
            )
        if checksum(folder / name) != expected:
            raise DamagedError(
                f"{folder / name} must match its checksum in result.json, but does not; move the cell's folder away "
                "and run it again"
            )
    foreign = sorted(there - set(result["files"]))
    if foreign:
        raise DamagedError(
            f"{folder / foreign[0]} must be named in result.json to be there, but is not; move the file away"
        )
    return folder


def of_adapters(result: Mapping[str, Any]) -> frozenset[str]:
    """The files of a result's output that are adapters, which a bundle may leave out."""
    folders = (f"{ADAPTER}/", f"{LAST}/", f"{SOURCE_ADAPTER}/")
    return frozenset(name for name in result["files"] if name.startswith(folders))


def left_out(cell: Path) -> frozenset[str]:
    """The files of a cell's output that were left out on purpose; only adapters can be. Raises DamagedError."""
    try:
        named: LeftOut = decode.load(cell / LEFT_OUT, LeftOut, "take the cell from its bundle again")
    except FileNotFoundError:
        return frozenset()
    return of_adapters({"files": named.files})


def _sealed(value: Mapping[str, Any]) -> bool:
    """Whether the seal of a result fits all the rest of it."""
    unsealed = {key: item for key, item in value.items() if key != "seal"}
    try:
        return bool(value.get("seal") == ids.digest_json(unsealed))
    except ValueError:  # NaN, which JSON does not have
        return False
