"""The built-in datasets: one module each, and one entry each in the literal registry below.

A module holds what concerns one dataset: its files with their checksums, how they are read, tasks, citation, licence,
how to obtain it. What several datasets share (rows, splits, preparation) is in `tasks`; a dataset that needs no code is
a YAML card; the paper's numbers on its tasks are in `reference`.
"""

from __future__ import annotations

from empslurm.tasks.datasets import condolence, conv, empdial, empdial_ei, epitome, eqt, hope, mi, news
from empslurm.tasks.schema import Dataset

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
