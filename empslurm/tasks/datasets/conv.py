"""Conv: turns of conversations about news articles, rated by others (Omitaomu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.datasets.wassa import LICENCE, OBTAIN, with_gold
from empslurm.tasks.records import number, read_rows, whole
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

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
    """Train and dev turns in their order within a conversation (the files hold 0, 1, 10, 11, 2: string order)."""
    turns: dict[str, dict[int, tuple[str, str, dict[str, float]]]] = {}
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
            said, turn = turns.setdefault(value["conversation_id"], {}), whole(value["turn_id"])
            reason = _flaw(value)
            if turn is None or turn in said:
                reason = "turn_id must be a whole number, once per conversation, but is not"
            else:  # a turn without usable labels is still context of later ones
                said[turn] = (value["text"], value["article_id"].removesuffix(".0"), {} if reason else _labels(value))
            if reason:
                yield Reject(file=name, row=row, reason=reason)
    for conversation, said in turns.items():
        earlier: tuple[str, ...] = ()
        for turn, (text, article, labels) in sorted(said.items()):
            if labels:
                id = f"{conversation}-{turn}"
                yield Example(id=id, group=article, context=earlier, text=text, labels=labels)
            earlier = (*earlier, text) if text else earlier


def _flaw(value: Mapping[str, str]) -> str:
    """Why a row cannot be used, or an empty string."""
    if not value["text"] or not value["conversation_id"] or not value["article_id"]:
        return "has an empty text, conversation_id or article_id"
    for column, (_, low, high) in LABELS.items():
        if number(value[column], low, high) is None:
            return f"{column} must be a number from {low:g} to {high:g}, but is not"
    return ""


def _labels(value: Mapping[str, str]) -> dict[str, float]:
    """Task id -> rating, of a row without a flaw."""
    return {task: float(value[column]) for column, (task, _, _) in LABELS.items()}


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
            recorded={"conv_emoint": (2.22, 0.822), "conv_emopol": (1.287, 0.609), "conv_empathy": (2.086, 0.92)},
        ),
    ),
    citation="Omitaomu, Tafreshi, Liu, Buechel, Callison-Burch, Eichstaedt, Ungar and Sedoc (2022). Empathic "
    "Conversations: A "
    "Multi-level Dataset of Contextualized Conversations. arXiv:2205.12698.",
    licence=LICENCE,
    obtain=OBTAIN.format(files=f"{TRAIN}, {DEV} and {GOLD}", dataset="conv"),
    notes="Ratings are averages of up to three annotators. Its writers are the writers of the news essays on the same "
    "articles.",
    published={"n_examples": 11_176, "n_vocabulary": 11_040, "n_tokens": 3_755_038},
)
