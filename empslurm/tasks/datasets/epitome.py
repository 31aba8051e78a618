"""Epitome: empathy mechanisms in peer support on Reddit (Sharma et al., EMNLP 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.errors import DataError
from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

SOURCE = (
    "https://raw.githubusercontent.com/behavioral-data/Empathy-Mental-Health/0e11f98901527550885dbf253bd2af92dbcec43b"
)
LEVELS = ("0", "1", "2")
FILES = {
    "epitome_er": "emotional-reactions-reddit.csv",
    "epitome_ex": "explorations-reddit.csv",
    "epitome_ip": "interpretations-reddit.csv",
}
COLUMNS = ("sp_id", "rp_id", "seeker_post", "response_post", "level")


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Join the three files on (seeker post, response post); of a repeated pair the first counts.

    Keeping the first reaches the paper's 3,023 and its label shares; 25 of the repeated pairs conflict in a label.
    """
    levels: dict[tuple[str, str], dict[str, str]] = {}
    posts: dict[tuple[str, str], tuple[str, str]] = {}
    for task, name in FILES.items():
        for item in read_rows(paths[name], COLUMNS):
            if isinstance(item, Reject):
                yield item
                continue
            row, value = item
            key = (value["sp_id"], value["rp_id"])
            reason = _flaw(value)
            if reason:
                yield Reject(file=name, row=row, reason=reason)
            elif task in levels.setdefault(key, {}):
                continue  # a repeated pair: the first one counts
            else:
                levels[key][task] = value["level"]
                posts.setdefault(key, (value["seeker_post"], value["response_post"]))
    if not posts:
        raise DataError(
            "the Epitome files must hold posts, but hold none that can be used; get the files as distributed"
        )
    for (seeker, response), (context, text) in posts.items():
        yield Example(
            id=f"{seeker}-{response}",
            group=seeker,
            context=(context,) if context else (),
            text=text,
            labels=levels[seeker, response],
        )


def _flaw(value: Mapping[str, str]) -> str:
    if not value["sp_id"] or not value["rp_id"]:
        return "has no post ids"
    if not value["response_post"]:
        return "has an empty response_post"
    return "" if value["level"] in LEVELS else "level must be one of 0, 1, 2, but is not"


def _task(id: str, title: str) -> Task:
    return Task(
        id=id,
        title=title,
        dataset="epitome",
        kind="classification",
        labels=LEVELS,
        data_source="Reddit",
        language_setting="social media",
    )


def _file(name: str, sha256: str) -> RawFile:
    return RawFile(name=name, sha256=sha256, url=f"{SOURCE}/dataset/{name}")


DATASET = Dataset(
    id="epitome",
    title="Epitome",
    family="epitome",
    tasks=(
        _task("epitome_er", "Epitome ER"),
        _task("epitome_ex", "Epitome EX"),
        _task("epitome_ip", "Epitome IP"),
    ),
    forms=(
        Form(
            name="reddit",
            files=(
                _file(FILES["epitome_er"], "225b28ffdc257f8a997d557eb937e78b68235e6203c87c7e2203d00fef8545cc"),
                _file(FILES["epitome_ex"], "9efa1af8e0537c16894379598f2076cb380ae18aacd9a8d26ebd381f5b7f9645"),
                _file(FILES["epitome_ip"], "2cedbe4252c919d22a6f46685afa16d3192a91e3306c2d4a386be12a30ad3f29"),
            ),
            read=read,
            n_examples=3_023,
            recorded={
                "epitome_er": (2007, 866, 150),
                "epitome_ex": (2551, 103, 369),
                "epitome_ip": (1588, 114, 1321),
            },
        ),
    ),
    citation="Sharma, Miner, Atkins and Althoff (2020). A Computational Approach to Understanding Empathy Expressed in "
    "Text-Based Mental Health Support. EMNLP.",
    licence="the Reddit part is shared openly by its authors; model licence academic, code licence BSD-like",
    obtain="get the three *-reddit.csv files of github.com/behavioral-data/Empathy-Mental-Health, folder dataset/, at "
    "commit 0e11f98 and put them into DATA/epitome/",
    published={"n_examples": 3_023, "n_vocabulary": 11_882, "n_tokens": 324_084},
)
