"""Sealed checkpoint files: one line of JSON with the checksum, then the tensors; written beside and renamed.

Only what training changes is inside (adapters, head, optimiser, best weights so far), never the frozen backbone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from empslurm import files
from empslurm.errors import DamagedError, StoreError

MAX_BYTES = 8 * 2**30


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`state`: JSON values (cell id, step, history, ...). `tensors`: named, on the CPU."""

    state: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


def encode(checkpoint: Checkpoint) -> bytes:
    """Header line and tensors. Equal checkpoints give equal bytes."""
    body: bytes = save_tensors(
        {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    )
    header = {"sha256": files.sha256_bytes(body), "state": checkpoint.state}
    return json.dumps(header, sort_keys=True, allow_nan=False).encode() + b"\n" + body


def decode(data: bytes, name: str) -> Checkpoint:
    """Verify and parse. Raises DamagedError."""
    line, separator, body = data.partition(b"\n")
    try:
        header = json.loads(line)
        sound = bool(separator) and header["sha256"] == files.sha256_bytes(body)
        state = dict(header["state"])
        if not sound:
            raise ValueError("checksum")
        return Checkpoint(state=state, tensors=load_tensors(body))
    except Exception as error:
        raise DamagedError(f"{name} must be a sound checkpoint, but is damaged; the one before it is used") from error


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write, read back, and only then drop all but the one before. Raises StoreError; older files stay intact."""
    path = folder / f"step-{checkpoint.state['step']:09d}.ckpt"
    files.write_bytes(path, encode(checkpoint))
    decode(files.read_bytes(path, MAX_BYTES), str(path))
    for old in _newest_first(folder)[2:]:
        old.unlink(missing_ok=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def read_sound(folder: Path, cell_id: str) -> tuple[list[Checkpoint], list[str]]:
    """The sound checkpoints of this cell, newest first, and a sentence for each file that had to be passed over."""
    sound: list[Checkpoint] = []
    passed: list[str] = []
    for path in _newest_first(folder):
        try:
            checkpoint = decode(files.read_bytes(path, MAX_BYTES), str(path))
        except (StoreError, FileNotFoundError) as error:
            passed.append(str(error))
            continue
        if checkpoint.state.get("id") == cell_id:
            sound.append(checkpoint)
        else:
            passed.append(f"{path} must belong to {cell_id}, but is another cell's; it is passed over")
    return sound, passed


def common_steps(steps: Sequence[Collection[int]]) -> list[tuple[int, list[int]]]:
    """Who goes on from which step: (step, places in `steps`) per part, each place once.

    Cells of a pack go on from the newest step that all of them have: a kill between two cells' checkpoints leaves them
    one apart. Where there is none, those that share a step form parts of their own; 0 is the beginning.
    """
    parts: list[tuple[int, list[int]]] = []
    left = list(range(len(steps)))
    while left:
        counts = Counter(step for place in left for step in set(steps[place]) | {0})
        counts[0] = sum(not steps[place] for place in left)  # nobody who has a checkpoint starts anew
        step = max(counts, key=lambda step: (counts[step], step))
        chosen = [place for place in left if step in steps[place] or (step == 0 and not steps[place])]
        parts.append((step, chosen))
        left = [place for place in left if place not in chosen]
    return parts
