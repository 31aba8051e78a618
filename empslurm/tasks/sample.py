"""A small invented corpus in the datasets' own raw formats: learnable, seeded, no sentence of anyone's.

Every text is put together from invented fragments. One hidden quantity, how warm a speaker is, shows in the words of
every dataset, so that one task can help another; each task adds cues of its own, and a share of labels is noise.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from empslurm import files
from empslurm.errors import DataError
from empslurm.tasks.datasets import conv, empdial, empdial_ei, epitome, eqt, hope, mi, news
from empslurm.tasks.datasets.dialogues import EMOTIONS
from empslurm.tasks.raw import SAMPLE_NOTE, SampleNote, sample_sums

NOISE = 0.05  # share of labels that say nothing
THINGS = (
    "the lamp",
    "my kite",
    "the red boat",
    "our fence",
    "the old clock",
    "a paper hat",
    "the garden gate",
    "my bicycle",
)
EVENTS = ("broke", "was lost", "got wet", "was painted", "fell over", "came back", "went missing", "was sold")
COLD = ("Fine.", "Whatever you say.", "That is how it goes.", "Moving on.", "Not my problem.")
MILD = ("I see.", "Hm, that is something.", "Noted, that sounds odd.", "Okay, I hear you.")
WARM = ("I am so sorry, my heart goes out to you.", "I feel for you, sending a hug.", "That hurts, I care about you.")
WARMTH = (COLD, MILD, WARM)
ASK = (
    (),
    ("What about it?",),
    ("How did that make you feel, and what happened then?", "Can you tell me more about it?"),
)
READ = (
    (),
    ("You seem tired.",),
    ("You must feel left alone and worn out by it.", "It sounds as if you lost all hope there."),
)


class Writer:
    """Draws sentences and labels; every dataset has a stream of its own, so that one can change without the others."""

    def __init__(self, seed: int, dataset: str) -> None:
        self.rng = random.Random(f"{seed}:{dataset}")

    def pick(self, choices: Sequence[str]) -> str:
        return self.rng.choice(choices) if choices else ""

    def level(self) -> int:
        """0, 1 or 2, as uneven as real labels are."""
        return self.rng.choices((0, 1, 2), (5, 3, 4))[0]

    def event(self) -> str:
        return f"{self.pick(THINGS).capitalize()} {self.pick(EVENTS)} on day {self.rng.randrange(1, 99)}."

    def noisy(self, label: str, labels: Sequence[str]) -> str:
        return self.pick(labels) if self.rng.random() < NOISE else label

    def rating(self, level: int, low: float, high: float) -> float:
        """A value around a third of the scale per level, cut to the scale."""
        middle = low + (high - low) * (0.15 + 0.35 * level)
        return round(min(high, max(low, self.rng.gauss(middle, 0.12 * (high - low)))), 3)


def _table(rows: Iterable[Sequence[object]], delimiter: str = ",", *, quoted: bool = True) -> str:
    stream = io.StringIO(newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _epitome(writer: Writer) -> dict[str, str]:
    rows: dict[str, list[Sequence[object]]] = {task: [] for task in epitome.FILES}
    for number in range(420):
        levels = {task: writer.level() for task in rows}
        parts = [writer.pick(WARMTH[levels["epitome_er"]]), writer.pick(ASK[levels["epitome_ex"]])]
        parts.append(writer.pick(READ[levels["epitome_ip"]]))
        writer.rng.shuffle(parts)
        post, reply = f"{writer.event()} {writer.event()}", _join(*parts, writer.event())
        ids = (f"s{number // 2}", f"r{number}")
        for task, level in levels.items():
            rows[task].append((*ids, post, reply, writer.noisy(str(level), epitome.LEVELS), ""))
    for task in rows:
        rows[task].append(rows[task][0])  # a repeated pair, as in the release
        rows[task].append(("s9999", "r9999", "x", "", "0", ""))  # an empty response: a reject
    header = ("sp_id", "rp_id", "seeker_post", "response_post", "level", "rationales")
    return {epitome.FILES[task]: _table([header, *rows[task]]) for task in rows}


def _news(writer: Writer) -> dict[str, str]:
    train: list[Sequence[object]] = [(*news.TEXT, *news.LABELS)]
    dev: list[Sequence[object]] = [news.TEXT]
    gold: list[Sequence[object]] = []
    for number in range(360):
        warmth, distress = writer.level(), writer.level()
        emotion = ("Neutral", "Sadness", "Anger")[distress]
        cue = (
            ("a calm read", "plain facts"),
            ("it made me sad", "a gloomy story"),
            ("it made me furious", "I am upset"),
        )
        essay = _join(f"About the story: {writer.pick(cue[distress])}.", writer.pick(WARMTH[warmth]), writer.event())
        labels = (writer.rating(warmth, 1, 7), writer.rating(distress, 1, 7), writer.noisy(emotion, news.EMOTIONS[:3]))
        text = (number, number % 60, essay)
        if number < 300:
            train.append((*text, *labels))
        else:
            dev.append(text)
            gold.append(labels)
    texts = (train, dev, gold)
    return dict(
        zip((news.TRAIN, news.DEV, news.GOLD), (_table(rows, "\t", quoted=False) for rows in texts), strict=True)
    )


def _conv(writer: Writer) -> dict[str, str]:
    columns = tuple(conv.LABELS)
    train: list[Sequence[object]] = [(*conv.TEXT, *columns)]
    dev: list[Sequence[object]] = [conv.TEXT]
    gold: list[Sequence[object]] = []
    for conversation in range(70):
        for turn in range(6):
            warmth, force = writer.level(), writer.level()
            text = _join(
                writer.pick(WARMTH[warmth]), ("", "Really.", "This is terrible, truly terrible!")[force], writer.event()
            )
            labels = (writer.rating(force, 0, 2), writer.rating(force, 0, 5), writer.rating(warmth, 0, 5))
            row = (conversation, turn, text, conversation % 60)
            if conversation < 55:
                train.append((*row, *labels))
            else:
                dev.append(row)
                gold.append(labels)
    texts = (train, dev, gold)
    return dict(
        zip((conv.TRAIN, conv.DEV, conv.GOLD), (_table(rows, "\t", quoted=False) for rows in texts), strict=True)
    )


INTENT_CUES = {
    "questioning": ASK[2], "acknowledging": MILD, "neutral": ("It is a day like any other.",),
    "agreeing": ("Yes, exactly so.",),
    "sympathizing": WARM, "encouraging": ("You can do it, keep going!",), "suggesting": ("Maybe try glue on it.",),
    "consoling": ("It will be fine again, do not worry.",), "wishing": ("Congratulations, all the best!",),
}  # fmt: skip


def _dialogues(writer: Writer) -> dict[str, str]:
    """Annotated and unannotated form of the same dialogues."""
    texts: dict[str, str] = {}
    for index, emotion in enumerate(EMOTIONS):
        plain: list[Sequence[object]] = [("Dialog_ID", "Type", "Actor", "Text")]
        labelled: list[Sequence[object]] = [("Dialog_ID", "Type", "Actor", "Text", "Label")]
        for number in range(5):
            dialogue = f"hit:{index}_conv:{index * 10 + number}"
            situation = f"I felt {emotion} when {writer.event().lower()}"
            plain.append((dialogue, "situation", "none", situation))
            labelled.append((dialogue, "situation", "none", situation, emotion))
            for turn in range(4):
                intent = writer.pick(empdial_ei.INTENTS)
                speaks = turn % 2 == 0
                text = _join(
                    f"I was so {emotion}." if speaks else "",
                    "" if speaks else writer.pick(INTENT_CUES[intent]),
                    writer.event(),
                )
                label = emotion if speaks else writer.noisy(intent, empdial_ei.INTENTS)
                actor = "speaker" if speaks else "listener"
                plain.append((dialogue, "utterance", actor, text))
                labelled.append((dialogue, "utterance", actor, text, label))
        texts[f"{empdial.FOLDER}/{emotion}.csv"] = _table(plain)
        texts[f"{empdial_ei.FOLDER}/{emotion}.csv"] = _table(labelled)
    return texts


def _own(
    writer: Writer, extra: Sequence[str], row: Callable[[int], tuple[str, Sequence[object]]], n: int
) -> list[Sequence[object]]:
    """A table of the user's own: id, group, context, text and label columns."""
    rows: list[Sequence[object]] = [("id", "group", "context", "text", *extra)]
    for number in range(n):
        text, labels = row(number)
        rows.append((number, number // 3, writer.event(), text, *labels))
    return rows


def _condolence(writer: Writer) -> dict[str, str]:
    def row(_: int) -> tuple[str, Sequence[object]]:
        level = writer.level()
        return _join(writer.pick(WARMTH[level]), writer.event()), (writer.rating(level, 1, 5),)

    return {"condolence.tsv": _table(_own(writer, ("empathy",), row, 240), "\t", quoted=False)}


def _mi(writer: Writer) -> dict[str, str]:
    rows: list[Sequence[object]] = [("dialog_id", "turn", "author", "text", "final agreed label")]
    for dialogue in range(90):
        rows.append((dialogue, 0, "speaker", writer.event(), "-"))
        for sentence in range(3):
            label = mi.BEHAVIORS[(3 * dialogue + sentence) % len(mi.BEHAVIORS)]
            warmth = writer.pick(WARM if label in mi.ADHERENT else COLD)
            text = _join(f"({label.lower()} is how I would put it)", warmth, writer.event())
            rows.append((dialogue, 1, "listener", text, writer.noisy(label, mi.BEHAVIORS)))
        rows.append((dialogue, 1, "listener", "Hello.", "Other"))  # belongs to no task
    rows.append((999, 0, "listener", "A sentence with a label of nowhere.", "Sing"))  # a reject
    return {mi.FILE: _table(rows)}


def _eqt(writer: Writer) -> dict[str, str]:
    """Two turns per dialogue; every other listener's turn holds two questions."""
    rows: list[Sequence[object]] = [("conv_id", "utterance_idx", "context", "utterance", *eqt.LISTS)]
    for number in range(240):
        emotion, dialogue = EMOTIONS[number % 32], f"hit:{number % 32}_conv:{number % 32 * 10 + number // 32}"
        rows.append((dialogue, 1, emotion, writer.event().replace(",", "_comma_"), [], "", "", "", "", ""))
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
    labels: list[Sequence[object]] = [("tweet_id", "annotation1", "annotation2", "annotation3", "gold_label")]
    texts: list[Sequence[object]] = [("tweet_id", "text")]
    for number in range(240):
        supportive = number % 2
        texts.append(
            (
                number,
                _join(writer.pick(WARMTH[2 * supportive]), f"#{writer.pick(('tea', 'rain', 'kites'))}", writer.event()),
            )
        )
        labels.append((number, supportive, supportive, supportive, supportive))
    labels.append((9999, 1, 1, 1, 1))  # a tweet whose text nobody has any more: a reject
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


def write_sample(data_root: Path, seed: int = 1) -> list[Path]:
    """Write the corpus; the same seed gives the same bytes. Raises DataError where other files are in the folder."""
    _only_ours(data_root)
    sums: dict[str, str] = {}
    for folder, make in MAKERS.items():
        for name, text in make(Writer(seed, folder)).items():
            path = data_root / folder / name
            files.write_text(path, text)
            sums[f"{folder}/{name}"] = files.sha256_bytes(text.encode())
    note = SampleNote(seed=seed, what="an invented corpus of empslurm: no data of anyone's", files=sums)
    files.write_json(data_root / SAMPLE_NOTE, asdict(note))
    return [data_root / name for name in sums]


def _only_ours(data_root: Path) -> None:
    """Raise DataError where anything but an unchanged earlier sample is there: nothing of anyone's is replaced."""
    known = sample_sums(data_root)
    for path in sorted(data_root.rglob("*")) if data_root.exists() else ():
        name = path.relative_to(data_root).as_posix()
        ours = path.is_dir() or name == SAMPLE_NOTE or (name in known and files.sha256_file(path) == known[name])
        if path.is_symlink() or not ours:
            raise DataError(
                f"{data_root} must be empty for the invented corpus, but holds {name}; name another folder with --data"
            )
