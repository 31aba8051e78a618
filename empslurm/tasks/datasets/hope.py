"""Empathy Hope: supportive tweets between India and Pakistan (Yoo et al. 2021), joined to the user's own texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

LABEL_FILE, TEXT_FILE = "supportive_annotation.csv", "tweets.csv"
LABELS = ("supportive", "not supportive")
CODES = {"1": LABELS[0], "1.0": LABELS[0], "0": LABELS[1], "0.0": LABELS[1]}
SOURCE = "https://raw.githubusercontent.com/anton-sturluson/empathy-and-hope/e695e0c2f55ab7fa1abb3d93406a86226b1bad43"


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Gold labels of tweets whose text the user has; the others are rejects."""
    texts: dict[str, str] = {}
    for item in read_rows(paths[TEXT_FILE], ("tweet_id", "text")):
        if isinstance(item, Reject):
            yield item
        else:
            texts.setdefault(item[1]["tweet_id"], item[1]["text"])
    seen: set[str] = set()
    for item in read_rows(paths[LABEL_FILE], ("tweet_id", "gold_label")):
        if isinstance(item, Reject):
            yield item
            continue
        row, value = item
        tweet = value["tweet_id"]
        label, text = CODES.get(value["gold_label"]), texts.get(tweet, "")
        if not tweet or tweet in seen:
            yield Reject(
                file=LABEL_FILE, row=row, reason="tweet_id must be given once, but is empty or was given above"
            )
        elif label is None:
            yield Reject(file=LABEL_FILE, row=row, reason="gold_label must be 0 or 1, but is not")
        elif not text:
            yield Reject(file=LABEL_FILE, row=row, reason=f"has no text in {TEXT_FILE}")
        else:
            seen.add(tweet)
            yield Example(id=tweet, group=tweet, context=(), text=text, labels={"hope": label})


DATASET = Dataset(
    id="hope",
    title="Empathy & Hope",
    family="hope",
    grouped=False,
    tasks=(
        Task(
            id="hope",
            title="Empathy Hope",
            dataset="hope",
            kind="classification",
            labels=LABELS,
            data_source="Twitter",
            language_setting="social media",
        ),
    ),
    forms=(
        Form(
            name="labels and own texts",
            files=(RawFile(name=LABEL_FILE, url=f"{SOURCE}/{LABEL_FILE}"), RawFile(name=TEXT_FILE)),
            read=read,
            partial=True,
        ),
    ),
    citation="Yoo, Dharani, Ramdas, Caragea and KhudaBukhsh (2021). Empathy and Hope: Resource Transfer to Model "
    "Inter-country "
    "Social Media Dynamics. NLP for Positive Impact.",
    licence="MIT for the labels; tweets by their platform's terms",
    obtain=f"get {LABEL_FILE} of github.com/anton-sturluson/empathy-and-hope at commit e695e0c, collect the texts of "
    f"its tweets into a table {TEXT_FILE} with the columns tweet_id and text, and put both into DATA/hope/",
    notes="Tweets that were deleted cannot be collected: `data status` and rejects.jsonl say how many.",
    published={"n_examples": 1_282, "n_vocabulary": 6_461, "n_tokens": 31_415},
)
