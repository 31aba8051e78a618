"""What the story plants: which source helps or harms which target by construction, whatever the corpus's seed.

A relation holds where the target has few labels: with many, it learns everything from its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from empslurm import files
from empslurm.errors import DataError
from empslurm.tasks.raw import sample_sums
from empslurm.tasks.records import read_rows
from empslurm.tasks.sample.story import Story
from empslurm.tasks.schema import Reject

Effect = Literal["helps", "none", "harms"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
TABLE, WORDS = "truth.csv", "truth.md"
COLUMNS = ("source", "target", "effect", "why")

SAME = "both ask what a thing is worth to its owner, which no pretrained model can know"
WORDS_ALONE = "its texts name the same things, but its labels ask how loud the turn is, which says nothing about worth"
NOTHING = "its texts are about the weather and hold phrases; the target's texts hold neither"
HIDES = (
    "its texts are like the target's, but its labels ask which of eight words names the weather: its adapter separates "
    "texts by weather, and a few labels cannot teach the manner of the phrase on top of that"
)


@dataclass(frozen=True, kw_only=True)
class Relation:
    """What a source does to a target."""

    source: str
    target: str
    effect: Effect
    why: str


RELATIONS = (
    Relation(source="epitome_er", target="hope", effect="helps", why=SAME),
    Relation(source="epitome_er", target="condolence", effect="helps", why=SAME),
    Relation(source="conv_empathy", target="hope", effect="helps", why=SAME),
    Relation(source="conv_empathy", target="condolence", effect="helps", why=SAME),
    Relation(source="conv_emoint", target="hope", effect="none", why=WORDS_ALONE),
    Relation(source="conv_emoint", target="condolence", effect="none", why=WORDS_ALONE),
    Relation(source="news_emotion", target="hope", effect="none", why=NOTHING),
    Relation(source="news_emotion", target="condolence", effect="none", why=NOTHING),
    Relation(source="news_emotion", target="mi_adherent", effect="harms", why=HIDES),
)

# What the labels of each task in the story depend on, and their form.
ASKS = {
    "epitome_er": "worth: levels 0, 1, 2",
    "conv_empathy": "worth: a rating from 0 to 5",
    "hope": "worth: `supportive` where it is much",
    "condolence": "worth: a rating from 1 to 5",
    "conv_emoint": "how loud the turn is: a rating from 0 to 5",
    "news_emotion": "weather: an emotion for each of eight words",
    "mi_adherent": "manner: harsh or kind",
}


def truth_files(seed: int) -> dict[str, str]:
    """The truth as a table for programs, and in words: file name -> content."""
    stream = io.StringIO(newline="")
    rows = [(item.source, item.target, item.effect, item.why) for item in RELATIONS]
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
    return {TABLE: stream.getvalue(), WORDS: _words(seed)}


def _words(seed: int) -> str:
    worth = Story.of(seed).worth
    groups = [sorted(thing for thing in worth if worth[thing] == level) for level in range(3)]
    lines = [
        "# What is true in this invented corpus",
        "",
        "A town has an office where lost things are handed in. Every thing has a worth to its owner: none, some, or",
        "much. Worth was drawn at random for this corpus, so it has to be learnt from labels, thing by thing. The",
        "clerks speak kindly or harshly, which a pretrained model understands. The weather is calm or wild, which has",
        "nothing to do with either.",
        "",
        "| task | what its labels depend on |",
        "|---|---|",
        *(f"| {task} | {asks} |" for task, asks in ASKS.items()),
        "",
        "So, where the target has few labels (24 to 64 in the manifest `demo`):",
        "",
        "| source | target | effect | because |",
        "|---|---|---|---|",
        *(f"| {item.source} | {item.target} | {item.effect} | {item.why} |" for item in RELATIONS),
        "",
        "`none` means that the source teaches nothing useful. Its adapter is still below the target's, which may cost",
        "a little: over five corpora the mean changes were between -.06 and 0.",
        "",
        "Nothing is claimed about other pairs.",
        "",
        "| worth | things |",
        "|---|---|",
        *(f"| {name} | {', '.join(group)} |" for name, group in zip(("none", "some", "much"), groups, strict=True)),
        "",
    ]
    return "\n".join(lines)


def read_truth(data_root: Path) -> tuple[Relation, ...]:
    """The relations planted in a data root; () where it holds no invented corpus.

    Raises DataError where the table is not as it was written.
    """
    path, known = data_root / TABLE, sample_sums(data_root).get(TABLE)
    if known is None:
        return ()
    if not path.is_file() or files.sha256_file(path) != known:
        raise DataError(
            f"{path} must be the truth that was written with the corpus, but was changed or removed; run "
            "`empslurm data sample` into an empty folder"
        )
    rows = [item for item in read_rows(path, COLUMNS) if not isinstance(item, Reject)]
    return tuple(
        Relation(source=value["source"], target=value["target"], effect=effect, why=value["why"])
        for _, value in rows
        for effect in EFFECTS
        if effect == value["effect"]
    )


@dataclass(frozen=True, kw_only=True)
class Found:
    """Number of planted relations of one effect, and of those that the verdicts agree with."""

    effect: Effect
    n_planted: int  # of the pairs that have a verdict
    n_found: int  # helps and harms: called so. none: called neither


def agrees(effect: Effect, verdict: str) -> bool:
    """Whether a verdict agrees with a planted effect; with `none`, where it calls neither help nor harm."""
    return verdict == effect if effect != "none" else verdict not in ("helps", "harms")


def compare(relations: Sequence[Relation], verdicts: Mapping[tuple[str, str], str]) -> tuple[Found, ...]:
    """Count planted relations and agreeing verdicts, by effect. Pairs without a verdict are left out."""
    judged = [
        (item.effect, verdicts[item.source, item.target])
        for item in relations
        if (item.source, item.target) in verdicts
    ]
    return tuple(
        Found(
            effect=effect,
            n_planted=sum(planted == effect for planted, _ in judged),
            n_found=sum(planted == effect and agrees(effect, verdict) for planted, verdict in judged),
        )
        for effect in EFFECTS
    )
