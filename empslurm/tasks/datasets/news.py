"""News: essays written after a news article, with the writers' own empathy and distress (Buechel et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.datasets.wassa import LICENCE, OBTAIN, with_gold
from empslurm.tasks.records import number, read_rows
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

EMOTIONS = ("Sadness", "Neutral", "Anger", "Disgust", "Hope", "Fear", "Joy", "Surprise")
TRAIN, DEV, GOLD = "WASSA23_essay_level_with_labels_train.tsv", "WASSA23_essay_level_dev.tsv", "goldstandard_dev.tsv"
TEXT = ("essay_id", "article_id", "essay")
LABELS = ("empathy", "distress", "emotion")


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Train with its labels, then dev with the gold file: 792 + 208 essays."""
    sources = (
        (TRAIN, read_rows(paths[TRAIN], (*TEXT, *LABELS), delimiter="\t", quoted=False)),
        (DEV, with_gold(paths[DEV], TEXT, paths[GOLD], LABELS)),
    )
    for name, rows in sources:
        for item in rows:
            yield item if isinstance(item, Reject) else _example(name, *item)


def _example(name: str, row: int, value: Mapping[str, str]) -> Example | Reject:
    empathy, distress = number(value["empathy"], 1, 7), number(value["distress"], 1, 7)
    emotion = value["emotion"].split("/")[0]  # "Anger/Disgust": the first named counts
    if not value["essay"] or not value["article_id"]:
        return Reject(file=name, row=row, reason="has an empty essay or article_id")
    if empathy is None or distress is None:
        return Reject(file=name, row=row, reason="empathy and distress must be numbers from 1 to 7, but are not")
    if emotion not in EMOTIONS:
        return Reject(file=name, row=row, reason=f"emotion must be one of {', '.join(EMOTIONS)}, but is not")
    part = "train" if name == TRAIN else "dev"
    return Example(
        id=f"{part}-{row}",
        group=value["article_id"].removesuffix(".0"),
        context=(),
        text=value["essay"],
        labels={"news_distress": distress, "news_empathy": empathy, "news_emotion": emotion},
    )


def _rating(id: str, title: str) -> Task:
    return Task(
        id=id,
        title=title,
        dataset="news",
        kind="regression",
        low=1.0,
        high=7.0,
        data_source="crowd-sourced",
        language_setting="essay",
    )


DATASET = Dataset(
    id="news",
    title="News Stories",
    family="wassa",
    tasks=(
        _rating("news_distress", "News Distress"),
        Task(
            id="news_emotion",
            title="News Emotion",
            dataset="news",
            kind="classification",
            labels=EMOTIONS,
            data_source="crowd-sourced",
            language_setting="essay",
        ),
        _rating("news_empathy", "News Empathy"),
    ),
    forms=(
        Form(
            name="wassa2023",
            files=(
                RawFile(name=TRAIN, sha256="945ac6c39c2384fce2883670d614fffa26b9c2c8bec06f861bc7553531ab4ca2"),
                RawFile(name=DEV, sha256="b5bdbc3964959f4d59f2754b6af5f9d3e0324741650df171bd098a3f2d460979"),
                RawFile(name=GOLD, sha256="1fc3b6036bc6670c6e36d88d1fd2743174c015e50812dc73b903a5e3315aa351"),
            ),
            read=read,
            n_examples=1_000,
            recorded={
                "news_distress": (3.786, 1.995),
                "news_emotion": (375, 273, 162, 88, 44, 38, 11, 9),
                "news_empathy": (4.258, 1.947),
            },
        ),
    ),
    citation="Buechel, Buffone, Slaff, Ungar and Sedoc (2018). Modeling Empathy and Distress in Reaction to News "
    "Stories. EMNLP. Release: Barriere, Sedoc, Tafreshi and Giorgi (2023), WASSA shared task.",
    licence=LICENCE,
    obtain=OBTAIN.format(files=f"{TRAIN}, {DEV} and {GOLD}", dataset="news"),
    notes="1,000 essays. The paper counts 2,700 = 800 + 1,000 + 900; its validation figures equal the whole pool's, "
    "so its train and test parts were almost certainly drawn from the same 1,000.",
    published={"n_examples": 2_700, "n_vocabulary": 6_324, "n_tokens": 228_764},
)
