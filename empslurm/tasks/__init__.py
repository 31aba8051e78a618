"""The datasets and their tasks: one module per dataset, all of them in the literal list below."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm.errors import EmpslurmError, ManifestError
from empslurm.tasks.datasets import condolence, conv, empdial, empdial_ei, epitome, eqt, hope, mi, news
from empslurm.tasks.schema import Dataset, Task

DATASETS: tuple[Dataset, ...] = (
    condolence.DATASET,
    conv.DATASET,
    empdial_ei.DATASET,
    empdial.DATASET,
    hope.DATASET,
    epitome.DATASET,
    eqt.DATASET,
    mi.DATASET,
    news.DATASET,
)

# The rows and columns of the paper's Tables 7 and 8, alphabetical by title.
TASK_ORDER: tuple[str, ...] = (
    "condolence",
    "conv_emoint",
    "conv_emopol",
    "conv_empathy",
    "empdial_ei",
    "empdial_emo",
    "empdial_role",
    "hope",
    "epitome_er",
    "epitome_ex",
    "epitome_ip",
    "empdial_qact",
    "empdial_qint",
    "mi_adherent",
    "mi_behavior",
    "news_distress",
    "news_emotion",
    "news_empathy",
)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All datasets and tasks: those of the paper in the order of its tables, then those of the cards."""

    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]

    def dataset_of(self, task: str) -> Dataset:
        """The dataset of a task."""
        return self.datasets[self.tasks[task].dataset]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A registry with the cards that are sound, and the problems of the others by file."""

    known: Registry
    refused: Mapping[str, tuple[str, ...]]


def registry(cards: Sequence[Path] = ()) -> Registry:
    """The built-in datasets and those of YAML cards (files, or folders of them). Raises ManifestError."""
    found = survey(cards)
    if found.refused:
        raise ManifestError([problem for problems in found.refused.values() for problem in problems])
    return found.known


def survey(cards: Sequence[Path] = ()) -> Survey:
    """As `registry`, but a card that is wrong stands in nobody's way."""
    datasets = {dataset.id: dataset for dataset in DATASETS}
    declared = {task.id: task for dataset in datasets.values() for task in dataset.tasks}
    tasks = {id: declared[id] for id in TASK_ORDER}
    refused: dict[str, tuple[str, ...]] = {}
    for card in cards:
        for file in _card_files(card):
            try:
                made = _read(file, {*datasets, *tasks})
            except EmpslurmError as error:
                refused[str(file)] = error.problems if isinstance(error, ManifestError) else (str(error),)
                continue
            datasets |= {dataset.id: dataset for dataset in made}
            tasks |= {task.id: task for dataset in made for task in dataset.tasks}
    return Survey(known=Registry(datasets=datasets, tasks=tasks), refused=refused)


def _card_files(path: Path) -> list[Path]:
    """A card, or those of a folder; the folder itself where it holds none, which is a problem to tell."""
    return (sorted(path.glob("*.yaml")) or [path]) if path.is_dir() else [path]


def _read(file: Path, taken: Collection[str]) -> list[Dataset]:
    """The datasets of one card. Raises ManifestError."""
    from empslurm.tasks.cards import read_cards  # reading YAML is for those who have cards

    if file.is_dir():
        raise ManifestError([f"a folder of cards must hold *.yaml files, but {file} holds none; name the card's file"])
    return read_cards([file], taken)
