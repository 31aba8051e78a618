"""EQT: acts and intents of listeners' questions in EmpatheticDialogues (Svikhnushina et al., ACL 2022)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from empslurm.tasks.inert_pickle import read_text_frame
from empslurm.tasks.records import read_rows, whole
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

SOURCE = "https://raw.githubusercontent.com/Sea94/EQT/7dac9cb3e0d574eebb0e36a5755ca8615756bdc4"
ANNOTATED, TEST_SET = "ed_annotated.csv", "test_set.pickle"
FRAME = "quest_df_all_with_sbert.pickle"
FRAME_COLUMNS = ("id", "utterance_truncated", "type", "intent")
ACTS = (
    "Request information", "Ask about consequence", "Ask about antecedent", "Suggest a solution",
    "Ask for confirmation", "Suggest a reason", "Positive rhetoric", "Negative rhetoric", "Irony",
)  # fmt: skip
INTENTS = (
    "Express interest", "Express concern", "Sympathize", "Offer relief", "Amplify excitement", "Support", "Amplify joy",
    "Amplify pride", "De-escalate", "Moralize speaker", "Pass judgement", "Motivate",
)  # fmt: skip
LISTS = ("utterance_split", "labeled_question_idx", "act_list", "intent_list", "act_source", "intent_source")
BY_PERSONS = ("manual", "mturk")  # other sources: SBERT (copied from the nearest question), QBERT (a classifier)
MAX_LIST = 100_000  # characters of a list in one cell


def read_annotated(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Every labelled question. Its text is its turn up to and with it, as in the test set; context: earlier turns."""
    current = ""
    earlier: tuple[str, ...] = ()
    for item in read_rows(paths[ANNOTATED], ("conv_id", "utterance_idx", "utterance", *LISTS)):
        if isinstance(item, Reject):
            yield item
            continue
        row, value = item
        if value["conv_id"] != current:
            current, earlier = value["conv_id"], ()
        if value["labeled_question_idx"] not in ("", "[]"):
            questions = _questions(value, earlier)
            yield from [Reject(file=ANNOTATED, row=row, reason=questions)] if isinstance(questions, str) else questions
        if value["utterance"]:
            earlier = (*earlier, value["utterance"].replace("_comma_", ","))


def _questions(value: Mapping[str, str], context: tuple[str, ...]) -> list[Example] | str:
    """The questions of one turn, or why they cannot be used."""
    split, places, acts, intents, act_sources, intent_sources = (_list(value[column]) for column in LISTS)
    n_questions = len(places)
    if not value["conv_id"] or whole(value["utterance_idx"]) is None or not split or not n_questions:
        return "must have a conv_id, an utterance_idx, an utterance_split and a labeled_question_idx, but does not"
    if any(len(column) != n_questions for column in (acts, intents, act_sources, intent_sources)):
        return "must have one act, intent and source for every labelled question, but does not"
    examples: dict[str, Example] = {}
    for position, act, intent, act_source, intent_source in zip(
        places, acts, intents, act_sources, intent_sources, strict=True
    ):
        index = whole(position)
        if index is None or index >= len(split) or act not in ("", *ACTS) or intent not in ("", *INTENTS):
            return "must have a sentence index, a known act and a known intent per question, but does not"
        labels = {task: label for task, label in (("empdial_qact", act), ("empdial_qint", intent)) if label}
        sources = {"empdial_qact": act_source, "empdial_qint": intent_source}
        id = f"{value['conv_id']}-{value['utterance_idx']}-{index}"
        examples[id] = Example(
            id=id,
            group=value["conv_id"],
            context=context,
            text=" ".join(split[: index + 1]).replace("_comma_", ","),
            labels=labels,
            automatic=frozenset(task for task in labels if sources[task] not in BY_PERSONS),
        )
    return list(examples.values())


def _list(text: str) -> tuple[str, ...]:
    """A list of strings or numbers as Python writes it; empty where the text is no such list."""
    try:
        parsed = ast.literal_eval(text) if len(text) <= MAX_LIST else ()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ()
    return tuple(str(item).strip() for item in parsed) if isinstance(parsed, list) else ()


def read_test_set(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The 1,500 test questions; turns are joined by newlines, the last one ends with the question."""
    seen: set[str] = set()
    for row, cells in enumerate(read_text_frame(paths[TEST_SET], FRAME_COLUMNS), 1):
        id, turns, act, intent = (cell if isinstance(cell, str) else "" for cell in cells)
        question = _question(id, turns.split("\n"), act, intent) if id not in seen and act and intent else None
        if question is None:
            yield Reject(file=TEST_SET, row=row, reason=f"{BAD_QUESTION}, a known act and a known intent, but does not")
        else:
            seen.add(id)
            yield question


def read_frame(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The questions of the authors' training frame: one row per turn, those of a question in order, one id for all.

    It does not say whether a person gave a label or it was copied from the nearest question, so all count as automatic.
    Questions without a label yet are left out.
    """
    turns: dict[str, list[str]] = {}
    labels: dict[str, tuple[int, str, str]] = {}
    for row, (id, sentences, act, intent) in enumerate(read_text_frame(paths[FRAME], FRAME_COLUMNS), 1):
        if not isinstance(id, str) or not isinstance(act, str) or not isinstance(intent, str):
            yield Reject(file=FRAME, row=row, reason="id, type and intent must be texts, but are not")
            continue
        turn = sentences if isinstance(sentences, str) else " ".join(sentences)
        turns.setdefault(id, []).append(turn.replace("\n", " "))
        labels[id] = (row, act, intent)  # of the last turn, which holds the question
    for id, (row, act, intent) in labels.items():
        if not act and not intent:
            continue
        question = _question(id, turns[id], act, intent)
        if question is None:
            yield Reject(file=FRAME, row=row, reason=f"{BAD_QUESTION}, and known labels, but does not")
        else:
            yield replace(question, automatic=frozenset(question.labels))


BAD_QUESTION = "must have a new id like hit:1_conv:2-3-4, a text"


def _question(id: str, turns: Sequence[str], act: str, intent: str) -> Example | None:
    """A question with the turns before it; an empty label is left out. None where something is invalid."""
    *context, text = (turn.strip().removeprefix("- ").replace("_comma_", ",") for turn in turns)
    dialogue = re.fullmatch(r"(.+)-[0-9]+-[0-9]+", id)
    if dialogue is None or not text or act not in ("", *ACTS) or intent not in ("", *INTENTS):
        return None
    by_task = {"empdial_qact": act, "empdial_qint": intent}
    return Example(
        id=id,
        group=dialogue[1],
        context=tuple(turn for turn in context if turn),
        text=text,
        labels={task: label for task, label in by_task.items() if label},
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
    forms=(
        Form(
            name="annotated",
            files=(RawFile(name=ANNOTATED, url=f"{SOURCE}/annotations/{ANNOTATED}"),),
            read=read_annotated,
        ),
        Form(
            name="training frame",
            files=(RawFile(name=FRAME, url=f"{SOURCE}/data/{FRAME}"),),
            read=read_frame,
            note="eqt is here in its authors' training frame, without the classifier's labels: fewer than 20,201, none "
            "of them known to be a person's; ed_annotated.csv has all",
        ),
        Form(
            name="test set",
            files=(
                RawFile(
                    name=TEST_SET,
                    sha256="912007f3e6f61bac028c7d0934e9ca45698e777ac49d0a3f179041dbcbff2b25",
                    url=f"{SOURCE}/data/{TEST_SET}",
                ),
            ),
            read=read_test_set,
            n_examples=1_500,
            recorded={
                "empdial_qact": (759, 275, 202, 74, 114, 40, 13, 22, 1),
                "empdial_qint": (898, 304, 86, 43, 61, 19, 18, 16, 19, 12, 19, 5),
            },
            note="eqt is here with its 1,500 test questions only, of 20,201",
        ),
    ),
    citation="Svikhnushina, Voinea, Welivita and Pu (2022). A Taxonomy of Empathetic Questions in Social Dialogs. ACL.",
    licence="CC BY 4.0",
    obtain="get annotations/ed_annotated.csv (20,201 questions) of github.com/Sea94/EQT at commit 7dac9cb and put it "
    "into DATA/eqt/; data/test_set.pickle (1,500 of them) is used where only that is there",
    automatic_labels=True,
    notes="The paper trains the sources of both tasks on the manually labelled questions only: `source.labels: "
    "manual`. The columns of ed_annotated.csv are those of its README; its counts could not be checked. The test set "
    "does not say which of its labels were copied from a nearest neighbour: all of them count as manual.",
    published={"n_examples": 20_201, "n_vocabulary": 16_703, "n_tokens": 1_602_514},
)
