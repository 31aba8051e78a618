"""Each dataset's part of the invented corpus, in its own raw format: file name -> content."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from empslurm.tasks.datasets import conv, empdial, empdial_ei, epitome, eqt, hope, mi, news
from empslurm.tasks.datasets.dialogues import EMOTIONS
from empslurm.tasks.sample.story import CALM, PHRASES, WILD, Writer

ASK = ((), ("When?", "Where?"), ("How come, and what then?", "Tell me more?"))
EMOTION_OF = dict(zip(CALM + WILD, news.EMOTIONS, strict=True))  # of the weather
READ = ((), ("You seem tired.",), ("You must feel lost.", "You sound worn out."))


def _table(rows: Iterable[Sequence[object]], delimiter: str = ",", *, quoted: bool = True) -> str:
    stream = io.StringIO(newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _epitome(writer: Writer) -> dict[str, str]:
    """Replies to a lost-and-found post: worth, questions and guesses in one text, a label each."""
    rows: dict[str, list[Sequence[object]]] = {task: [] for task in epitome.FILES}
    for number in range(900):
        thing, worth = writer.thing()
        levels = {"epitome_er": int(worth), "epitome_ex": writer.level(), "epitome_ip": writer.level()}
        asked, read = writer.pick(ASK[levels["epitome_ex"]]), writer.pick(READ[levels["epitome_ip"]])
        reply = _join(f"Found the {thing}.", asked, read)
        ids, post = (f"s{number // 2}", f"r{number}"), f"Lost {writer.day()}."
        for task, level in levels.items():
            rows[task].append((*ids, post, reply, writer.noisy(str(level), epitome.LEVELS), ""))
    for task in rows:
        rows[task].append(rows[task][0])  # a repeated pair, as in the release
        rows[task].append(("s9999", "r9999", "x", "", "0", ""))  # an empty response: a reject
    header = ("sp_id", "rp_id", "seeker_post", "response_post", "level", "rationales")
    return {epitome.FILES[task]: _table([header, *rows[task]]) for task in rows}


def _with_gold(
    names: Sequence[str],
    heads: tuple[Sequence[str], Sequence[str]],
    rows: Sequence[tuple[Sequence[object], Sequence[object]]],
    *,
    n_train: int,
) -> dict[str, str]:
    """Train with labels, dev without, and dev's labels in a file without a header. A row: its text and its labels."""
    train = [(*heads[0], *heads[1]), *((*text, *labels) for text, labels in rows[:n_train])]
    dev = [heads[0], *(text for text, _ in rows[n_train:])]
    gold = [labels for _, labels in rows[n_train:]]
    tables = [_table(part, "\t", quoted=False) for part in (train, dev, gold)]
    return dict(zip(names, tables, strict=True))


def _news(writer: Writer) -> dict[str, str]:
    """Essays that open with the weather, and end with a phrase of a clerk."""
    rows: list[tuple[Sequence[object], Sequence[object]]] = []
    for number in range(900):
        (word, weather), (kind, phrase) = writer.weather(), writer.manner()
        emotion = writer.noisy(EMOTION_OF[word], news.EMOTIONS)
        labels = (writer.rating(kind, 1, 7), writer.rating(word in WILD, 1, 7), emotion)
        text = (number, number % 150, f"{weather}: {phrase}.")
        rows.append((text, labels))
    return _with_gold((news.TRAIN, news.DEV, news.GOLD), (news.TEXT, news.LABELS), rows, n_train=750)


def _conv(writer: Writer) -> dict[str, str]:
    """Two turns of people who miss something, with more or less force."""
    rows: list[tuple[Sequence[object], Sequence[object]]] = []
    for conversation in range(450):
        thing, worth = writer.thing()
        for turn in range(2):
            force = writer.level()
            told = f"My {thing} is gone" if turn == 0 else f"I want my {thing} back"
            text = _join(f"{told}{'.!!'[force]}", ("", "Well.", "Terrible, truly terrible!")[force])
            labels = (writer.rating(force / 2, 0, 2), writer.rating(force / 2, 0, 5), writer.rating(worth / 2, 0, 5))
            row = (conversation, turn, text, conversation % 150)
            rows.append((row, labels))
    return _with_gold((conv.TRAIN, conv.DEV, conv.GOLD), (conv.TEXT, tuple(conv.LABELS)), rows, n_train=750)


INTENT_CUES = {
    "questioning": ASK[2], "acknowledging": ("I see.", "Noted, okay."), "neutral": ("It is a day like any other.",),
    "agreeing": ("Yes, exactly so.",),
    "sympathizing": ("I feel for you.", "That hurts, I am so sorry."),
    "encouraging": ("You can do it, keep going!",), "suggesting": ("Maybe try glue on it.",),
    "consoling": ("It will be fine again, do not worry.",), "wishing": ("Congratulations, all the best!",),
}  # fmt: skip


def _dialogues(writer: Writer) -> dict[str, str]:
    """The same dialogues in the annotated and the unannotated form."""
    texts: dict[str, str] = {}
    for index, emotion in enumerate(EMOTIONS):
        plain: list[Sequence[object]] = [("Dialog_ID", "Type", "Actor", "Text")]
        labelled: list[Sequence[object]] = [("Dialog_ID", "Type", "Actor", "Text", "Label")]
        for number in range(5):
            dialogue = f"hit:{index}_conv:{index * 10 + number}"
            situation = f"I felt {emotion} {writer.day()}, {writer.place()}."
            plain.append((dialogue, "situation", "none", situation))
            labelled.append((dialogue, "situation", "none", situation, emotion))
            for turn in range(4):
                intent = writer.pick(empdial_ei.INTENTS)
                speaks = turn % 2 == 0
                text = _join(
                    f"I was so {emotion}." if speaks else "",
                    "" if speaks else writer.pick(INTENT_CUES[intent]),
                    f"It was {writer.day()}, {writer.place()}.",
                )
                label = emotion if speaks else writer.noisy(intent, empdial_ei.INTENTS)
                actor = "speaker" if speaks else "listener"
                plain.append((dialogue, "utterance", actor, text))
                labelled.append((dialogue, "utterance", actor, text, label))
        texts[f"{empdial.FOLDER}/{emotion}.csv"] = _table(plain)
        texts[f"{empdial_ei.FOLDER}/{emotion}.csv"] = _table(labelled)
    return texts


def _own(extra: Sequence[str], row: Callable[[int], tuple[str, Sequence[object]]], n: int) -> list[Sequence[object]]:
    """A table of the user's own: id, group, context, text and label columns."""
    rows: list[Sequence[object]] = [("id", "group", "context", "text", *extra)]
    for number in range(n):
        text, labels = row(number)
        rows.append((number, number // 3, "", text, *labels))
    return rows


def _condolence(writer: Writer) -> dict[str, str]:
    """Condolences on the loss of a thing."""

    def row(_: int) -> tuple[str, Sequence[object]]:
        thing, worth = writer.thing()
        return f"My condolences for the {thing} you left {writer.place()}.", (writer.rating(worth / 2, 1, 5),)

    return {"condolence.tsv": _table(_own(("empathy",), row, 900), "\t", quoted=False)}


def _mi(writer: Writer) -> dict[str, str]:
    """Clerks' phrases on calm and wild days; each phrase has a behaviour of its manner."""
    behaviors = [mi.NON_ADHERENT, mi.ADHERENT]
    rows: list[Sequence[object]] = [("dialog_id", "turn", "author", "text", "final agreed label")]
    for dialogue in range(900):
        rows.append((dialogue, 0, "speaker", "Hello.", "-"))
        (_, weather), (kind, phrase) = writer.weather(), writer.manner()
        own = behaviors[kind]
        label = writer.noisy(own[PHRASES[kind].index(phrase) % len(own)], mi.BEHAVIORS)
        rows.append((dialogue, 1, "listener", f"{weather}: {phrase}.", label))
        if not dialogue % 10:
            rows.append((dialogue, 1, "listener", "Hello.", "Other"))  # belongs to no task
    rows.append((999, 0, "listener", "A sentence with a label of nowhere.", "Sing"))  # a reject
    return {mi.FILE: _table(rows)}


def _eqt(writer: Writer) -> dict[str, str]:
    """Two turns per dialogue; every other listener's turn holds two questions."""
    rows: list[Sequence[object]] = [("conv_id", "utterance_idx", "context", "utterance", *eqt.LISTS)]
    for number in range(240):
        emotion, dialogue = EMOTIONS[number % 32], f"hit:{number % 32}_conv:{number % 32 * 10 + number // 32}"
        rows.append((dialogue, 1, emotion, f"It was {writer.day()}_comma_ {writer.place()}.", [], "", "", "", "", ""))
        asked = range(1 + number % 2)
        acts = [eqt.ACTS[(number + index) % 9] for index in asked]
        intents = [eqt.INTENTS[(number + index) % 12] for index in asked]
        split = [f"May I {act.lower()} and {intent.lower()}?" for act, intent in zip(acts, intents, strict=True)]
        sources = [("manual", "mturk", "SBERT", "QBERT")[(number + index) % 4] for index in asked]
        noisy = [writer.noisy(act, eqt.ACTS) for act in acts], [writer.noisy(intent, eqt.INTENTS) for intent in intents]
        rows.append((dialogue, 2, emotion, " ".join(split), split, [*asked], *noisy, sources, sources))
    rows.append(("hit:99_conv:99", 2, "sad", "Why?", ["Why?"], [0], ["Shout"], ["Support"], ["manual"], ["manual"]))
    return {eqt.ANNOTATED: _table(rows)}


def _hope(writer: Writer) -> dict[str, str]:
    """Tweets of owners: supportive where the thing is worth much."""
    labels: list[Sequence[object]] = [("tweet_id", "annotation1", "annotation2", "annotation3", "gold_label")]
    texts: list[Sequence[object]] = [("tweet_id", "text")]
    for number in range(900):
        thing, worth = writer.thing()
        supportive = writer.noisy(str(int(worth == 2)), ("0", "1"))
        texts.append((number, f"#lost my {thing} {writer.place()}"))
        labels.append((number, supportive, supportive, supportive, supportive))
    labels.append((9999, 1, 1, 1, 1))  # a tweet whose text is lost: a reject
    return {hope.LABEL_FILE: _table(labels), hope.TEXT_FILE: _table(texts)}


MAKERS: Mapping[str, Callable[[Writer], dict[str, str]]] = {
    "epitome": _epitome,
    "news": _news,
    "conv": _conv,
    "empatheticintents": _dialogues,
    "condolence": _condolence,
    "mi": _mi,
    "eqt": _eqt,
    "hope": _hope,
}
