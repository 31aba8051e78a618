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
    begins with. All of it is worked out before it goes to the device, which nothing has to wait for.
    """

    inputs: dict[str, torch.Tensor]
    rows: torch.Tensor
    positions: torch.Tensor
    firsts: torch.Tensor

    @classmethod
    def of(cls, inputs: Mapping[str, NDArray[np.int64]], real: NDArray[np.bool_], device: torch.device) -> Batch:
        """`real`: (n_rows, longest), what is no padding."""
        rows, positions = real.nonzero()
        firsts = np.concatenate([[0], np.cumsum(real.sum(axis=1))[:-1]])

        def there(array: NDArray[np.int64]) -> torch.Tensor:
            return torch.from_numpy(array).to(device, non_blocking=True)

        return cls(
            inputs={name: there(array) for name, array in inputs.items()},
            rows=there(rows),
            positions=there(positions),
            firsts=there(firsts),
        )


def cut(tokens: Tokens, rows: Sequence[int] | NDArray[np.int64], device: torch.device) -> Batch:
    """These examples, in this order."""
    lengths = np.array([tokens.starts[row + 1] - tokens.starts[row] for row in rows])
    longest = int(lengths.max())
    real = np.arange(longest) < lengths[:, None]
    input_ids = np.full(real.shape, tokens.pad_id, np.int64)
    types = np.zeros(real.shape, np.int64)
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        input_ids[place, :length] = tokens.flat[tokens.starts[row] : tokens.starts[row + 1]]
        if tokens.segments and tokens.text_starts[row]:
            types[place, tokens.text_starts[row] : length] = 1
    made = {"input_ids": input_ids}
    if not real.all():
        made["attention_mask"] = real.astype(np.int64)
    if tokens.segments:
        made["token_type_ids"] = types
    return Batch.of(made, real, device)
