"""MI: counsellor behaviours in peer support on Reddit, by the MITI scheme (Welivita and Pu, EMNLP 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.own_tables import describe, read_table
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FILE = "mi.csv"
ADHERENT = (
    "Affirm", "Give Information", "Complex Reflection", "Support", "Closed Question", "Emphasize Autonomy",
    "Simple Reflection", "Advise with Permission", "Open Question",
)  # fmt: skip
NON_ADHERENT = ("Advise without Permission", "Self-Disclose", "Direct", "Warn", "Confront")
BEHAVIORS = (*ADHERENT, *NON_ADHERENT)
KINDS = ("adherent", "non-adherent")


def _labels(value: Mapping[str, str]) -> Mapping[str, str | float] | str:
    """One label per sentence; `Other` belongs to no task and is left out without a word."""
    label = value["label"]
    if label == "Other":
        return ""
    if label not in BEHAVIORS:
        return f"label must be one of {', '.join(BEHAVIORS)} or Other, but is not"
    return {"mi_behavior": label, "mi_adherent": KINDS[label in NON_ADHERENT]}


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The user's own table, made from "MI Dataset.csv"."""
    return read_table(paths[FILE], ("label",), _labels)


def _task(id: str, title: str, labels: tuple[str, ...]) -> Task:
    return Task(
        id=id,
        title=title,
        dataset="mi",
        kind="classification",
        labels=labels,
        data_source="Reddit",
        language_setting="social media",
    )


DATASET = Dataset(
    id="mi",
    title="MI",
    family="mi",
    tasks=(_task("mi_adherent", "MI Adherent", KINDS), _task("mi_behavior", "MI Behavior", BEHAVIORS)),
    forms=(Form(name="own table", files=(RawFile(name=FILE),), read=read),),
    citation="Welivita and Pu (2022). Curating a Large-Scale Motivational Interviewing Dataset Using Peer Support Forums. COLING.",
    licence="CC BY-NC-SA 3.0",
    obtain='get "MI Dataset.csv" of github.com/anuradha1992/Motivational-Interviewing-Dataset at commit ced27c3; then '
    + describe(FILE, "mi", "label (one of the 14 behaviours, or Other)"),
    notes="One label per sentence: the paper says multi-label, but its Table 12 sums to 100 %.",
    published={"n_examples": 15_645, "n_vocabulary": 14_876, "n_tokens": 3_344_011},
)
