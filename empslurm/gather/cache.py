"""Verified results, kept in one compact file below runs/gathered, so that a second gather does not read them again."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from empslurm import files
from empslurm.errors import StoreError
from empslurm.gather.verify import SCORES, Row, fingerprint, verify
from empslurm.store.cell_folder import RESULT, CellDir
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    import pandas as pd

NAME = "verified-4.parquet"  # increase the number when the meaning of a row changes
CHUNK = 100  # results per job of the process pool
WORTH_A_POOL = 400  # fewer new results are verified in this process: starting a pool takes over a second
TEXT = ("id", "kind", "source", "target", "parent", "labels", "setting", "metric", "flags", "seal")
COLUMNS: dict[str, str] = {
    **dict.fromkeys(TEXT, "string"),
    "seed": "int64",
    "fraction": "float64",
    **dict.fromkeys(("best_epoch", "n_steps", "n_tokens", "n_train"), "float64"),
    **dict.fromkeys(("n_validation", "n_validation_groups", "n_test", "n_test_groups"), "float64"),
    **dict.fromkeys(("wall_s", "energy_j", "gpu_memory_mib"), "float64"),
    **dict.fromkeys(("device", "driver", "mig_profile", "commit", "finished", "curve"), "string"),
    **dict.fromkeys(SCORES, "float64"),
    **dict.fromkeys(("output", "files", "fingerprint"), "string"),
}


def verified(
    root: RunsRoot, wanted: Sequence[str], advance: Callable[[int], None], *, fresh: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row per finished cell of `wanted` (columns: `COLUMNS`), and cell id -> why its result was refused.

    `advance(n)` is called whenever n more cells are done. Cells without a result are in neither. `fresh`: read every
    byte of every result, and write nothing; size and time of a file show no change that somebody wants to hide.
    """
    import pandas as pd

    known = _frame([]) if fresh else _read(root)
    good = _unchanged(root, known, set(wanted))
    advance(len(good))
    rows, refused = _verify_all(root, [cell for cell in wanted if cell not in good], advance)
    kept: pd.DataFrame = known.loc[[cell for cell in known.index if cell not in rows]]
    if rows:
        kept = pd.concat([kept, _frame(list(rows.values()))])
        if not fresh:
            _write(root, kept)
    there = [cell for cell in wanted if cell in good or cell in rows]
    table: pd.DataFrame = kept.loc[there]
    return table, refused


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return frame.set_index("id", drop=False).rename_axis(None)


def _read(root: RunsRoot) -> pd.DataFrame:
    """The cached rows; none where the file is missing or unreadable, since it can be made again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.suppress(OSError, StoreError, pa.ArrowException, ValueError, KeyError, TypeError):
        data = files.read_bytes(root.gathered / NAME)
        table: pd.DataFrame = pq.read_table(pa.BufferReader(data)).to_pandas()
        return table[list(COLUMNS)].astype(COLUMNS).set_index("id", drop=False).rename_axis(None)
    return _frame([])


def _write(root: RunsRoot, rows: pd.DataFrame) -> None:
    """Keep the rows, where the runs root may be written: another lab's may not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), sink, compression="zstd")
    with contextlib.suppress(StoreError):
        files.write_bytes(root.gathered / NAME, sink.getvalue().to_pybytes())


def _unchanged(root: RunsRoot, known: pd.DataFrame, wanted: set[str]) -> set[str]:
    """The cached cells whose files have not changed since they were verified."""
    folder = root.cell_paths()
    remembered = zip(known["id"].tolist(), known["files"].tolist(), known["fingerprint"].tolist(), strict=True)
    return {
        cell
        for cell, names, before in remembered
        if cell in wanted and fingerprint(folder(cell), names.split("\n")) == before
    }


def _verify_all(
    root: RunsRoot, cells: Sequence[str], advance: Callable[[int], None]
) -> tuple[dict[str, Row], dict[str, str]]:
    rows: dict[str, Row] = {}
    refused: dict[str, str] = {}
    for chunk in _chunks(root, cells):
        for cell, outcome in chunk:
            if isinstance(outcome, str):
                refused[cell] = outcome
            elif outcome is not None:
                rows[cell] = outcome
        advance(len(chunk))
    return rows, refused


Outcome = Row | str | None  # a verified row, the reason of a refusal, or no result


def _chunks(root: RunsRoot, cells: Sequence[str]) -> Iterator[list[tuple[str, Outcome]]]:
    tasks = [(root, cells[start : start + CHUNK]) for start in range(0, len(cells), CHUNK)]
    n_workers = len(os.sched_getaffinity(0))
    folder = root.cell_paths()
    there = sum(os.path.exists(f"{folder(cell)}/{RESULT}") for cell in cells)
    if there < WORTH_A_POOL or n_workers < 2:
        yield from map(_verify_chunk, tasks)
        return
    with ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_verify_chunk, tasks)


def _verify_chunk(task: tuple[RunsRoot, Sequence[str]]) -> list[tuple[str, Outcome]]:
    root, cells = task
    return [(cell, _verify_one(root.cell(cell))) for cell in cells]


def _verify_one(folder: CellDir) -> Outcome:
    try:
        return verify(folder)
    except StoreError as error:
        return str(error)
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        path = folder.result_file
        return f"{path} must be a result of this version, but is not ({type(error).__name__}: {error}); move it away"
