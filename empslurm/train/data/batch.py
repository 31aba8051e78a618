"""Cut batches from tokens: padded as the library's encoders need them, with the places of the real tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm.train.data.tokens import Tokens

PLACES = ("rows", "positions", "firsts")
EVEN_LENGTH = 8  # matrix units work best on rows of 16 bytes
EVEN_PARTS = 16  # the number of tokens of an even batch is a multiple of a 16th of its padded size
EVEN_TOKENS = 32  # that 16th is rounded up to a multiple of this


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some examples, padded to the longest of them, and the places of their tokens.

    inputs: the arguments of the library's encoders, each (n_rows, longest); no attention mask where nothing is padded.
    rows, positions: (n_tokens,) int64, of each kept token, row by row. firsts: (n_rows,) int64, the index of each row's
    first token among them. An even batch keeps some padding too, which attention never sees.
    """

    inputs: dict[str, torch.Tensor]
    rows: torch.Tensor
    positions: torch.Tensor
    firsts: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """n_rows, longest."""
        n_rows, longest = self.inputs["input_ids"].shape
        return n_rows, longest

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return "attention_mask" in self.inputs

    @classmethod
    def of(cls, inputs: Mapping[str, NDArray[np.int64]], kept: NDArray[np.bool_], device: torch.device) -> Batch:
        """A batch on a device. `kept`: (n_rows, longest), False for padding."""
        return Cut.of(inputs, kept).on(device)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A batch before it is on the device: all its numbers in one array, so that one copy is enough.

    values: (n,) int64. shapes: name and shape of each part, in order: `along`, `Batch`'s own, its inputs.
    """

    values: NDArray[np.int64]
    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, NDArray[np.int64]],
        kept: NDArray[np.bool_],
        along: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> Cut:
        """`kept`: (n_rows, longest), the tokens of the batch. `along`: more arrays that a pass needs."""
        rows, positions = kept.nonzero()
        firsts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))[:-1]])
        parts = {**(along or {}), **dict(zip(PLACES, (rows, positions, firsts), strict=True)), **inputs}
        return cls(
            values=np.concatenate([part.ravel() for part in parts.values()]).astype(np.int64, copy=False),
            shapes=tuple((name, part.shape) for name, part in parts.items()),
        )

    def parts(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parts by name, as views of `values` (n,) on the device."""
        pieces = torch.split(values, [math.prod(shape) for _, shape in self.shapes])
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes, pieces, strict=True)}

    def on(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return batch_of(self.parts(to_device(self.values, device)))


def batch_of(parts: Mapping[str, torch.Tensor]) -> Batch:
    """The batch among the parts of a `Cut`."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    places = {name: parts[name] for name in PLACES}
    return Batch(inputs={name: parts[name] for name in names if name in parts}, **places)


def to_device(array: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Copy to the device; a GPU computes meanwhile, which needs pinned memory."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_host(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Independent copies on the CPU; waits once for all copies from a GPU."""
    if not any(value.is_cuda for value in tensors.values()):
        return {name: value.detach().clone() for name, value in tensors.items()}
    copies = {}
    for name, value in tensors.items():
        copies[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        copies[name].copy_(value.detach(), non_blocking=True)
    torch.cuda.synchronize()
    return copies


def cut(tokens: Tokens, rows: Sequence[int] | NDArray[np.int64], device: torch.device) -> Batch:
    """The batch of these examples, in this order."""
    return cut_here(tokens, rows).on(device)


def cut_here(
    tokens: Tokens,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    even: bool = False,
    along: Mapping[str, NDArray[np.int64]] | None = None,
) -> Cut:
    """Like `cut`, but not yet on a device.

    `even`: batches of a size get few different shapes. Lengths are multiples of EVEN_LENGTH, and some padding is kept
    as EVEN_PARTS says: about 4 % more to compute.
    """
    rows = np.asarray(rows)
    lengths = tokens.lengths[rows]
    longest = int(lengths.max())
    if even:
        # The longest text of all fits the encoder; a longer batch may not.
        longest = min(-(-longest // EVEN_LENGTH) * EVEN_LENGTH, int(tokens.lengths.max()))
    real = np.arange(longest) < lengths[:, None]
    input_ids = np.full(real.shape, tokens.pad_id, np.int64)
    input_ids[real] = np.concatenate([tokens.flat[tokens.starts[row] : tokens.starts[row + 1]] for row in rows])
    inputs = {"input_ids": input_ids}
    if even or not real.all():
        inputs["attention_mask"] = real.astype(np.int64)
    if tokens.segments:
        begins = tokens.text_starts[rows, None]
        inputs["token_type_ids"] = (real & (begins > 0) & (np.arange(real.shape[1]) >= begins)).astype(np.int64)
    return Cut.of(inputs, _evened(real) if even else real, along)


def _evened(real: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`real` (n_rows, longest) with as much of its padding as makes an even batch, see EVEN_PARTS."""
    unit = math.ceil(real.size / EVEN_PARTS / EVEN_TOKENS) * EVEN_TOKENS
    n_tokens = int(real.sum())
    n_more = min(real.size, -(-n_tokens // unit) * unit) - n_tokens
    kept = real.copy()
    kept.ravel()[np.flatnonzero(~real)[:n_more]] = True
    return kept
