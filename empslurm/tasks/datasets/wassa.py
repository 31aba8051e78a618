"""What news and conv share: one release (WASSA 2023), with the gold labels of dev in a separate file, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from empslurm.errors import DataError
from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Reject

OBTAIN = (
    "register for the WASSA 2023 shared task (CodaLab), or take the participants' mirror "
    "github.com/CAS-SIAT-XinHai/XinHai-at-WASSA2024 at commit add9898, evaluations/llmeval/wassa2023/wassa2023.zip, "
    "and unpack {files} into DATA/{dataset}/"
)
LICENCE = "research use; no explicit data licence was found: do not republish"


def with_gold(
    dev: Path, columns: Sequence[str], gold: Path, gold_columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]] | Reject]:
    """Rows of the dev file joined to the headerless gold file by position. Raises DataError where lengths differ."""
    rows = list(read_rows(dev, columns, delimiter="\t", quoted=False))
    labels = list(read_rows(gold, gold_columns, delimiter="\t", quoted=False, header=False))
    if len(rows) != len(labels):
        raise DataError(
            f"{gold.name} must have one line for each of the {len(rows):,} rows of {dev.name}, but has "
            f"{len(labels):,}; take both files from one release"
        )
    for row, label in zip(rows, labels, strict=True):
        if isinstance(row, Reject) or isinstance(label, Reject):
            yield row if isinstance(row, Reject) else label if isinstance(label, Reject) else row
        else:
            yield row[0], {**row[1], **label[1]}
