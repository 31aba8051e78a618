"""What empdial and empdial_ei share: the dialogues of EmpatheticIntents, one CSV per grounding emotion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Reject

SOURCE = (
    "https://raw.githubusercontent.com/anuradha1992/EmpatheticIntents/0f7e51ac3796d5cd595c688489de2fea22c75041/datasets"
)
EMOTIONS = (
    "afraid", "angry", "annoyed", "anticipating", "anxious", "apprehensive", "ashamed", "caring", "confident",
    "content", "devastated", "disappointed", "disgusted", "embarrassed", "excited", "faithful", "furious", "grateful",
    "guilty", "hopeful", "impressed", "jealous", "joyful", "lonely", "nostalgic", "prepared", "proud", "sad",
    "sentimental", "surprised", "terrified", "trusting",
)  # fmt: skip
OBTAIN = (
    "get the folder datasets/{folder} of github.com/anuradha1992/EmpatheticIntents at commit 0f7e51a and put it into "
    "DATA/{dataset}/"
)
CITATION = "Rashkin, Smith, Li and Boureau (2019). Towards Empathetic Open-domain Conversation Models. ACL."


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One utterance; `position` counts from 0 within its dialogue, the situation not counted."""

    file: str
    row: int  # of the file, the header not counted
    emotion: str
    dialogue: str
    position: int
    actor: str
    label: str  # empty in the unannotated files
    text: str
    context: tuple[str, ...]


def read_turns(paths: Mapping[str, Path], *, labelled: bool) -> Iterator[Turn | Reject]:
    """All utterances, dialogue by dialogue, in the order of the files."""
    columns = ("Dialog_ID", "Type", "Actor", "Text", *(("Label",) if labelled else ()))
    for name, path in paths.items():
        earlier: list[str] = []
        current, finished = "", set[str]()
        for item in read_rows(path, columns):
            if isinstance(item, Reject):
                yield Reject(file=name, row=item.row, reason=item.reason)
                continue
            row, value = item
            if value["Dialog_ID"] != current:
                finished.add(current)
                current, earlier = value["Dialog_ID"], []
            if value["Type"] != "utterance":
                continue
            if not value["Text"] or not current or current in finished:
                reason = "has an empty Text or Dialog_ID, or belongs to a dialogue that ended above"
                yield Reject(file=name, row=row, reason=reason)
                continue
            yield Turn(
                file=name,
                row=row,
                emotion=path.stem,
                dialogue=current,
                position=len(earlier),
                actor=value["Actor"],
                label=value.get("Label", ""),
                text=value["Text"],
                context=tuple(earlier),
            )
            earlier = [*earlier, value["Text"]]
