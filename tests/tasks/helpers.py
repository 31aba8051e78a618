"""What the readers' tests share: write invented files, read them through a dataset's form."""

from collections.abc import Mapping
from pathlib import Path

from empslurm.tasks.schema import Dataset, Example, Reject


def read(dataset: Dataset, folder: Path, contents: Mapping[str, str | bytes], form: int = 0) -> list[Example | Reject]:
    """Everything that a form's reader gives for files with these contents."""
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        paths[name].write_bytes(content.encode() if isinstance(content, str) else content)
    return list(dataset.forms[form].read(paths))


def good(items: list[Example | Reject]) -> list[Example]:
    """The examples."""
    return [item for item in items if isinstance(item, Example)]


def bad(items: list[Example | Reject]) -> list[tuple[str, int]]:
    """File and row of the rejects."""
    return [(item.file, item.row) for item in items if isinstance(item, Reject)]
