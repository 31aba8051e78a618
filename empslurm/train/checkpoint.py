"""Sealed checkpoint files: one line of JSON with the checksum, then the tensors; written elsewhere, then renamed.

They hold only what training changes (adapters, head, optimiser, best weights so far), never the frozen backbone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from empslurm import files, ids
from empslurm.errors import DamagedError, StoreError
from empslurm.validation import decode as typed
from empslurm.validation.constraints import Later

MAX_BYTES = 8 * 2**30
Position = tuple[int, int]  # optimiser steps done, epochs evaluated
START = (0, 0)


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a cell's training is; its tensors are kept separately."""

    id: str  # of the cell
    step: int  # optimiser steps done
    history: tuple[Mapping[str, Any], ...]  # one entry per epoch evaluated
    best_epoch: int | None
    stopped: Annotated[bool, Later()] = False  # a trial that its search has pruned
    n_tokens: int
    wall_s: float  # over all attempts
    group_size: int | None = None  # cells per forward pass; None in checkpoints of earlier versions
    micro_batch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One cell's training state; `tensors` by name, on the CPU."""

    state: State
    tensors: Mapping[str, torch.Tensor]

    @property
    def position(self) -> Position:
        """How far the run is: an epoch's last step and its evaluation are two positions."""
        return self.state.step, len(self.state.history)


def encode(checkpoint: Checkpoint) -> bytes:
    """Serialise as header line and tensors. Equal checkpoints give equal bytes."""
    body: bytes = save_tensors(
        {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    )
    state = ids.plain(checkpoint.state)
    header = {"sha256": _checksum(state, body), "state": state}
    return b"\n".join([json.dumps(header, sort_keys=True, allow_nan=False).encode(), body])


def _checksum(state: Mapping[str, Any], body: bytes) -> str:
    """The sha256 of state and tensors: a flipped digit in the history is damage too."""
    whole = hashlib.sha256(json.dumps(state, sort_keys=True, allow_nan=False).encode() + b"\n")
    whole.update(body)
    return whole.hexdigest()


def decode(data: bytes, name: str) -> Checkpoint:
    """Verify and parse. Raises DamagedError."""
    line, separator, body = data.partition(b"\n")
    try:
        header = files.parse_json(line)
        if not separator or header["sha256"] != _checksum(header["state"], body):
            raise ValueError("checksum")
        return Checkpoint(state=typed.reader(State)(header["state"]), tensors=load_tensors(body))
    except Exception as error:
        raise DamagedError(f"{name} must be an intact checkpoint, but is damaged; the one before it is used") from error


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, read it back, then remove all older ones but the last. Raises StoreError: none is removed."""
    path = folder / f"step-{checkpoint.state.step:09d}.ckpt"
    data = encode(checkpoint)
    files.write_bytes(path, data)
    if files.read_bytes(path, MAX_BYTES) != data:
        raise StoreError(
            f"{path} must hold what was written, but reads back differently; check the file system, then submit again"
        )
    for old in _newest_first(folder)[2:]:
        old.unlink(missing_ok=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def read_sound(folder: Path, cell_id: str) -> tuple[list[Checkpoint], list[str]]:
    """The intact checkpoints of this cell, newest first, and a sentence for each file that was skipped.

    Damaged and foreign files are removed: each would count as one of the two that are kept.
    """
    sound: list[Checkpoint] = []
    skipped: list[str] = []
    for path in _newest_first(folder):
        try:
            checkpoint = decode(files.read_bytes(path, MAX_BYTES), str(path))
        except DamagedError as error:
            skipped.append(str(error))
            _remove(path)
            continue
        except (StoreError, FileNotFoundError) as error:
            skipped.append(str(error))
            continue
        if checkpoint.state.id == cell_id:
            sound.append(checkpoint)
        else:
            skipped.append(f"{path} must belong to {cell_id}, but is another cell's; it is removed")
            _remove(path)
    return sound, skipped


def forget(folder: Path) -> None:
    """Remove all checkpoints, so that the cell starts from the beginning."""
    for path in _newest_first(folder):
        _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def common_positions(positions: Sequence[Collection[Position]]) -> list[tuple[Position, list[int]]]:
    """Group cells by where they resume: (position, indices into `positions`) per part, each index once.

    The cells of a pack resume at the newest position that all of them have. A kill between two cells' checkpoints
    leaves them one position apart; before a first checkpoint comes the start. If no position is shared by all (damage),
    the cells that share one form a part: a cell's numbers round differently next to other cells in a pass.
    """
    parts: list[tuple[Position, list[int]]] = []
    left = {index: {*each, *([START] if len(each) < 2 else [])} for index, each in enumerate(positions)}
    while left:
        counts = Counter(position for each in left.values() for position in each)
        most = max(counts, key=lambda position: (counts[position], position))
        chosen = [index for index, each in left.items() if most in each]
        parts.append((most, chosen))
        left = {index: each for index, each in left.items() if index not in chosen}
    return parts
