"""MI: counsellor behaviours in peer support on Reddit, by the MITI scheme (Welivita and Pu, COLING 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FILE = "MI Dataset.csv"
SOURCE = (
    "https://raw.githubusercontent.com/anuradha1992/Motivational-Interviewing-Dataset/"
    "ced27c305c06cc587109c76f66b504efd1c06d05/MI%20Dataset.csv"
)
GIT_BLOB = "24b397e58bf7af8a7232ccb04c02b0f3166b3efc"
COLUMNS = ("dialog_id", "author", "text", "final agreed label")
AUTHORS = ("speaker", "listener")  # seeker and supporter
ADHERENT = (
    "Affirm", "Give Information", "Complex Reflection", "Support", "Closed Question", "Emphasize Autonomy",
    "Simple Reflection", "Advise with Permission", "Open Question",
)  # fmt: skip
NON_ADHERENT = ("Advise without Permission", "Self-Disclose", "Direct", "Warn", "Confront")
BEHAVIORS = (*ADHERENT, *NON_ADHERENT)
KINDS = ("adherent", "non-adherent")
NO_BEHAVIOR = ("Other", "-", "")  # belongs to no task, but is context of later sentences


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Labelled sentences of listeners; context: all earlier sentences of the dialogue."""
    current, finished = "", set[str]()
    earlier: tuple[str, ...] = ()
    for item in read_rows(paths[FILE], COLUMNS):
        if isinstance(item, Reject):
            yield item
            continue
        row, value = item
        if value["dialog_id"] != current:
            finished.add(current)
            current, earlier = value["dialog_id"], ()
        label, reason = value["final agreed label"], _flaw(value, finished)
        if reason:
            yield Reject(file=FILE, row=row, reason=reason)
            continue
        if value["author"] == "listener" and label not in NO_BEHAVIOR:
            labels = {"mi_behavior": label, "mi_adherent": KINDS[label in NON_ADHERENT]}
            id = f"{current}-{len(earlier)}"
            yield Example(id=id, group=current, context=earlier, text=value["text"], labels=labels)
        earlier = (*earlier, value["text"])


def _flaw(value: Mapping[str, str], finished: set[str]) -> str:
    """Why a row cannot be used, or an empty string."""
    if not value["text"] or not value["dialog_id"] or value["dialog_id"] in finished:
        return "has an empty text or dialog_id, or belongs to a dialogue that ended above"
    if value["author"] not in AUTHORS:
        return "author must be speaker or listener, but is not"
    if value["author"] == "listener" and value["final agreed label"] not in (*BEHAVIORS, *NO_BEHAVIOR):
        return "final agreed label must be one of the 14 behaviours, Other or -, but is not"
    return ""


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
    forms=(Form(name="distributed", files=(RawFile(name=FILE, git_blob=GIT_BLOB, url=SOURCE),), read=read),),
    citation="Welivita and Pu (2022). Curating a Large-Scale Motivational Interviewing Dataset Using Peer Support "
    "Forums. COLING.",
    licence="CC BY-NC-SA 3.0",
    obtain='get "MI Dataset.csv" of github.com/anuradha1992/Motivational-Interviewing-Dataset at commit ced27c3 and '
    "put it into DATA/mi/",
    notes="One label per sentence: the paper says multi-label, but its Table 12 sums to 100 %. The columns are those "
    "that published readers of the file name; its counts could not be checked.",
    published={"n_examples": 15_645, "n_vocabulary": 14_876, "n_tokens": 3_344_011},
)
