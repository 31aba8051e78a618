"""EmpDial: dialogues grounded on one of 32 emotions (Rashkin et al., ACL 2019), in two distributed forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.datasets.dialogues import CITATION, EMOTIONS, OBTAIN, SOURCE, read_turns
from empslurm.tasks.records import read_rows, whole
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FOLDER = "empatheticdialogues_unannotated"
ROLES = ("speaker", "listener")
# With the archive's folder: train.csv alone could be any dataset's. In DATA/empdial/ the folder may be left out.
AUTHORS = ("empatheticdialogues/train.csv", "empatheticdialogues/valid.csv", "empatheticdialogues/test.csv")
COLUMNS = ("conv_id", "utterance_idx", "context", "utterance")


def read_rebuilt(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Utterances from the second on, labelled with the file's emotion and the actor: 82,391."""
    for turn in read_turns(paths, labelled=False):
        if isinstance(turn, Reject):
            yield turn
        elif turn.actor not in ROLES:
            yield Reject(file=turn.file, row=turn.row, reason="Actor must be speaker or listener, but is not")
        elif turn.position > 0:
            yield _example(turn.dialogue, turn.position, turn.context, turn.text, turn.emotion, turn.actor)


def read_authors(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """The authors' files: `_comma_` means a comma, quotes are text, speakers have the odd utterances."""
    for name in AUTHORS:
        current, last = "", 0
        earlier: tuple[str, ...] = ()
        for item in read_rows(paths[name], COLUMNS, quoted=False, ragged=True):
            if isinstance(item, Reject):
                yield Reject(file=name, row=item.row, reason=item.reason)
                continue
            row, value = item
            if value["conv_id"] != current:
                current, earlier, last = value["conv_id"], (), 0
            text, index = value["utterance"].replace("_comma_", ","), whole(value["utterance_idx"]) or 0
            if not current or not text or value["context"] not in EMOTIONS or index <= last:
                reason = "must have a conv_id, an utterance, a higher utterance_idx than the row above and one of 32 "
                yield Reject(file=name, row=row, reason=f"{reason}emotions as context, but does not")
                continue
            if index > 1:
                yield _example(current, index - 1, earlier, text, value["context"], ROLES[(index - 1) % 2])
            earlier, last = (*earlier, text), index


def _example(dialogue: str, position: int, context: tuple[str, ...], text: str, emotion: str, role: str) -> Example:
    return Example(
        id=f"{dialogue}-{position}",
        group=dialogue,
        context=context,
        text=text,
        labels={"empdial_emo": emotion, "empdial_role": role},
    )


SHA256 = {
    "afraid": "06080d5b306d592882a91a95f960b7828b3003818e17743bb82bce83ef399e17",
    "angry": "25a1f9de3162ea943e8689451538390126ee93ad5ab564682a7c9ce1ab0afc66",
    "annoyed": "2779f95f59b21d172a4774f9ebdf28f87383e5cb4409befbe9d0098d092047e6",
    "anticipating": "a2f95c6e49e74c0f6a2d014953f91cbf44241221678313d0bb53b5fe685dc7b3",
    "anxious": "d42f359477ec224d9fea0b2e17b019f41687f70452ce4ff179a52f66d00db8bf",
    "apprehensive": "c567ad430d4f56b085421cdfc76fb37571204dbca1783d3ed01af3bd88180eeb",
    "ashamed": "3b47e3932130e6d2f6b1eee2e16f6d5c1a18733ba0b9595baffc0ce2a6bfca7f",
    "caring": "2cc33c58e9eeb8b67427a7a30eb776d39173be3cd1ed1e41dd5ebf616ba08235",
    "confident": "06625c6c804fbbb73d23f97a0aaf9d46f46a82f2ea5a33d6917cdb2f594b9f94",
    "content": "5c04dd1f64544944e9a5ec9b570c5cbe4206f95c6727d4e51bb6f5e999fd7f80",
    "devastated": "64ec7edb36022d5e70ff1ae4a2d28e66e390f5dd9288be1f75bbd89550a8ebb7",
    "disappointed": "422ee6368ec8e480c735c58ea26a3fcf066e8cbb34b4c32470510541bad50d95",
    "disgusted": "710ef4b36fab842c2e6eff64e8ef722f3408abdeb48de0361e28f8eda617a13d",
    "embarrassed": "cbf0188d5bc2d332dd6408cf747d5c633e9769c95c14862e73f0dfdb17d0e98f",
    "excited": "d71d4c0a1c3bcaf2aee2d96c28c5d3f704edeb32f9ace94d5f6f1ba747707f85",
    "faithful": "66204da2473386d358e62790bc944f4082cf5567491be160f6fe75e494ce9bf3",
    "furious": "30e28d9105a4b59efc16e77002a0b84f6e10d4726d1bacfcce169ccf3e50365c",
    "grateful": "b107345ac5030242f3b0ec1732e70c56b61b1af600a70e95ef0e7052c9aa9561",
    "guilty": "ef7a38c30cd7b4b1d505ef383ef4e7e18b413028dc44516b7fa694699f59a0bc",
    "hopeful": "9c0fa35f2e81ff576f3ee612e0662bc0468d1b54bd7afa905d17df00aef0b210",
    "impressed": "68ad014b6bcb02a7c56af1734826bf1efd2b5e50562042457fce5d28ee2df24f",
    "jealous": "52bc33aaa3ecf2da58c9af76248bb6cdfee67db5aff60f4ab3c045db317d98f3",
    "joyful": "1285bd8cdffc362b173e0cc22e60f44fc9be68fa52fa2e7cfa539f38089a4a0f",
    "lonely": "333a6cd062c4d5b6f08445a3a5e331fb0025852608f1c3b84435cd6d0db271aa",
    "nostalgic": "8296b30382ad017abc4809b47ce7db2b9cbc9573a8f416658b525b78e5f243a0",
    "prepared": "b7967c34882e39ed21c30992a088e6700e657213e5ad8a504d0c91fe370ebf47",
    "proud": "3b5e8f960a763ae49b5411e7bde0db63bec0339f3b5cd433fa12ef84b538303b",
    "sad": "395f3b99ea33ffc448303ad766ecb19a101dc17021ddb31c79a5f3d54c5bbed3",
    "sentimental": "e27411a9d6e36aa24488f8f33a7d878c1b8f97c3a7116cf2851f4c3b12a55879",
    "surprised": "712f858679f4d55c01319b4099486771d5d445b9fa4bbff865eb9b70ca0ad525",
    "terrified": "99c58269885eee00048123e5cf053584921b9f3695436042085288a9ad818f85",
    "trusting": "fcc122d621b23ea30d1eaa4c2bc5dbbe9180e889a59bdc1969b3435770cedb74",
}

EMOTION_COUNTS = (
    2644, 2845, 2914, 2527, 2557, 2046, 2157, 2273, 2608, 2454, 2335, 2554, 2600, 2455, 3096, 1623, 2532, 2674, 2510,
    2559, 2610, 2527, 2510, 2684, 2515, 2507, 2847, 2844, 2349, 4226, 2585, 2224,
)  # fmt: skip


def _task(id: str, title: str, labels: tuple[str, ...]) -> Task:
    return Task(
        id=id,
        title=title,
        dataset="empdial",
        kind="classification",
        labels=labels,
        data_source="crowd-sourced",
        language_setting="conversation",
    )


DATASET = Dataset(
    id="empdial",
    title="EmpDial",
    family="dialogue",
    tasks=(_task("empdial_emo", "EmpDial Emo", EMOTIONS), _task("empdial_role", "EmpDial Role", ROLES)),
    forms=(
        Form(
            name="rebuilt",
            files=tuple(
                RawFile(name=f"{FOLDER}/{emotion}.csv", sha256=SHA256[emotion], url=f"{SOURCE}/{FOLDER}/{emotion}.csv")
                for emotion in EMOTIONS
            ),
            read=read_rebuilt,
            n_examples=82_391,
            recorded={"empdial_emo": EMOTION_COUNTS, "empdial_role": (31128, 51263)},
        ),
        Form(name="authors", files=tuple(RawFile(name=name) for name in AUTHORS), read=read_authors),
    ),
    citation=CITATION,
    licence="CC BY-NC 4.0",
    obtain=OBTAIN.format(folder=FOLDER, dataset="empdial")
    + "; or put train.csv, valid.csv and test.csv of the authors' empatheticdialogues.tar.gz "
    "(named by github.com/facebookresearch/EmpatheticDialogues) into DATA/empdial/",
    notes="82,391 utterances from the rebuilt dialogues, where the paper has 76,494. The paper swaps the names of the "
    "shares of speaker and listener.",
    published={"n_examples": 76_494, "n_vocabulary": 26_054, "n_tokens": 2_642_492},
)
