"""Cut batches from tokens: padded for an encoder of the library, and where the real tokens stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm.train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some examples, padded to the longest of them, and where their tokens stand.

    inputs: what an encoder of the library takes, each (n_rows, longest); no attention mask where nothing is padded.
    rows, positions: (n_tokens,) int64, of each real token, row by row. firsts: (n_rows,) int64, which of them each row
    begins with.
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
    def of(cls, inputs: Mapping[str, NDArray[np.int64]], real: NDArray[np.bool_], device: torch.device) -> Batch:
        """`real`: (n_rows, longest), what is no padding. All of it goes to the device in one piece."""
        rows, positions = real.nonzero()
        firsts = np.concatenate([[0], np.cumsum(real.sum(axis=1))[:-1]])
        arrays = [rows, positions, firsts, *inputs.values()]
        whole = to_device(np.concatenate([array.ravel() for array in arrays]), device)
        parts = torch.split(whole, [array.size for array in arrays])
        shaped = [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
        return cls(
            rows=shaped[0], positions=shaped[1], firsts=shaped[2], inputs=dict(zip(inputs, shaped[3:], strict=True))
        )


def to_device(array: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """The same numbers there; a GPU goes on with its work meanwhile, which needs memory that cannot be paged out."""
    made = torch.from_numpy(array)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)


def cut(tokens: Tokens, rows: Sequence[int] | NDArray[np.int64], device: torch.device) -> Batch:
    """These examples, in this order."""
    rows = np.asarray(rows)
    lengths = tokens.lengths[rows]
    real = np.arange(lengths.max()) < lengths[:, None]
    input_ids = np.full(real.shape, tokens.pad_id, np.int64)
    input_ids[real] = np.concatenate([tokens.flat[tokens.starts[row] : tokens.starts[row + 1]] for row in rows])
    made = {"input_ids": input_ids}
    if not real.all():
        made["attention_mask"] = real.astype(np.int64)
    if tokens.segments:
        begins = tokens.text_starts[rows, None]
        made["token_type_ids"] = (real & (begins > 0) & (np.arange(real.shape[1]) >= begins)).astype(np.int64)
    return Batch.of(made, real, device)
