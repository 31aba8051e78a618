"""The datasets and their tasks: one module per dataset, all of them in the literal list below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm.tasks import condolence, conv, empdial, empdial_ei, epitome, eqt, hope, mi, news
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


def registry(cards: Sequence[Path] = ()) -> Registry:
    """The built-in datasets and those of YAML cards (files, or folders of them). Raises ManifestError."""
    datasets = {dataset.id: dataset for dataset in DATASETS}
    declared = {task.id: task for dataset in datasets.values() for task in dataset.tasks}
    tasks = {id: declared[id] for id in TASK_ORDER}
    if cards:
        from empslurm.tasks.cards import read_cards  # reading YAML is for those who have cards

        for dataset in read_cards(cards, taken={*datasets, *tasks}):
            datasets[dataset.id] = dataset
            tasks.update((task.id, task) for task in dataset.tasks)
    return Registry(datasets=datasets, tasks=tasks)
