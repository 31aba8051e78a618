"""The datasets and their tasks: the built-in ones of `datasets`, and those of YAML cards.

This package holds what all datasets share: finding raw files, reading rows, splits, prepared tables, duplicates and
leaks. What concerns one dataset is in `datasets`, tokens and batches in `train.data`, the paper's numbers in
`reference`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm import reference
from empslurm.errors import EmpslurmError, ManifestError
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.schema import Dataset, Task


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All datasets and tasks: the paper's in the order of its tables, other built-in ones, then those of cards."""

    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]

    def dataset_of(self, task: str) -> Dataset:
        """The dataset of a task."""
        return self.datasets[self.tasks[task].dataset]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A registry with the valid cards, and the problems of the others by file."""

    known: Registry
    refused: Mapping[str, tuple[str, ...]]


def registry(cards: Sequence[Path] = ()) -> Registry:
    """The built-in datasets and those of YAML cards (files, or folders of them). Raises ManifestError."""
    surveyed = survey(cards)
    if surveyed.refused:
        raise ManifestError([problem for problems in surveyed.refused.values() for problem in problems])
    return surveyed.known


def survey(cards: Sequence[Path] = ()) -> Survey:
    """As `registry`, but a wrong card is left out and its problems are returned."""
    datasets = {dataset.id: dataset for dataset in DATASETS}
    tasks = _built_in_tasks()
    refused: dict[str, tuple[str, ...]] = {}
    for card in cards:
        for file in _card_files(card):
            try:
                of_card = _read(file, {*datasets, *tasks})
            except EmpslurmError as error:
                refused[str(file)] = error.problems if isinstance(error, ManifestError) else (str(error),)
                continue
            datasets |= {dataset.id: dataset for dataset in of_card}
            tasks |= {task.id: task for dataset in of_card for task in dataset.tasks}
    return Survey(known=Registry(datasets=datasets, tasks=tasks), refused=refused)


def _built_in_tasks() -> dict[str, Task]:
    """By id: the tasks of the paper in the order of its tables, then the others as declared."""
    declared = {task.id: task for dataset in DATASETS for task in dataset.tasks}
    of_paper = [id for id in reference.task_ids() if id in declared]
    return {id: declared[id] for id in dict.fromkeys((*of_paper, *declared))}


def _card_files(path: Path) -> list[Path]:
    """A card, or those of a folder; the folder itself where it holds none, which `_read` refuses."""
    return (sorted(path.glob("*.yaml")) or [path]) if path.is_dir() else [path]


def _read(file: Path, taken: Collection[str]) -> list[Dataset]:
    """The datasets of one card. Raises ManifestError."""
    from empslurm.tasks.cards import read_cards  # so that YAML is read only where there are cards

    if file.is_dir():
        raise ManifestError([f"a folder of cards must hold *.yaml files, but {file} holds none; name the card's file"])
    return read_cards([file], taken)
