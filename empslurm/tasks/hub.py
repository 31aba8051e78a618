"""Save a dataset of the Hugging Face hub, or of a local folder of its library, as the Parquet file of a card."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from empslurm.errors import DataError

ON_DISK = ("state.json", "dataset_dict.json")  # one of them is in what `save_to_disk` wrote


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder, not a hub id."""
    return name.startswith(("./", "../", "/", "~"))


def save(name: str, config: str | None, split: str, revision: str | None, path: Path) -> Path:
    """Write the split to `path`, atomically; an existing file is kept. No code of the dataset is run. Raises DataError.

    `name`: a hub id with its revision, or a folder that `save_to_disk` wrote or that holds Parquet files.
    """
    if path.exists():
        return path
    work = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}")
    try:
        work.mkdir(parents=True)
        table = _read(name, config, split, revision, work / "cache")
        table.to_parquet(work / "table")
        os.replace(work / "table", path)
    except DataError:
        raise
    except Exception as error:  # the library and the network raise whatever they like
        what = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}"
        must = f"the dataset {name} must be read (split {split}), but cannot be ({what})"
        fix = f"check name, config and splits in the card's hub section, or put {path.name} into {path.parent}"
        raise DataError(f"{must}; {fix}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def _read(name: str, config: str | None, split: str, revision: str | None, cache: Path) -> Any:
    """One split, as the library's table."""
    import datasets

    with _quiet(datasets):
        folder = Path(name).expanduser()
        if not is_folder(name):
            return datasets.load_dataset(name, config, split=split, revision=revision, cache_dir=str(cache))
        if not folder.is_dir():
            raise DataError(
                f"{folder} must be a folder with a dataset, but is not; write another one as hub.name in the card"
            )
        if not any((folder / mark).is_file() for mark in ON_DISK):
            return datasets.load_dataset(str(folder), config, split=split, cache_dir=str(cache))
        saved = datasets.load_from_disk(str(folder))
        if not isinstance(saved, datasets.DatasetDict):
            return saved
        if split not in saved:
            raise DataError(
                f"{folder} must have the split {split}, but has {', '.join(saved)}; name one of these in the card"
            )
        return saved[split]


@contextlib.contextmanager
def _quiet(datasets: Any) -> Any:
    """Switch off the library's own progress bars."""
    shown: bool = datasets.is_progress_bar_enabled()
    switch: Callable[[], None] = datasets.enable_progress_bars if shown else datasets.disable_progress_bars
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        switch()
