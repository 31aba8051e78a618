"""Conv: turns of conversations about news articles, rated by others (Omitaomu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.records import number, read_rows
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task
from empslurm.tasks.wassa import LICENCE, OBTAIN, with_gold

TRAIN, DEV = "WASSA23_conv_level_with_labels_train.tsv", "WASSA23_conv_level_dev.tsv"
GOLD = "goldstandard_CONV_dev.tsv"
TEXT = ("conversation_id", "turn_id", "text", "article_id")
# column -> (task, lowest, highest); only this order of the gold file's columns gives the means of the paper's Table 9
LABELS = {
    "EmotionalPolarity": ("conv_emopol", 0.0, 2.0),
    "Emotion": ("conv_emoint", 0.0, 5.0),
    "Empathy": ("conv_empathy", 0.0, 5.0),
}


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Train and dev turns in their order within a conversation (the files hold them in string order: 0, 1, 10, 11, 2)."""
    turns: dict[str, list[tuple[int, str, dict[str, float], str]]] = {}
    sources = (
        (TRAIN, read_rows(paths[TRAIN], (*TEXT, *LABELS), delimiter="\t", quoted=False)),
        (DEV, with_gold(paths[DEV], TEXT, paths[GOLD], tuple(LABELS))),
    )
    for name, rows in sources:
        for item in rows:
            if isinstance(item, Reject):
                yield item
                continue
            row, value = item
            labels, reason = _labels(value)
            if reason:
                yield Reject(file=name, row=row, reason=reason)
                continue
            key = value["conversation_id"]
            turns.setdefault(key, []).append((int(value["turn_id"]), value["text"], labels, value["article_id"]))
    for conversation, said in turns.items():
        said.sort(key=lambda turn: turn[0])
        for place, (turn, text, labels, article) in enumerate(said):
            yield Example(
                id=f"{conversation}-{turn}",
                group=article.removesuffix(".0"),
                context=tuple(earlier[1] for earlier in said[:place]),
                text=text,
                labels=labels,
            )


def _labels(value: Mapping[str, str]) -> tuple[dict[str, float], str]:
    """The three ratings, or the reason why the row cannot be used."""
    if not value["text"]:
        return {}, "has an empty text"
    if not value["turn_id"].isdecimal():
        return {}, "turn_id must be a whole number, but is not"
    labels = {}
    for column, (task, low, high) in LABELS.items():
        rating = number(value[column], low, high)
        if rating is None:
            return {}, f"{column} must be a number from {low:g} to {high:g}, but is not"
        labels[task] = rating
    return labels, ""


def _task(id: str, title: str, high: float) -> Task:
    return Task(
        id=id,
        title=title,
        dataset="conv",
        kind="regression",
        low=0.0,
        high=high,
        data_source="crowd-sourced",
        language_setting="conversation",
    )


DATASET = Dataset(
    id="conv",
    title="Conv",
    family="wassa",
    tasks=(
        _task("conv_emoint", "Conv EmoInt", 5.0),
        _task("conv_emopol", "Conv EmoPol", 2.0),
        _task("conv_empathy", "Conv Empathy", 5.0),
    ),
    forms=(
        Form(
            name="wassa2023",
            files=(
                RawFile(name=TRAIN, sha256="f0a865931f49659b7e0ce232d1248b62cd677ccebc6abe617cc6a626f95059e5"),
                RawFile(name=DEV, sha256="5942cb5774e6ec58306e329df7b29caef09902aeb4b061b36a30e7c0db604f4f"),
                RawFile(name=GOLD, sha256="35d99118a54f9081f0db26fd77bebe0823388bc07677b0681d8f2e031bf43af6"),
            ),
            read=read,
            n_examples=11_176,
        ),
    ),
    citation="Omitaomu, Tafreshi, Liu, Buechel, Callison-Burch, Eichstaedt, Ungar and Sedoc (2022). Empathic Conversations: A "
    "Multi-level Dataset of Contextualized Conversations. arXiv:2205.12698.",
    licence=LICENCE,
    obtain=OBTAIN.format(files=f"{TRAIN}, {DEV} and {GOLD}", dataset="conv"),
    notes="Ratings are averages of up to three annotators. Its writers are the writers of the news essays on the same articles.",
    published={"n_examples": 11_176, "n_vocabulary": 11_040, "n_tokens": 3_755_038},
)
