"""EmpDial EI: empathic response intents in EmpatheticDialogues (Welivita and Pu, COLING 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.datasets.dialogues import CITATION, EMOTIONS, OBTAIN, SOURCE, read_turns
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FOLDER = "empatheticdialogues_annotated"
INTENTS = (
    "questioning", "acknowledging", "neutral", "agreeing", "sympathizing", "encouraging", "suggesting", "consoling",
    "wishing",
)  # fmt: skip
KNOWN = {*INTENTS, *EMOTIONS}


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    """Every utterance labelled with one of the nine intents; the others have an emotion and belong to no task."""
    for turn in read_turns(paths, labelled=True):
        if isinstance(turn, Reject):
            yield turn
        elif turn.label not in KNOWN:
            reason = "Label must be one of the nine intents or 32 emotions, but is not"
            yield Reject(file=turn.file, row=turn.row, reason=reason)
        elif turn.label in INTENTS:
            yield Example(
                id=f"{turn.dialogue}-{turn.position}",
                group=turn.dialogue,
                context=turn.context,
                text=turn.text,
                labels={"empdial_ei": turn.label},
                automatic=frozenset({"empdial_ei"}),
            )


SHA256 = {
    "afraid": "2f777f898ef05727e0add0132a4559268484d42d1df32b1e06dec43aa5fd697d",
    "angry": "cbe46ed53b894ef7fdc60a20e80a328686d6168ecea8712a435f2c14e8123959",
    "annoyed": "24705634fa1ef208b624ab36fa9f9d447db0d8b96a9d426041eb1246463d44b1",
    "anticipating": "f2f07d654fbd83ebb5e225bc39c491a8608f35d3f525260f7715d443732ee682",
    "anxious": "d0401f598e8db3523f71873cb3f53449811056e0a2122cd6d40f2796c1ab0f30",
    "apprehensive": "09a41daccd89bcaad8b73345138897fd2717797be8bb876e3654daa111840cba",
    "ashamed": "aa55c0e4ca6b35e85905d33129d6bc3299f07648c071717850beb36358ea027e",
    "caring": "3cf84e90f5c70ec852505f83c60c6dc3c11a891c04176b69548cb7f3249e3c89",
    "confident": "acc6b3b52732c270be4dad4329d3d3a68bd35bfa44730afa52e3ce2c07ea14e9",
    "content": "5fb1ee5a6314482e16927a8e30f35609662cd7b0d9d2debf9ef9b6f3a435f01b",
    "devastated": "5c6b721b9d6bf3934d96ae0140232fdf003df58e7c195279d3de5fb9775f36e6",
    "disappointed": "9e5f90c72099086a5b14ada134a1a34b5b1552d68aa856c5fea3b9a05a5b0cf3",
    "disgusted": "31abbcfee8be1a9f70bfe0e18af7a8ed48106cb8fa6cbc7aaf800fce84cc3ead",
    "embarrassed": "2164b3bc7f3247ac620face4e5187cc37e49b420ae02399751ae83dd04ce2947",
    "excited": "4acaac1bdb09cd67864f622847dbbaa78fd3675dec3a1903cbcacb755b73ac72",
    "faithful": "ff36e9361653b684fcb14bff78fef6890d419bb00e6c174bc3b72195c61b4fa4",
    "furious": "bb56a0f0ad238f98d5898fd4bf74e383b8de691de6f7c02dc0a56f8124078571",
    "grateful": "16510ce9c3ba92fdd719dcdff261d65bd074fe8df5e8cde0504915dd595f9ec7",
    "guilty": "800a578339589d8a7fd52a38ee276beb81edc0194408e03ea07c6ee846f19f02",
    "hopeful": "0918b00ec16cd8c8d01b869ccee775720a2dd15084084e53d177ae1f48f37412",
    "impressed": "c6ce2d2dff49e9d8f85f96d2b35c99fd91339114281e3f7286332c5c61b3141c",
    "jealous": "2a2a30caa2e030860e9e5ba09f614f1703ba0151b5a22058df19272f62ed01f5",
    "joyful": "5227602a9f176788363699cd7da2a4c6a6853e2f93944ef1a19f29063dee9c0d",
    "lonely": "5b197d2a21604dc30878b4b22fcca2d9d6b7856d7ec45e1183b56dd8f2de87e2",
    "nostalgic": "6e2abf53fc47ba638c4f7b591481c4f5cf5660b1f942d1de7c7ac5fa0b4ed558",
    "prepared": "16076df4da4902a22b1bdeac9a84e5391d90c976648f729ac626bdfc7b694a9d",
    "proud": "6dad3323062fd9fbbd538fd22a6bd0e96eda842c89b4ead20eec8117c6ac09ff",
    "sad": "49d387dbae013b682313fbd01eef52980d825cb1b29367a90847239d9f6af427",
    "sentimental": "57064ff3d471e839837b437ee2b9129e386249d40840df7ac22b71e9a324132c",
    "surprised": "ef2b91e17bbde30c656bbefd498c08aced54e5d8524beb222222726a4ae46f5e",
    "terrified": "5b4128ccf7077d7e8773859f3e42e5192404bd839ecffd574b0d822d55cda60f",
    "trusting": "ec3c06c9a7ff71db017323c437d00fa8f089d4c2c3ab31e4327abaf25b79daf0",
}

DATASET = Dataset(
    id="empdial_ei",
    title="EmpDial EI",
    family="dialogue",
    tasks=(
        Task(
            id="empdial_ei",
            title="EmpDial EI",
            dataset="empdial_ei",
            kind="classification",
            labels=INTENTS,
            data_source="crowd-sourced",
            language_setting="conversation",
        ),
    ),
    forms=(
        Form(
            name="empatheticintents",
            files=tuple(
                RawFile(name=f"{FOLDER}/{emotion}.csv", sha256=SHA256[emotion], url=f"{SOURCE}/{FOLDER}/{emotion}.csv")
                for emotion in EMOTIONS
            ),
            read=read,
            n_examples=53_414,
            recorded={"empdial_ei": (17385, 11007, 7851, 6933, 2444, 2179, 2089, 1989, 1537)},
        ),
    ),
    citation="Welivita and Pu (2020). A Taxonomy of Empathetic Response Intents in Human Social Conversations. COLING. "
    + CITATION,
    licence="none stated; derived from EmpatheticDialogues, CC BY-NC 4.0",
    obtain=OBTAIN.format(folder=FOLDER, dataset="empdial_ei"),
    notes="Labels are a classifier's, per turn, and 11,592 are speaker turns; the paper says that they are manual, per "
    "sentence.",
    published={"n_examples": 53_414, "n_vocabulary": 26_447, "n_tokens": 5_043_441},
)
