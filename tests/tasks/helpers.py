"""Shared by the readers' tests: write invented files, and read them by a dataset's form."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from empslurm.tasks.schema import Dataset, Example, LeftOut, Reject

Item = Example | Reject | LeftOut


def read(dataset: Dataset, folder: Path, contents: Mapping[str, str | bytes], form: int = 0) -> list[Item]:
    """Everything that a form's reader gives for files with these contents."""
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        paths[name].write_bytes(content.encode() if isinstance(content, str) else content)
    return list(dataset.forms[form].read(paths))


def good(items: Sequence[Item]) -> list[Example]:
    """The examples."""
    return [item for item in items if isinstance(item, Example)]


def bad(items: Sequence[Item]) -> list[tuple[str, int]]:
    """File and row of the rejects."""
    return [(item.file, item.row) for item in items if isinstance(item, Reject)]
