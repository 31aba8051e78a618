"""The construct ratings and the paper's published tables, as typed rows of the CSV files in this folder.

Source: Lahnala, Welch, Jurgens and Flek (2024), "The Muddy Waters of Modeling Empathy in Language". Every file opens
with comment lines that name the table it copies and what is odd about it in print; `provenance` returns them. What we
compute ourselves, or what a dataset's files say, does not belong here.
"""

from __future__ import annotations

from empslurm.reference.loaders import (
    RATED,
    DatasetSize,
    HyperParameters,
    LabelShare,
    Provenance,
    PublishedAgreement,
    PublishedImportance,
    PublishedScore,
    Rating,
    SplitStatistic,
    TaskRow,
    ThemeRow,
    agreement,
    dataset_sizes,
    hyper_parameters,
    importances,
    label_shares,
    provenance,
    ratings,
    scores,
    split_statistics,
    task_ids,
    tasks,
    themes,
)

__all__ = [
    "RATED",
    "DatasetSize",
    "HyperParameters",
    "LabelShare",
    "Provenance",
    "PublishedAgreement",
    "PublishedImportance",
    "PublishedScore",
    "Rating",
    "SplitStatistic",
    "TaskRow",
    "ThemeRow",
    "agreement",
    "dataset_sizes",
    "hyper_parameters",
    "importances",
    "label_shares",
    "provenance",
    "ratings",
    "scores",
    "split_statistics",
    "task_ids",
    "tasks",
    "themes",
]
