"""Predictions per example id, as Parquet. Every statistic is computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm import files
from empslurm.errors import DamagedError

NAME = "predictions.parquet"
COLUMNS = ("part", "id", "group", "gold", "output")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One part's predictions.

    gold: (n_examples,) label indices or values. outputs: logits (n_examples, n_labels), or values (n_examples,).
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    gold: NDArray[np.float64]
    outputs: NDArray[np.float64]


def write(path: Path, parts: Mapping[str, Predictions]) -> None:
    """Write all parts, in the order given, to one file. Equal predictions give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    outputs = [np.atleast_2d(part.outputs.T).T for part in parts.values()]
    table = pa.table(
        {
            "part": [name for name, part in parts.items() for _ in part.ids],
            "id": [example for part in parts.values() for example in part.ids],
            "group": [group for part in parts.values() for group in part.groups],
            "gold": np.concatenate([part.gold for part in parts.values()]).astype(np.float64),
            "output": pa.FixedSizeListArray.from_arrays(
                pa.array(np.concatenate(outputs).astype(np.float64).reshape(-1)), outputs[0].shape[1]
            ),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write_bytes(path, sink.getvalue().to_pybytes())


def read(path: Path) -> dict[str, Predictions]:
    """All parts of a file. Raises DamagedError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # From memory, in this thread: a gather reads thousands of small files, where threads cost more than they save.
        source = pa.BufferReader(files.read_bytes(path))
        table = pq.ParquetFile(source, read_dictionary=["part", "group"]).read(columns=list(COLUMNS), use_threads=False)
        width = table.schema.field("output").type.list_size
        flat: NDArray[Any] = table["output"].combine_chunks().flatten().to_numpy()
        outputs = flat.reshape(-1, width)
        gold = table["gold"].to_numpy()
        part = table["part"].combine_chunks()
        names, codes = part.dictionary.to_pylist(), part.indices.to_numpy(zero_copy_only=False)
        # NumPy converts all strings at once, pyarrow's to_pylist one by one.
        example, group = table["id"].to_numpy(), table["group"].cast(pa.string()).to_numpy()
        parts = {}
        for code in dict.fromkeys(codes.tolist()):
            rows = np.flatnonzero(codes == code)
            parts[str(names[code])] = Predictions(
                ids=tuple(example[rows].tolist()),
                groups=tuple(group[rows].tolist()),
                gold=gold[rows],
                outputs=outputs[rows] if width > 1 else outputs[rows, 0],
            )
    except Exception as error:
        raise DamagedError(
            f"{path} must hold predictions as written by a cell, but does not: {error}; move the cell's folder away "
            "and run it again"
        ) from error
    return parts
