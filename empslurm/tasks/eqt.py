"""EQT: acts and intents of listeners' questions in EmpatheticDialogues (Svikhnushina et al., ACL 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.own_tables import describe
from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FILE = "eqt.csv"
ACTS = (
    "Request information", "Ask about consequence", "Ask about antecedent", "Suggest a solution", "Ask for confirmation",
    "Suggest a reason", "Positive rhetoric", "Negative rhetoric", "Irony",
)  # fmt: skip
INTENTS = (
    "Express interest", "Express concern", "Sympathize", "Offer relief", "Amplify excitement", "Support", "Amplify joy",
    "Amplify pride", "De-escalate", "Moralize speaker", "Pass judgement", "Motivate",
)  # fmt: skip
COLUMNS = ("id", "group", "context", "text", "act", "intent", "source")


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The user's own table; turns of the context are separated by newlines, `source` is manual or automatic."""
    for item in read_rows(paths[FILE], COLUMNS):
        if isinstance(item, Reject):
            yield item
            continue
        row, value = item
        if not value["text"] or value["act"] not in ACTS or value["intent"] not in INTENTS:
            yield Reject(file=FILE, row=row, reason="must have a text, a known act and a known intent, but has not")
            continue
        yield Example(
            id=value["id"],
            group=value["group"],
            context=tuple(turn for turn in value["context"].split("\n") if turn),
            text=value["text"],
            labels={"empdial_qact": value["act"], "empdial_qint": value["intent"]},
            manual=value["source"] == "manual",
        )


def _task(id: str, title: str, labels: tuple[str, ...]) -> Task:
    return Task(
        id=id,
        title=title,
        dataset="eqt",
        kind="classification",
        labels=labels,
        data_source="crowd-sourced",
        language_setting="conversation",
    )


DATASET = Dataset(
    id="eqt",
    title="EmpQT",
    family="dialogue",
    tasks=(_task("empdial_qact", "EmpDial QAct", ACTS), _task("empdial_qint", "EmpDial QInt", INTENTS)),
    forms=(Form(name="own table", files=(RawFile(name=FILE),), read=read),),
    citation="Svikhnushina, Voinea, Welivita and Pu (2022). A Taxonomy of Empathetic Questions in Social Dialogs. ACL.",
    licence="CC BY 4.0",
    obtain="get annotations/ed_annotated.csv of github.com/Sea94/EQT at commit 7dac9cb; then "
    + describe(FILE, "eqt", "act, intent and source (manual or automatic), one row per question"),
    automatic_labels=True,
    notes="The paper trains the sources of both tasks on the manually labelled questions only: `source.labels: manual`.",
    published={"n_examples": 20_201, "n_vocabulary": 16_703, "n_tokens": 1_602_514},
)
