"""Condolence: empathy of condolences on Reddit, rated 1 to 5 (Zhou and Jurgens, EMNLP 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.generic_table import describe, read_table
from empslurm.tasks.records import number
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FILE = "condolence.tsv"


def _labels(value: Mapping[str, str]) -> Mapping[str, str | float] | str:
    empathy = number(value["empathy"], 1, 5)
    return "empathy must be a number from 1 to 5, but is not" if empathy is None else {"condolence": empathy}


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The user's own table; the authors' layout is not public."""
    return read_table(paths[FILE], ("empathy",), _labels)


DATASET = Dataset(
    id="condolence",
    title="Condolence",
    family="condolence",
    tasks=(
        Task(
            id="condolence",
            title="Condolence",
            dataset="condolence",
            kind="regression",
            low=1.0,
            high=5.0,
            data_source="Reddit",
            language_setting="social media",
        ),
    ),
    forms=(Form(name="own table", files=(RawFile(name=FILE),), read=read),),
    citation="Zhou and Jurgens (2020). Condolence and Empathy in Online Communities. EMNLP.",
    licence="on request (sensitive)",
    obtain="ask its authors (github.com/naitian/Condolence-Empathy-Online-Communities); then "
    + describe(FILE, "condolence", "empathy (1 to 5)"),
    published={"n_examples": 1_004, "n_vocabulary": 15_139, "n_tokens": 353_951},
)
